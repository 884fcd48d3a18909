//! `stoat bench`: publishes at a steady rate, follows with many clients, and prints the latencies.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::ClientError;
use super::progress::Progress;
use super::publish::Poster;
use super::tail::{Refusal, Socket, open};
use super::unreachable;
use crate::cli::{Bench, Tail};

/// The type of the events.
const TYPE: &str = "stoat.bench";

/// How long the last events may take after the last publish.
const LAST: Duration = Duration::from_secs(10);

/// The greatest latency that is told apart, in microseconds.
const GREATEST: u64 = 60_000_000;

/// Publishes and follows; writes the report to `out`.
pub(super) async fn run<W: AsyncWrite + Unpin>(
    bench: &Bench,
    mut out: W,
    mut random: impl FnMut() -> u64,
) -> Result<(), ClientError> {
    let topic = format!("bench.x{:016x}", random());
    let mut sockets = Vec::new();
    for _ in 0..bench.clients {
        sockets.push(connect(bench, &topic).await?);
    }
    let total = u64::from(bench.rate) * u64::from(bench.seconds);
    let started = Instant::now();
    let delivered = Arc::new(Mutex::new(latencies()?));
    let mut followers = JoinSet::new();
    for socket in sockets {
        let delivered = Arc::clone(&delivered);
        followers.spawn(follow(socket, total, started, delivered));
    }

    let mut acknowledged = latencies()?;
    let mut progress = Progress::new(bench.progress);
    let mut poster = Poster::new(&bench.url);
    for number in 0..total {
        // By the clock and not by the answers: a server that is late does not slow the measure.
        let due = started + Duration::from_secs(number) / bench.rate;
        sleep_until(due).await;
        let body = event(bench, &topic, due.duration_since(started));
        let answer = poster.post("application/json", body, None).await;
        let answer = answer.map_err(|error| unreachable(&bench.url, &error))?;
        if !answer.status.is_success() {
            return Err(ClientError::new(format!(
                "a publish was refused: {}; nothing more is published (a lower --rate may pass)",
                answer.problem()
            )));
        }
        record(&mut acknowledged, due.elapsed());
        progress.show(|| {
            let delivered = lock(&delivered);
            let p99 = millis(delivered.value_at_quantile(0.99));
            let (published, arrived) = (number + 1, delivered.len());
            format!("published {published} of {total}, delivered {arrived}, p99 {p99}")
        });
    }
    let took = started.elapsed();
    let all = async { while followers.join_next().await.is_some() {} };
    // Whatever has not come by then is counted as missing.
    let _ = timeout(LAST, all).await;

    let delivered = lock(&delivered).clone();
    let expected = total * u64::from(bench.clients);
    progress.end(|| {
        format!(
            "published {total} of {total}, delivered {} of {expected}",
            delivered.len()
        )
    });
    let report = report(bench, total, took, &acknowledged, &delivered);
    let written = async {
        out.write_all(report.as_bytes()).await?;
        out.flush().await
    };
    written
        .await
        .map_err(|error| ClientError::new(format!("cannot write to standard output: {error}")))?;
    if delivered.len() < expected {
        return Err(ClientError::new(format!(
            "{} of {expected} events did not arrive within {} s; a client that falls behind is told of a gap: \
             try a lower --rate, or larger ws_replay_… settings",
            expected - delivered.len(),
            LAST.as_secs()
        )));
    }
    Ok(())
}

/// A client of its own that sees the events of this run only.
async fn connect(bench: &Bench, topic: &str) -> Result<Socket, ClientError> {
    let tail = Tail::on_topic(bench.url.clone(), topic);
    match open(&tail, None).await {
        Ok((socket, _)) => Ok(socket),
        Err(Refusal::Unreachable(error)) => Err(unreachable(&bench.url, &error)),
        Err(Refusal::Busy(problem, _)) => Err(ClientError::new(format!(
            "the server takes no more clients: {problem}; try fewer --clients"
        ))),
        Err(Refusal::Fatal(error)) => Err(error),
    }
}

fn event(bench: &Bench, topic: &str, due: Duration) -> Bytes {
    let filler = "x".repeat(usize::try_from(bench.size).unwrap_or_default());
    let payload = json!({ "due_us": micros(due), "filler": filler });
    let event = json!({ "type": TYPE, "topic": topic, "payload": payload });
    event.to_string().into()
}

/// What a follower reads of an event.
#[derive(Deserialize)]
struct Timed {
    payload: Due,
}

#[derive(Deserialize)]
struct Due {
    due_us: u64,
}

/// Notes when each event arrives, up to the last.
async fn follow(
    mut socket: Socket,
    total: u64,
    started: Instant,
    delivered: Arc<Mutex<Histogram<u64>>>,
) {
    let mut left = total;
    while left > 0 {
        match socket.next().await {
            // A heartbeat or a gap is not timed.
            Some(Ok(Message::Text(text))) => {
                if let Ok(event) = serde_json::from_str::<Timed>(&text) {
                    let due = Duration::from_micros(event.payload.due_us);
                    let age = started.elapsed().saturating_sub(due);
                    record(&mut lock(&delivered), age);
                    left -= 1;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

fn report(
    bench: &Bench,
    total: u64,
    took: Duration,
    acknowledged: &Histogram<u64>,
    delivered: &Histogram<u64>,
) -> String {
    let mut text = format!(
        "published     {total} events in {:.2} s, one after the other\n",
        took.as_secs_f64()
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "acknowledged  {}", quantiles(acknowledged));
    let clients = bench.clients;
    let expected = total * u64::from(clients);
    let arrived = delivered.len();
    let _ = writeln!(
        text,
        "delivered     {arrived} of {expected} to {clients} clients"
    );
    let _ = writeln!(text, "latency       {}", quantiles(delivered));
    let mut least = 0;
    for step in delivered.iter_log(100, 2.0) {
        let count = step.count_since_last_iteration();
        let most = step.value_iterated_to();
        if count > 0 {
            let bar = "#"
                .repeat(usize::try_from((count * 50).div_ceil(arrived.max(1))).unwrap_or_default());
            let _ = writeln!(
                text,
                "{:>10} to {:>10} {count:>9} {bar}",
                millis(least),
                millis(most)
            );
        }
        least = most;
    }
    text
}

fn quantiles(histogram: &Histogram<u64>) -> String {
    let at = |quantile| millis(histogram.value_at_quantile(quantile));
    let (p50, p90, p99) = (at(0.5), at(0.9), at(0.99));
    format!(
        "p50 {p50}  p90 {p90}  p99 {p99}  max {}",
        millis(histogram.max())
    )
}

fn latencies() -> Result<Histogram<u64>, ClientError> {
    Histogram::new_with_bounds(1, GREATEST, 3)
        .map_err(|error| ClientError::new(format!("cannot measure: {error}")))
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(micros(latency));
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(micros: u64) -> String {
    format!(
        "{:.2} ms",
        Duration::from_micros(micros).as_secs_f64() * 1000.0
    )
}

fn lock(histogram: &Mutex<Histogram<u64>>) -> std::sync::MutexGuard<'_, Histogram<u64>> {
    histogram.lock().unwrap_or_else(PoisonError::into_inner)
}
