//! `stoat delivery`: the delivery report of one event.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use serde_json::value::RawValue;
use tokio::io::AsyncWrite;
use tokio::time::timeout;

use super::http::{Answer, Connection, RequestError, request};
use super::output::Lines;
use super::{ClientError, unreachable};
use crate::cli::Delivery;

/// How long the request may take.
const REQUEST: Duration = Duration::from_secs(30);

/// Prints the report as one line of JSON.
pub(super) async fn run<W>(delivery: &Delivery, out: W) -> Result<(), ClientError>
where
    W: AsyncWrite + Unpin,
{
    let answer = timeout(REQUEST, ask(delivery)).await;
    let answer = answer
        .unwrap_or(Err(RequestError::TimedOut(REQUEST)))
        .map_err(|error| match error {
            RequestError::Connect(_) => unreachable(&delivery.url, &error),
            _ => ClientError::new(error.to_string()),
        })?;
    if !answer.status.is_success() {
        let problem = answer.problem();
        return Err(ClientError::new(format!("no delivery report: {problem}")));
    }
    let report: &RawValue = serde_json::from_slice(&answer.body).map_err(|_| {
        let (url, status) = (&delivery.url, answer.status);
        ClientError::new(format!(
            "{url} answered {status} without a report: is it a stoat server?"
        ))
    })?;
    let mut lines = Lines::new(out);
    lines.add(report.get());
    lines.flush().await.map(|_| ())
}

async fn ask(delivery: &Delivery) -> Result<Answer, RequestError> {
    let route = format!("/api/v1/events/{}/delivery", delivery.event);
    let request = request(&delivery.url, Method::GET, &route)
        .body(Full::<Bytes>::default())
        .map_err(|error| RequestError::Lost(error.to_string()))?;
    let mut connection = Connection::open(&delivery.url).await?;
    Answer::read(connection.send(request).await?).await
}
