//! HTTP/2: requests side by side, with bounds on what one connection may ask for.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use http::Method;
use http::header::CONTENT_LENGTH;
use hyper::body::Body as _;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stoat_correlation::CorrelationService;
use stoat_ws_hub::Held;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::Client;
use super::calm::Calm;
use super::streams::{Due, Streams};
use crate::serve::answer::Answer;
use crate::serve::app::Limits;
use crate::serve::router;

/// Requests, WebSockets included, at a time.
const STREAMS: u32 = 100;
/// What the library takes of a head before it refuses it with a bare 431: well above what is
/// allowed, so that a head over that gets a whole answer.
const HEAD_BYTES: u32 = 64 << 10;
/// What a client may send ahead for one request, and for all.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is kept of one answer beyond what the client is ready to take.
const SEND_BUFFER: usize = 64 << 10;
/// Requests that were taken back before they were looked at, and those that were malformed: with
/// more of them the connection ends.
const RESETS: usize = 20;
const FAULTS: usize = 100;

/// Serves the connection until it ends.
///
/// It ends when there is no request in time, an answer is not taken in time, or pings are not
/// answered, or when it sends too many frames that carry nothing; one without requests and WebSockets is told to go away, and cut off if it stays.
pub(super) async fn serve<S>(client: Client, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Client {
        app,
        peer,
        accepted,
        mut stopping,
    } = client;
    let limits = app.limits;
    let streams = Arc::new(Streams::new(accepted));
    let service = {
        let (app, streams) = (Arc::clone(&app), Arc::clone(&streams));
        CorrelationService::new(service_fn(move |mut request: http::Request<_>| {
            let (app, streams) = (Arc::clone(&app), Arc::clone(&streams));
            let working = streams.begin();
            let is_head = request.method() == Method::HEAD;
            if request.method() == Method::CONNECT {
                let held = Held(Arc::new(streams.begin()));
                request.extensions_mut().insert(held);
            }
            async move {
                let inside = app.requests.enter();
                let answer = router::answer(&app, request, peer).await;
                drop(inside);
                let answer = match is_head {
                    true => without_body(answer),
                    false => streams.give(answer).await,
                };
                drop(working);
                Ok::<_, Infallible>(answer)
            }
        }))
    };
    let mut builder = http2::Builder::new(Tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(FAULTS)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.pong_timeout)
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Calm::new(stream)), service));
    let shortest = limits.head_timeout.min(limits.answer_timeout);
    let shortest = shortest.min(limits.pong_timeout);
    let mut told = None;
    loop {
        // Nothing wakes the task when a deadline changes, but a new one is not sooner than this.
        let soonest = Instant::now() + shortest;
        let due = due(&streams, &limits, told);
        let look = due.map_or(soonest, |(deadline, _)| deadline.min(soonest));
        // No order matters here: each branch leads to the end on its own.
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%peer, %error, "connection ended");
                }
                return;
            }
            // An error means that the server is gone, which is a reason to stop too.
            _ = stopping.wait_for(|stopping| *stopping), if told.is_none() => {
                told = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(look) => match self::due(&streams, &limits, told) {
                Some((deadline, Due::Drop)) if deadline <= Instant::now() => {
                    tracing::debug!(%peer, "connection dropped: the client does not do its part");
                    streams.give_up();
                    return;
                }
                Some((deadline, Due::GoAway)) if deadline <= Instant::now() => {
                    told = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                _ => {}
            }
        }
    }
}

/// What is to happen, and when. A client that was told to go away, and has nothing to stay for,
/// gets as long again.
fn due(streams: &Streams, limits: &Limits, told: Option<Instant>) -> Option<(Instant, Due)> {
    match (streams.due(limits)?, told) {
        ((deadline, Due::GoAway), Some(told)) => {
            Some((deadline.max(told) + limits.pong_timeout, Due::Drop))
        }
        (due, _) => Some(due),
    }
}

/// The library leaves it to us to send no body in answer to HEAD.
fn without_body(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Answer::from_parts(head, Default::default())
}

/// Spawns what the library wants to run beside the connection.
#[derive(Clone, Copy)]
struct Tasks;

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(stoat_correlation::spawn(future));
    }
}
