//! The opening handshake (RFC 6455 section 4.2, RFC 8441), checked in full before the 101 or 200.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::InvalidSubscription;

/// The subprotocol that is accepted where a client offers it.
const SUBPROTOCOL: &str = "stoat.v1";

/// The upgrade behind an answer, which comes about once that is sent.
pub(crate) enum Pending {
    Http1(HyperWebsocket),
    Http2(OnUpgrade),
}

/// Checks the request and prepares the answer and the upgrade behind it.
pub(crate) fn upgrade<B>(
    request: &mut Request<B>,
    allowed_origins: &[String],
) -> Result<(Response<()>, Pending), HandshakeError> {
    check_upgrade(request)?;
    let is_http2 = request.version() == Version::HTTP_2;
    if !is_http2 {
        check_key(request.headers())?;
    }
    let host = host(request, is_http2)?;
    check_body(request.headers())?;
    check_origin(request.headers(), host.as_deref(), allowed_origins)?;
    let subprotocol = offers_subprotocol(request.headers());

    let (mut response, pending) = if is_http2 {
        // The answer is an empty 200 (RFC 8441 section 5).
        let upgrade = hyper::upgrade::on(request);
        (Response::new(()), Pending::Http2(upgrade))
    } else {
        // The stream is taken out of tungstenite's hands at once, so its buffers stay small.
        let buffers = WebSocketConfig::default()
            .read_buffer_size(0)
            .write_buffer_size(0);
        let (response, websocket) = hyper_tungstenite::upgrade(request, Some(buffers))
            .map_err(|_| HandshakeError::malformed("the handshake is not valid"))?;
        (response.map(drop), Pending::Http1(websocket))
    };
    if subprotocol {
        response.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    Ok((response, pending))
}

/// Checks a request that is no handshake for what both have in common: whose page it comes from.
pub(crate) fn check_page<B>(
    request: &Request<B>,
    allowed_origins: &[String],
) -> Result<(), HandshakeError> {
    let host = host(request, request.version() == Version::HTTP_2)?;
    check_origin(request.headers(), host.as_deref(), allowed_origins)
}

/// Waits for the upgrade; `None` where it does not come about.
pub(crate) async fn complete(pending: Pending) -> Option<Upgraded> {
    match pending {
        Pending::Http1(websocket) => Some(websocket.await.ok()?.into_inner().into_inner()),
        Pending::Http2(upgrade) => upgrade.await.ok(),
    }
}

/// Whether it is an extended CONNECT for a WebSocket.
#[cfg(feature = "http2")]
fn is_extended_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

#[cfg(not(feature = "http2"))]
fn is_extended_connect<B>(_: &Request<B>) -> bool {
    false
}

fn check_upgrade<B>(request: &Request<B>) -> Result<(), HandshakeError> {
    let headers = request.headers();
    let is_http2 = request.version() == Version::HTTP_2;
    let asks = if is_http2 {
        is_extended_connect(request)
    } else {
        has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
    };
    if is_http2 && request.method() == Method::CONNECT {
        if !asks {
            return Err(HandshakeError::malformed(
                "the only protocol to connect to is `websocket`",
            ));
        }
    } else if request.method() != Method::GET {
        return Err(if asks {
            HandshakeError::malformed("the method of a WebSocket handshake is GET")
        } else {
            HandshakeError::new(
                RejectReason::Malformed,
                Answer::MethodNotAllowed,
                "only GET is allowed here",
            )
        });
    }
    if !matches!(request.version(), Version::HTTP_11 | Version::HTTP_2) {
        return Err(HandshakeError::malformed(
            "a WebSocket handshake needs HTTP/1.1 or HTTP/2",
        ));
    }
    if !asks {
        return Err(HandshakeError::new(
            RejectReason::NotAnUpgrade,
            Answer::UpgradeRequired,
            if is_http2 {
                "this is a WebSocket endpoint: an extended CONNECT (RFC 8441) is needed"
            } else {
                "this is a WebSocket endpoint: `Connection: Upgrade` and `Upgrade: websocket` are needed"
            },
        ));
    }
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    if versions.next().map(HeaderValue::as_bytes) != Some(b"13") || versions.next().is_some() {
        return Err(HandshakeError::new(
            RejectReason::Version,
            Answer::VersionRequired,
            "the only `Sec-WebSocket-Version` is 13",
        ));
    }
    Ok(())
}

fn check_key(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let key = only(headers, &SEC_WEBSOCKET_KEY).ok_or(HandshakeError::malformed(
        "exactly one `Sec-WebSocket-Key` is needed",
    ))?;
    if STANDARD.decode(key.as_bytes()).map(|nonce| nonce.len()) != Ok(16) {
        return Err(HandshakeError::malformed(
            "`Sec-WebSocket-Key` is not base64 of 16 bytes",
        ));
    }
    Ok(())
}

/// The host that the request is for; `None` where it is not text.
fn host<B>(request: &Request<B>, is_http2: bool) -> Result<Option<String>, HandshakeError> {
    if is_http2 && let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.as_str().to_owned()));
    }
    match only(request.headers(), &HOST) {
        Some(host) => Ok(host.to_str().ok().map(str::to_owned)),
        None => Err(HandshakeError::malformed("exactly one `Host` is needed")),
    }
}

fn check_body(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let empty = headers
        .get(CONTENT_LENGTH)
        .is_none_or(|length| length == "0");
    if !empty || headers.contains_key(TRANSFER_ENCODING) {
        return Err(HandshakeError::malformed(
            "a WebSocket handshake has no body",
        ));
    }
    Ok(())
}

/// A request without `Origin` comes from no page and is let in; one with it must
/// be on the list or name the host and port of the request itself.
fn check_origin(
    headers: &HeaderMap,
    host: Option<&str>,
    allowed: &[String],
) -> Result<(), HandshakeError> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let Some(origin) = only(headers, &ORIGIN).and_then(|value| value.to_str().ok()) else {
        return Err(HandshakeError::foreign_origin());
    };
    let listed = allowed
        .iter()
        .any(|listed| listed.eq_ignore_ascii_case(origin));
    if listed || host.is_some_and(|host| is_same_host(origin, host)) {
        Ok(())
    } else {
        Err(HandshakeError::foreign_origin())
    }
}

fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (name, port) = split_port(authority, default_port);
    let (own_name, own_port) = split_port(host, default_port);
    !name.is_empty() && name.eq_ignore_ascii_case(own_name) && port == own_port
}

/// Splits `name:port`; an address in brackets may have colons of its own.
fn split_port<'a>(authority: &'a str, default: &'a str) -> (&'a str, &'a str) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, port)
        }
        _ => (authority, default),
    }
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL).any(|token| token == SUBPROTOCOL)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// A handshake was refused; says with which answer.
///
/// ```
/// use stoat_ws_hub::{ConnectionManager, HandshakeError, RejectReason};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let hub = ConnectionManager::in_memory();
/// let mut request = http::Request::get("/ws").body(()).unwrap();
/// let refused: HandshakeError = hub.accept(&mut request, ([127, 0, 0, 1], 5000).into()).unwrap_err();
/// assert_eq!(refused.status(), 426);
/// assert_eq!(refused.reason(), RejectReason::NotAnUpgrade);
/// assert_eq!(refused.to_response().headers()["upgrade"], "websocket");
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeError {
    reason: RejectReason,
    answer: Answer,
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    UpgradeRequired,
    VersionRequired,
    TooMany,
    Unavailable,
}

/// Why a handshake was refused, for counters and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The request asks for no upgrade.
    NotAnUpgrade,
    /// The protocol version is not 13.
    Version,
    /// Method, HTTP version, key, host or body is not that of a handshake.
    Malformed,
    /// A query parameter is not valid.
    Query,
    /// The page is of a foreign origin.
    Origin,
    /// There is no valid token; the embedder's refusal.
    Unauthorized,
    /// The token lacks the right to connect; the embedder's refusal.
    Forbidden,
    /// There are as many connections as allowed.
    Capacity,
    /// There are as many connections from this address as allowed.
    CapacityPerAddress,
    /// The hub is draining.
    Draining,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::NotAnUpgrade,
        Self::Version,
        Self::Malformed,
        Self::Query,
        Self::Origin,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Capacity,
        Self::CapacityPerAddress,
        Self::Draining,
    ];

    /// A name for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnUpgrade => "not_an_upgrade",
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::Query => "query",
            Self::Origin => "origin",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Capacity => "capacity",
            Self::CapacityPerAddress => "capacity_per_address",
            Self::Draining => "draining",
        }
    }
}

impl HandshakeError {
    fn new(reason: RejectReason, answer: Answer, detail: &str) -> Self {
        Self {
            reason,
            answer,
            detail: detail.to_owned(),
        }
    }

    fn malformed(detail: &str) -> Self {
        Self::new(RejectReason::Malformed, Answer::BadRequest, detail)
    }

    fn foreign_origin() -> Self {
        Self::new(
            RejectReason::Origin,
            Answer::Forbidden,
            "the page's origin may not connect here",
        )
    }

    pub(crate) fn query(error: &InvalidSubscription) -> Self {
        Self::new(RejectReason::Query, Answer::BadRequest, &error.to_string())
    }

    pub(crate) fn capacity() -> Self {
        Self::new(
            RejectReason::Capacity,
            Answer::Unavailable,
            "no more connections can be taken now",
        )
    }

    pub(crate) fn capacity_per_address() -> Self {
        Self::new(
            RejectReason::CapacityPerAddress,
            Answer::TooMany,
            "no more connections from this address can be taken now",
        )
    }

    pub(crate) fn draining() -> Self {
        Self::new(
            RejectReason::Draining,
            Answer::Unavailable,
            "the server is shutting down",
        )
    }

    /// Why.
    pub fn reason(&self) -> RejectReason {
        self.reason
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.answer {
            Answer::BadRequest => StatusCode::BAD_REQUEST,
            Answer::Forbidden => StatusCode::FORBIDDEN,
            Answer::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Answer::UpgradeRequired | Answer::VersionRequired => StatusCode::UPGRADE_REQUIRED,
            Answer::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The header that the answer must carry, beside the usual ones.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self.answer {
            Answer::BadRequest | Answer::Forbidden => return None,
            Answer::MethodNotAllowed => (ALLOW, "GET"),
            Answer::UpgradeRequired => (UPGRADE, "websocket"),
            Answer::VersionRequired => (SEC_WEBSOCKET_VERSION, "13"),
            Answer::TooMany | Answer::Unavailable => (RETRY_AFTER, "1"),
        };
        Some((name, HeaderValue::from_static(value)))
    }

    /// A complete answer with the detail as plain text.
    pub fn to_response(&self) -> Response<String> {
        let mut response = Response::new(self.detail.clone());
        *response.status_mut() = self.status();
        response.headers_mut().extend(self.header());
        if self.answer == Answer::UpgradeRequired {
            // `Upgrade` is for the next hop only, and has to say so (RFC 9110 section 7.8).
            let upgrade = HeaderValue::from_static("upgrade");
            response.headers_mut().insert(CONNECTION, upgrade);
        }
        response
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for HandshakeError {}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
