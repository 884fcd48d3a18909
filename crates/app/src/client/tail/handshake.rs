//! Opening the WebSocket of `stoat tail`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::cli::Tail;
use crate::client::ClientError;
use crate::client::http::{Answer, Connection, RequestError, request};

/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Largest event that is read: the largest `max_event` that a server can have, and its envelope.
const LARGEST_EVENT: usize = 65 << 20;

/// The newest event ID of the log.
const CURSOR: &str = "x-stoat-cursor";

/// An open WebSocket.
pub(in crate::client) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why there is no WebSocket.
#[derive(Debug)]
pub(in crate::client) enum Refusal {
    /// Too many clients, or the server is draining; the text says what it told, the time how long to wait.
    Busy(String, Option<Duration>),
    /// No server answered, or only something before it.
    Unreachable(RequestError),
    /// It will not get better by itself.
    Fatal(ClientError),
}

/// Connects; gives the socket and the newest event ID of the log at that moment.
pub(in crate::client) async fn open(
    tail: &Tail,
    position: Option<&str>,
) -> Result<(Socket, Option<String>), Refusal> {
    let mut connection = Connection::open(&tail.url)
        .await
        .map_err(Refusal::Unreachable)?;
    timeout(HANDSHAKE, shake(tail, position, &mut connection))
        .await
        .unwrap_or(Err(Refusal::Unreachable(RequestError::TimedOut(HANDSHAKE))))
}

async fn shake(
    tail: &Tail,
    position: Option<&str>,
    connection: &mut Connection,
) -> Result<(Socket, Option<String>), Refusal> {
    let key = generate_key();
    let request = request(&tail.url, Method::GET, &route(tail, position))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .body(Full::new(Bytes::new()))
        .map_err(|error| fatal(tail, &error.to_string()))?;
    let response = connection
        .send(request)
        .await
        .map_err(Refusal::Unreachable)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let answer = Answer::read(response).await.map_err(Refusal::Unreachable)?;
        return Err(refusal(tail, &answer));
    }
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    if header(SEC_WEBSOCKET_ACCEPT.as_str()) != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(fatal(tail, "its answer is not that of a WebSocket server"));
    }
    let cursor = header(CURSOR).map(str::to_owned);
    let stream = hyper::upgrade::on(response)
        .await
        .map_err(|error| Refusal::Unreachable(RequestError::Lost(error.to_string())))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_EVENT))
        .max_frame_size(Some(LARGEST_EVENT));
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, Some(config)).await;
    Ok((socket, cursor))
}

/// The route with its query.
fn route(tail: &Tail, position: Option<&str>) -> String {
    let list = |items: &Option<Vec<String>>| {
        let items = items.as_ref()?.iter().map(|item| encode(item));
        Some(items.collect::<Vec<_>>().join(","))
    };
    let parameters = [
        ("types", list(&tail.types)),
        ("topics", list(&tail.topics)),
        ("last_event_id", position.map(encode)),
    ];
    let mut route = "/ws".to_owned();
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            route.push_str(&format!("{separator}{name}={value}"));
            separator = '&';
        }
    }
    route
}

/// Writes all but unreserved characters as `%XX`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What an answer without upgrade means.
fn refusal(tail: &Tail, answer: &Answer) -> Refusal {
    let problem = answer.problem().to_string();
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Refusal::Busy(problem, answer.retry_after())
        }
        // A proxy whose server is away, or a server that is about to restart.
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Refusal::Unreachable(RequestError::Lost(problem))
        }
        _ => fatal(tail, &problem),
    }
}

fn fatal(tail: &Tail, why: &str) -> Refusal {
    Refusal::Fatal(ClientError::new(format!(
        "{} refused the connection: {why}",
        tail.url
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    fn tail(arguments: &[&str]) -> Tail {
        let line = ["stoat", "tail"].iter().chain(arguments);
        match parse(line.map(Into::into), &[]).unwrap() {
            Command::Tail(tail) => tail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_route_holds_filters_and_position() {
        assert_eq!(route(&tail(&[]), None), "/ws");
        assert_eq!(
            route(&tail(&[]), Some("e+1/&")),
            "/ws?last_event_id=e%2B1%2F%26"
        );
        let filtered = tail(&["--types=a,b_c", "--topics", "x&=,y.*"]);
        assert_eq!(
            route(&filtered, Some("earliest")),
            "/ws?types=a,b_c&topics=x%26%3D,y.%2A&last_event_id=earliest"
        );
    }

    #[test]
    fn only_a_busy_or_absent_server_is_tried_again() {
        let judge = |status: u16| {
            let mut headers = http::HeaderMap::new();
            headers.insert("retry-after", "2".parse().unwrap());
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers,
                body: Bytes::from_static(br#"{"title":"T","detail":"D"}"#),
            };
            refusal(&tail(&[]), &answer)
        };
        for status in [429, 503] {
            let Refusal::Busy(text, wait) = judge(status) else {
                panic!("{status}")
            };
            assert_eq!(text, format!("{status} T: D"));
            assert_eq!(wait, Some(Duration::from_secs(2)));
        }
        for status in [408, 500, 502, 504] {
            assert!(matches!(judge(status), Refusal::Unreachable(_)), "{status}");
        }
        for status in [200, 302, 400, 401, 403, 404, 426] {
            let Refusal::Fatal(error) = judge(status) else {
                panic!("{status}")
            };
            assert_eq!(
                error.to_string(),
                format!("http://127.0.0.1:8765 refused the connection: {status} T: D")
            );
        }
    }
}
