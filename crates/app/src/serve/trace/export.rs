//! The task that exports spans: OTLP over HTTP, in batches, tried again while the receiver is away.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::clock::Clock;
use super::span::Ended;
use super::wire;
use crate::cli::ServerUrl;
use crate::client::http::{Answer, Connection, RequestError, request};

/// The most spans in a request.
const BATCH: usize = 512;
/// How long spans wait for others.
const INTERVAL: Duration = Duration::from_secs(1);
/// For one request with its answer.
const LONGEST: Duration = Duration::from_secs(10);
/// Between two attempts; twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two warnings that it does not work.
const QUIET: Duration = Duration::from_secs(600);

/// What is counted of spans.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Counters {
    /// Taken by the receiver.
    pub(in crate::serve) exported: IntCounter,
    /// Dropped, since too many waited.
    pub(in crate::serve) queue_full: IntCounter,
    /// Refused by the receiver for good.
    pub(in crate::serve) refused: IntCounter,
    /// Not taken by the receiver before the program ended.
    pub(in crate::serve) unavailable: IntCounter,
}

/// The receiving end of the queue.
pub(super) struct Exporter {
    url: ServerUrl,
    ended: mpsc::Receiver<Ended>,
    stopping: watch::Receiver<bool>,
    counters: Counters,
    /// Tells this process from others of its kind.
    instance: String,
    connection: Option<Connection>,
    warned: Option<Instant>,
}

/// Why spans were not exported.
enum Failure {
    NoAnswer(RequestError),
    Status(StatusCode),
}

impl Failure {
    /// Whether the same spans may be taken later.
    fn is_temporary(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => error.fmt(f),
            Self::Status(status) => write!(f, "the answer is {status}"),
        }
    }
}

impl Exporter {
    pub(super) fn new(
        url: ServerUrl,
        ended: mpsc::Receiver<Ended>,
        stopping: watch::Receiver<bool>,
        counters: Counters,
    ) -> Self {
        Self {
            url,
            ended,
            stopping,
            counters,
            instance: Uuid::new_v4().to_string(),
            connection: None,
            warned: None,
        }
    }

    /// Exports until it is told to stop and has tried all that was left once, or nobody is left
    /// who makes spans.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            self.gather(&mut batch).await;
            if batch.is_empty() {
                return;
            }
            self.export(&batch).await;
            batch.clear();
        }
    }

    /// Waits for spans, and a while for more; brings none only once there is nothing more to come.
    async fn gather(&mut self, batch: &mut Vec<Ended>) {
        let mut until = Instant::now();
        while batch.len() < BATCH {
            let (waits, room) = (!batch.is_empty(), BATCH - batch.len());
            tokio::select! {
                // What is there is taken first, so that a stop comes behind it.
                biased;
                count = self.ended.recv_many(batch, room) => match count {
                    0 => return,
                    _ if waits => {}
                    _ => until = Instant::now() + INTERVAL,
                },
                _ = self.stopping.wait_for(|stop| *stop), if !self.ended.is_closed() => {
                    self.ended.close();
                }
                () = sleep_until(until), if waits => return,
            }
        }
    }

    /// Exports a batch, as often as it takes; once it is to stop, there is one more attempt.
    async fn export(&mut self, batch: &[Ended]) {
        let count = batch.len() as u64;
        let body = Bytes::from(wire::encode(batch, &self.instance, Clock::now()));
        let mut wait = FIRST_WAIT;
        loop {
            let failure = match self.post(&body).await {
                Ok(rejected) => {
                    let rejected = rejected.min(count);
                    self.counters.refused.inc_by(rejected);
                    self.counters.exported.inc_by(count - rejected);
                    return;
                }
                Err(failure) => failure,
            };
            self.warn(&failure);
            if !failure.is_temporary() {
                return self.counters.refused.inc_by(count);
            }
            if self.ended.is_closed() {
                return self.counters.unavailable.inc_by(count);
            }
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.stopping.wait_for(|stop| *stop) => self.ended.close(),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Sends one request; gives how many spans the receiver did not want.
    async fn post(&mut self, body: &Bytes) -> Result<u64, Failure> {
        let answer = timeout(LONGEST, self.ask(body)).await;
        let answer = answer
            .unwrap_or(Err(RequestError::TimedOut(LONGEST)))
            .map_err(Failure::NoAnswer)?;
        if answer.status.is_success() {
            return Ok(wire::rejected(&answer.body));
        }
        Err(Failure::Status(answer.status))
    }

    async fn ask(&mut self, body: &Bytes) -> Result<Answer, RequestError> {
        let request = || {
            let mut request = request(&self.url, Method::POST, "/v1/traces")
                .body(Full::new(body.clone()))
                .map_err(|error| RequestError::Lost(error.to_string()))?;
            let protobuf = HeaderValue::from_static("application/x-protobuf");
            request.headers_mut().insert(CONTENT_TYPE, protobuf);
            Ok(request)
        };
        if let Some(mut connection) = self.connection.take().filter(Connection::is_open) {
            // One that has idled may be closed on the other side, which is no failure.
            if let Ok(response) = connection.send(request()?).await {
                let answer = Answer::read(response).await?;
                self.connection = Some(connection);
                return Ok(answer);
            }
        }
        let mut connection = Connection::open(&self.url).await?;
        let response = connection.send(request()?).await?;
        let answer = Answer::read(response).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// An outage is told once in a while, not with every attempt.
    fn warn(&mut self, failure: &Failure) {
        let is_quiet = self.warned.is_some_and(|warned| warned.elapsed() < QUIET);
        if is_quiet {
            tracing::debug!(endpoint = %self.url, %failure, "spans were not exported");
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(endpoint = %self.url, %failure, "spans cannot be exported; silent about this for 10 minutes");
    }
}
