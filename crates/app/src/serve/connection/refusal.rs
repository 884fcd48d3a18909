//! Answers to clients whose request never became one: written by hand, and then the end.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use http::header::{CACHE_CONTROL, DATE, HeaderValue};
use http_body_util::BodyExt;
use stoat_correlation::{CorrelationId, insert_header, sync_scope};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::HEAD_BYTES;
use crate::serve::answer::Answer;
use crate::serve::app::App;
use crate::serve::crowd::Overflow;
use crate::serve::problem::{HEAD_TIMEOUT, Kind, Problem};

/// How long the client gets to take the answer, and then to stop sending.
const LINGER: Duration = Duration::from_secs(2);
/// The most that is read and thrown away in that time.
const LINGER_BYTES: usize = 4 << 20;

/// The head has not come in time.
pub(super) fn late() -> Problem {
    Problem::new(
        HEAD_TIMEOUT,
        "the head of a request was not complete in time",
    )
}

/// The head is nothing that the HTTP library takes, for which it would answer with `status`.
pub(in crate::serve) fn malformed(status: u16) -> Problem {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let detail = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            format!("the head has more than {HEAD_BYTES} bytes, or more than 100 fields")
        }
        StatusCode::URI_TOO_LONG => "the target is too long".to_owned(),
        _ => "the head of the request is not valid HTTP".to_owned(),
    };
    Problem::new(Kind::plain(status), detail)
}

/// There are as many connections as allowed.
pub(super) fn overflow(overflow: Overflow) -> Problem {
    let (status, detail) = match overflow {
        Overflow::All => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no more connections can be taken now",
        ),
        Overflow::Address => (
            StatusCode::TOO_MANY_REQUESTS,
            "no more connections from this address can be taken now",
        ),
    };
    Problem::new(Kind::plain(status), detail).retry_after(1)
}

/// Writes the answer, and lets the client stop sending before the end, so that it gets the
/// answer and not a reset.
pub(super) async fn send<S>(app: &App, peer: SocketAddr, mut stream: S, problem: Problem)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id = CorrelationId::generate();
    let mut answer = sync_scope(id.clone(), || problem.close().into_answer());
    let status = answer.status();
    let headers = answer.headers_mut();
    insert_header(&id, headers);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(app.cursor());
    headers.extend(now().map(|now| (DATE, now)));
    app.metrics.refused(status);
    tracing::debug!(%peer, correlation_id = id.as_str(), status = status.as_u16(), "refused");

    let bytes = to_bytes(answer).await;
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(&bytes)).await {
        linger(stream).await;
    }
}

/// Lets the client stop sending before the end.
pub(super) async fn linger<S>(mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let read = timeout(LINGER, async {
        stream.shutdown().await?;
        let (mut piece, mut left) = ([0; 4096], LINGER_BYTES);
        while left > 0 {
            match stream.read(&mut piece).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    });
    // Whatever comes of it, the connection is over.
    let _ = read.await;
}

/// The answer as HTTP/1.1 has it.
async fn to_bytes(answer: Answer) -> Vec<u8> {
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn now() -> Option<HeaderValue> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let now = OffsetDateTime::now_utc().format(form).ok()?;
    HeaderValue::try_from(now).ok()
}
