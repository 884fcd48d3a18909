//! One HTTP connection: requests one after the other, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stoat_correlation::CorrelationService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::app::App;
use super::router;

/// The most memory for the head of a request, and for the part of an answer that is on its way.
const BUFFER: usize = 16 << 10;

/// Serves a connection to its end. Once `stopping` is true it takes no further request.
///
/// A client that sends no complete head within `head_timeout`, or does not take an answer within
/// `answer_timeout`, is cut off.
pub(super) async fn serve(
    app: Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopping: watch::Receiver<bool>,
) {
    let limits = app.limits;
    let activity = Arc::new(Activity::new());
    let service = {
        let activity = Arc::clone(&activity);
        CorrelationService::new(service_fn(move |request| {
            let (app, busy) = (Arc::clone(&app), activity.begin());
            async move {
                let answer = router::answer(&app, request, peer).await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        }))
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(BUFFER)
        // A client may end its half once it has asked, and still waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut told = false;
    loop {
        let look = activity.idle_until(limits.answer_timeout);
        // No order matters here: each branch leads to the end on its own.
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%peer, %error, "connection ended");
                }
                return;
            }
            // An error means that the server is gone, which is a reason to stop too.
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(look) => {
                if activity.idle_until(limits.answer_timeout) <= Instant::now() {
                    tracing::debug!(%peer, "connection dropped: the client takes no answer");
                    return;
                }
            }
        }
    }
}

/// Since when no request is being worked on.
#[derive(Debug)]
struct Activity(Mutex<Option<Instant>>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Some(Instant::now())))
    }

    /// A request is worked on until what this returns is dropped.
    fn begin(self: &Arc<Self>) -> Busy {
        self.set(None);
        Busy(Arc::clone(self))
    }

    /// When the connection will have been without work for this long, if none comes.
    fn idle_until(&self, long: Duration) -> Instant {
        let idle_since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle_since.unwrap_or_else(Instant::now) + long
    }

    fn set(&self, idle_since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = idle_since;
    }
}

/// Work on a request.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(Some(Instant::now()));
    }
}
