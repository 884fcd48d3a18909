//! HTTP/1.1 to a stoat server: one connection, requests, answers and problems.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls;
use crate::cli::ServerUrl;
use crate::settings::text::{escape, shorten};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const LARGEST_ANSWER: usize = 16 << 20;

/// Most characters of a problem's detail that are shown.
const LONGEST_DETAIL: usize = 1000;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// There is no connection to the server: nothing was sent.
    Connect(io::Error),
    /// The connection was lost, or what came was no HTTP; the request may have been served.
    Lost(String),
    /// The answer did not come in time; the request may have been served.
    TimedOut(Duration),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Lost(why) => write!(f, "connection lost: {why}"),
            Self::TimedOut(limit) => write!(f, "no answer within {} s", limit.as_secs()),
        }
    }
}

impl Error for RequestError {}

/// A connection that serves one request after the other.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects, within ten seconds. The task that drives the connection ends with it.
    pub(crate) async fn open(url: &ServerUrl) -> Result<Self, RequestError> {
        timeout(CONNECT, Self::connect(url))
            .await
            .unwrap_or_else(|_| Err(RequestError::Connect(io::ErrorKind::TimedOut.into())))
    }

    async fn connect(url: &ServerUrl) -> Result<Self, RequestError> {
        let stream = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(RequestError::Connect)?;
        // Without it a request may wait for the kernel; with neither it still arrives.
        let _ = stream.set_nodelay(true);
        if !url.is_tls() {
            return Self::over(stream).await;
        }
        let stream = tls::connect(url.host(), stream).await;
        Self::over(stream.map_err(RequestError::Connect)?).await
    }

    async fn over<S>(stream: S) -> Result<Self, RequestError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        // The sender learns of the driver's errors.
        stoat_correlation::spawn(async move {
            let _ = driver.with_upgrades().await;
        });
        Ok(Self(sender))
    }

    /// Whether another request can be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, RequestError> {
        self.0.ready().await.map_err(|error| lost(&error))?;
        self.0
            .send_request(request)
            .await
            .map_err(|error| lost(&error))
    }
}

/// Begins a request for a route of the server, its query included.
pub(crate) fn request(url: &ServerUrl, method: Method, route: &str) -> request::Builder {
    let request = Request::builder()
        .method(method)
        .uri(url.path(route))
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("stoat/", env!("CARGO_PKG_VERSION")));
    match url.authorization() {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Reads the body.
    pub(crate) async fn read(response: Response<Incoming>) -> Result<Self, RequestError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| RequestError::Lost(error.to_string()))?;
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// How long the server asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        seconds.trim().parse().ok().map(Duration::from_secs)
    }

    /// What the server says is wrong.
    pub(super) fn problem(&self) -> Problem {
        Problem::read(self.status, &self.body)
    }
}

/// What a server says is wrong, as one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    text: String,
    /// The event of a batch that is at fault, from 0.
    pub(super) index: Option<usize>,
}

/// The members of RFC 9457 that are read.
#[derive(Default, Deserialize)]
struct Members {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    line: Option<usize>,
}

impl Problem {
    fn read(status: StatusCode, body: &[u8]) -> Self {
        let members: Members = serde_json::from_slice(body).unwrap_or_default();
        let title = members.title.as_deref().map(shorten);
        let title = title
            .or_else(|| status.canonical_reason().map(str::to_owned))
            .unwrap_or_else(|| "unknown status".to_owned());
        let mut text = format!("{} {title}", status.as_u16());
        if let Some(detail) = &members.detail {
            let cut: String = detail.chars().take(LONGEST_DETAIL).collect();
            text.push_str(": ");
            text.push_str(&escape(&cut));
        }
        let index = members
            .index
            .or_else(|| members.line?.checked_sub(1))
            .or_else(|| index_in(members.detail.as_deref()?));
        Self { text, index }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The index that a detail names: `event 3` and `index 3` count from 0, `line 4` from 1.
fn index_in(detail: &str) -> Option<usize> {
    let number_behind = |mark: &str| {
        detail.match_indices(mark).find_map(|(at, _)| {
            let rest = &detail[at + mark.len()..];
            let end = rest.find(|c: char| !c.is_ascii_digit());
            rest[..end.unwrap_or(rest.len())].parse::<usize>().ok()
        })
    };
    ["index ", "event "]
        .into_iter()
        .find_map(number_behind)
        .or_else(|| number_behind("line ")?.checked_sub(1))
}

/// The text of an error with its causes.
fn lost(error: &dyn Error) -> RequestError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    RequestError::Lost(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, body: &str) -> Problem {
        Problem::read(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn problems_are_one_line() {
        let told = problem(
            422,
            r#"{"title":"Unprocessable Content","status":422,"detail":"event 3: bad\ntype"}"#,
        );
        assert_eq!(
            told.to_string(),
            "422 Unprocessable Content: event 3: bad\\ntype"
        );
        assert_eq!(told.index, Some(3));
        assert_eq!(problem(502, "<html>").to_string(), "502 Bad Gateway");
        assert_eq!(problem(599, "{}").to_string(), "599 unknown status");
    }

    #[test]
    fn the_index_is_found() {
        assert_eq!(
            problem(422, r#"{"index":7,"detail":"event 1"}"#).index,
            Some(7)
        );
        assert_eq!(
            problem(400, r#"{"line":3,"detail":"not valid JSON at line 3"}"#).index,
            Some(2)
        );
        for (detail, index) in [
            ("index 12 is bad", Some(12)),
            ("line 1: no JSON", Some(0)),
            ("line 0", None),
            ("the event type at event 5", Some(5)),
            ("nothing", None),
            ("the event type is not [0-9]", None),
        ] {
            assert_eq!(index_in(detail), index, "{detail}");
        }
    }

    #[test]
    fn retry_after_is_in_seconds() {
        let answer = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            Answer {
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers,
                body: Bytes::new(),
            }
            .retry_after()
        };
        assert_eq!(answer("3"), Some(Duration::from_secs(3)));
        assert_eq!(answer("soon"), None);
        assert_eq!(answer("-1"), None);
    }
}
