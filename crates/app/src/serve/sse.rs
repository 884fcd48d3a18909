//! `GET /sse`: the stream of `/ws` as Server-Sent Events.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue,
    ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Request, request};
use stoat_events::{Format, sse};
use stoat_ws_hub::{DisconnectReason, Feed, FeedBatch, FeedPresence};
use tokio::time::{Instant, Sleep, sleep};

use super::answer::{Answer, AnswerBody, Outcome};
use super::app::{App, Limits};
use super::auth::Access;
use super::router::{not_admitted, prepare};

/// nginx takes this from an answer that it must not hold back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A client that lost its stream waits so long before it comes back, and up to [`SPREAD`] more:
/// another time for each, so that they do not return all at once.
const RETRY: Duration = Duration::from_secs(2);
const SPREAD: u32 = 2000;

/// Begins a stream.
pub(super) async fn open(
    app: &App,
    head: request::Parts,
    client: std::net::SocketAddr,
    access: &Access,
) -> Outcome {
    prepare(app, &head).await?;
    let request = Request::from_parts(head, ());
    let feed = app
        .hub
        .open_feed(&request, client, access.admission())
        .map_err(|refused| not_admitted(&refused))?;
    // Without the system's randomness they all wait as long, which is worse and works.
    let random = getrandom::u32().unwrap_or_default();
    let retry = RETRY + Duration::from_millis((random % SPREAD).into());
    let stream = EventStream::new(feed, retry, &app.limits);

    let mut answer = Answer::new(AnswerBody::Events(Box::new(stream)));
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, sse::CONTENT_TYPE),
        (CACHE_CONTROL, "no-cache, no-transform"),
        (X_ACCEL_BUFFERING, "no"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Over HTTP/1 nothing follows it.
        (CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // The hub has let the page in; its browser wants to hear it.
    if let Some(origin) = request.headers().get(ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    Ok(answer)
}

/// The body of the answer. One piece is made when the one before is with the kernel, so that a
/// client that does not read costs one piece.
pub(super) struct EventStream {
    state: State,
    format: Format,
    /// Sent first.
    opening: Option<String>,
    flow: Flow,
    presence: FeedPresence,
    retry: Duration,
    piece_bytes: usize,
    quiet: Duration,
    /// Sends a comment when there was nothing else for that long.
    keep_alive: Pin<Box<Sleep>>,
    /// Kept until the end.
    held: Option<Box<dyn Any + Send>>,
}

enum State {
    Idle(Box<Feed>),
    Reading(Pin<Box<Reading>>),
    Over,
}

type Reading = dyn Future<Output = (Box<Feed>, Option<FeedBatch>)> + Send;

impl EventStream {
    fn new(feed: Feed, retry: Duration, limits: &Limits) -> Self {
        Self {
            presence: feed.presence(),
            format: feed.format(),
            state: State::Idle(Box::new(feed)),
            opening: Some(sse::retry(retry)),
            flow: Flow::default(),
            retry,
            piece_bytes: limits.piece_bytes,
            quiet: limits.ping_interval,
            keep_alive: Box::pin(sleep(limits.ping_interval)),
            held: None,
        }
    }

    /// How the client takes it.
    pub(super) fn flow(&self) -> Flow {
        self.flow.clone()
    }

    /// Keeps something for as long as the stream lives.
    pub(super) fn hold(&mut self, held: Box<dyn Any + Send>) {
        self.held = Some(held);
    }

    /// The next piece; `None` at the end.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.flow.poll_taken(cx));
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(self.piece(opening.into_bytes(), None)));
        }
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Idle(mut feed) => {
                    let most = self.piece_bytes;
                    self.state = State::Reading(Box::pin(async move {
                        let batch = feed.next(most).await;
                        (feed, batch)
                    }));
                }
                State::Reading(mut reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready((feed, Some(batch))) => {
                        self.state = State::Idle(feed);
                        let mut bytes = Vec::new();
                        batch
                            .events()
                            .for_each(|event| sse::write(event, self.format, &mut bytes));
                        return Poll::Ready(Some(self.piece(bytes, Some(batch))));
                    }
                    Poll::Ready((feed, None)) => {
                        // Where it is a drain, they come back one after the other.
                        let last = feed
                            .retry_after()
                            .map(|after| sse::retry(self.retry + after));
                        return Poll::Ready(last.map(|last| self.piece(last.into_bytes(), None)));
                    }
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        ready!(self.keep_alive.as_mut().poll(cx));
                        return Poll::Ready(Some(self.piece(sse::KEEP_ALIVE.to_vec(), None)));
                    }
                },
            }
        }
    }

    fn piece(&mut self, bytes: Vec<u8>, batch: Option<FeedBatch>) -> Bytes {
        self.keep_alive.as_mut().reset(Instant::now() + self.quiet);
        self.flow.give();
        Bytes::from_owner(Piece {
            bytes,
            batch,
            flow: self.flow.clone(),
            _presence: self.presence.clone(),
        })
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if self.flow.end() {
            self.presence.ends_by(DisconnectReason::WriteTimeout);
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

/// Bytes on their way; taken when they are dropped.
struct Piece {
    bytes: Vec<u8>,
    batch: Option<FeedBatch>,
    flow: Flow,
    /// The client is there until it has them.
    _presence: FeedPresence,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.flow.taken()
            && let Some(batch) = self.batch.take()
        {
            batch.sent(self.bytes.len());
        }
    }
}

/// What a stream and its connection know in common: whether the client takes what it is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow(Arc<Mutex<Taking>>);

#[derive(Debug, Default)]
struct Taking {
    /// Since when there is something to take.
    since: Option<Instant>,
    given_up: bool,
    ended: bool,
    waker: Option<Waker>,
}

impl Flow {
    /// Since when the client has something to take; at the end of the stream that is the end.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.taking().since
    }

    /// Whether there still is a stream, or a piece of one.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// What is not taken is thrown away.
    pub(super) fn give_up(&self) {
        self.taking().given_up = true;
    }

    fn give(&self) {
        self.taking().since = Some(Instant::now());
    }

    /// Says whether the piece was taken, and not thrown away.
    fn taken(&self) -> bool {
        let (given_up, waker) = {
            let mut taking = self.taking();
            if !taking.ended {
                taking.since = None;
            }
            (taking.given_up, taking.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        !given_up
    }

    fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut taking = self.taking();
        if taking.since.is_none() {
            return Poll::Ready(());
        }
        taking.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends it; says whether the client was given up.
    fn end(&self) -> bool {
        let mut taking = self.taking();
        taking.ended = true;
        taking.since.get_or_insert_with(Instant::now);
        taking.given_up
    }

    fn taking(&self) -> MutexGuard<'_, Taking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
