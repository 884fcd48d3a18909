//! HTTP/1: requests one after the other, each part of them within its time.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::header::UPGRADE;
use http::{Method, StatusCode};
use hyper::body::Body as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use stoat_correlation::CorrelationService;
use stoat_ws_hub::TakeTcp;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::edge::{Edge, take_tcp};
use super::shared::{Shared, Turn};
use super::{Client, HEAD_BYTES, http2, refusal};
use crate::serve::answer::{Answer, AnswerBody};
use crate::serve::app::Limits;
use crate::serve::router;

/// Serves the connection until it ends or is upgraded; as HTTP/2, if the client begins with that.
///
/// A head that is late or malformed is answered, and ends it; so does an answer that the client
/// does not take in time, and a pause between two requests that is as long as a head may take.
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
    let shared = Arc::new(Shared::new(accepted));
    let service = {
        let (app, shared) = (Arc::clone(&app), Arc::clone(&shared));
        CorrelationService::new(service_fn(move |mut request: http::Request<_>| {
            let (app, shared) = (Arc::clone(&app), Arc::clone(&shared));
            shared.request(app.requests.enter());
            if request.headers().contains_key(UPGRADE) {
                request.extensions_mut().insert(TakeTcp(take_tcp));
            }
            let method = request.method().clone();
            // Boxed: the library moves it some ten times before it is polled, all its kilobytes.
            Box::pin(async move {
                let answer = router::answer(&app, request, peer).await;
                match answer.body() {
                    AnswerBody::Events(stream) => shared.stream(stream.flow()),
                    _ => shared.answer(body_on_the_wire(&method, &answer)),
                }
                Ok::<_, Infallible>(answer)
            })
        }))
    };
    let end = {
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            // A client may end its half once it has asked, and still waits for the answer.
            .half_close(true)
            .serve_connection(
                TokioIo::new(Edge::new(stream, Arc::clone(&shared))),
                service,
            )
            .with_upgrades();
        drive(pin!(connection), &shared, &app.limits, &mut stopping).await
    };
    // The library has let go of the stream.
    let (Some(end), Some((mut stream, unsent))) = (end, shared.take_stream()) else {
        return;
    };
    if !unsent.is_empty() {
        let sent = timeout(app.limits.answer_timeout, stream.write_all(&unsent)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    if let Some(begun) = shared.take_http2() {
        let client = Client {
            app,
            peer,
            accepted,
            stopping,
        };
        // Boxed, so that the common case does not carry its state.
        Box::pin(http2::serve(client, Edge::passing(stream, begun))).await;
        return;
    }
    let problem = match (shared.refused(), end) {
        (Some(status), _) => refusal::malformed(status),
        (None, End::Late) => refusal::late(),
        (None, End::BrokenOff) => refusal::malformed(400),
        (None, End::Over) => {
            if shared.is_ahead() || has_sent_more(&mut stream).await {
                // That must not reset the connection under answers that are on their way.
                Box::pin(refusal::linger(stream)).await;
            }
            return;
        }
    };
    Box::pin(refusal::send(&app, peer, stream, problem)).await;
}

/// Whether there is something to read now. It is lost.
async fn has_sent_more<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    let look = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut buf)));
    matches!(look.await, Poll::Ready(Ok(()))) && !buf.filled().is_empty()
}

/// How HTTP ended on a connection.
enum End {
    /// With nothing left to say.
    Over,
    /// A head was not complete in time.
    Late,
    /// The client ended its half within a head.
    BrokenOff,
}

/// Ends with nothing where an answer was not taken in time, or nothing was asked for.
async fn drive<S, C>(
    mut connection: Pin<&mut C>,
    shared: &Shared<S>,
    limits: &Limits,
    stopping: &mut watch::Receiver<bool>,
) -> Option<End>
where
    C: Future<Output = hyper::Result<()>> + Graceful,
{
    let mut told = false;
    loop {
        let look = look(shared.turn(), limits);
        // No order matters here: each branch leads to the end on its own.
        tokio::select! {
            ended = poll_fn(|cx| shared.poll(connection.as_mut(), cx)) => {
                return Some(match ended {
                    Err(error) if error.is_incomplete_message() && shared.head_has_begun() => {
                        End::BrokenOff
                    }
                    _ => End::Over,
                });
            }
            // An error means that the server is gone, which is a reason to stop too.
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                connection.as_mut().shut_down();
            }
            () = sleep_until(look) => {
                let turn = shared.turn();
                if deadline(turn, limits).is_some_and(|deadline| deadline <= Instant::now()) {
                    shared.give_up();
                    return shared.head_has_begun().then_some(End::Late);
                }
            }
        }
    }
}

/// A connection that can be told to take no further request.
trait Graceful {
    fn shut_down(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<hyper::body::Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: hyper::body::Body + 'static,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Until when the client has to do its part; none while it is our turn.
fn deadline(turn: Turn, limits: &Limits) -> Option<Instant> {
    match turn {
        Turn::Head { since } => Some(since + limits.head_timeout),
        Turn::Answer { since } => Some(since + limits.answer_timeout),
        Turn::Stream { since } => Some(since? + limits.answer_timeout),
        Turn::Work => None,
    }
}

/// When to look at the deadline again: nothing wakes the task when it changes, but a new one is
/// never sooner than this.
fn look(turn: Turn, limits: &Limits) -> Instant {
    let soonest = Instant::now() + limits.head_timeout.min(limits.answer_timeout);
    deadline(turn, limits).map_or(soonest, |deadline| deadline.min(soonest))
}

/// The length of the body as it is sent; `None` where it cannot be told, or all that follows is
/// no HTTP any more.
fn body_on_the_wire(method: &Method, answer: &Answer) -> Option<u64> {
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => None,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Some(0),
        _ if method == Method::HEAD => Some(0),
        _ => answer.body().size_hint().exact(),
    }
}
