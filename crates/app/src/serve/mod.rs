//! The server: HTTP routes around the hub, from the first connection to a clean end.

mod answer;
mod app;
mod auth;
mod body;
mod budget;
mod connection;
mod connections;
mod crowd;
mod gate;
mod health;
mod history;
mod listener;
mod log;
mod metrics;
mod problem;
mod proxies;
mod publish;
mod rate;
mod router;
mod signals;
mod tls;
mod trace;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use stoat_log_disk::OpenError;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use app::App;
use log::Log;
use signals::Signals;
use tls::Tls;
pub use tls::TlsError;

use crate::settings::Settings;

/// How long connections get for the last bytes of their answers once all requests are answered.
const LAST_BYTES: Duration = Duration::from_millis(300);

/// How long the receiver of spans gets at the end: what is left of the drain, within this.
const FLUSH: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(2);

/// Runs the server until SIGTERM or SIGINT, then drains it; a second signal ends it at once.
///
/// Prints one line to standard output when it is ready: `listening on http://ADDR:PORT`, with `https`
/// where it speaks TLS. SIGHUP lets it read the certificate again.
///
/// # Errors
/// [`ServeError`]: the server could not start, or was not allowed to drain.
///
/// # Panics
/// Inside of an asynchronous runtime: it starts one of its own.
pub fn run(settings: &Settings, warnings: &[String]) -> Result<(), ServeError> {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let result = runtime.block_on(async {
        let signals = Signals::catch().map_err(ServeError::Start)?;
        let server = Server::bind(settings)?;
        announce(&server);
        let tls = server.app.tls.clone();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // The sender goes without a word only together with the server.
            let _ = stopped.await;
        };
        tokio::select! {
            () = server.run(stopped) => Ok(()),
            () = signals.watch(stop, tls) => Err(ServeError::CutShort),
        }
    });
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    result
}

/// Tells whoever started the program that it can be used, and where.
fn announce(server: &Server) {
    let address = server.address();
    let scheme = match server.app.tls {
        Some(_) => "https",
        None => "http",
    };
    tracing::info!(%address, scheme, version = env!("CARGO_PKG_VERSION"), "listening");
    let mut out = io::stdout().lock();
    let told = writeln!(out, "listening on {scheme}://{address}").and_then(|()| out.flush());
    if let Err(error) = told {
        tracing::warn!(%error, "standard output cannot be written");
    }
}

/// Why the server did not run to a clean end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The system refuses something else that the server needs.
    Start(io::Error),
    /// The certificate or its key cannot be used.
    Tls(TlsError),
    /// The log on disk could not be opened.
    Log(OpenError),
    /// The metrics could not be set up.
    Metrics(Box<dyn Error + Send + Sync>),
    /// A second signal came before the drain was complete.
    CutShort,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) if error.kind() == ErrorKind::AddrInUse => {
                write!(
                    f,
                    "cannot listen on {address}: the address is already in use"
                )
            }
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Start(error) => write!(f, "cannot start: {error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::Log(error) => error.fmt(f),
            Self::Metrics(error) => write!(f, "cannot set up the metrics: {error}"),
            Self::CutShort => f.write_str("stopped by a second signal before all was drained"),
        }
    }
}

impl Error for ServeError {}

impl ServeError {
    /// Whether it is the settings that have to change.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Log(error) => error.is_unusable(),
            _ => false,
        }
    }
}

/// A server that listens; the kernel queues its connections until it [runs](Server::run).
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    drain_timeout: Duration,
}

impl Server {
    /// Listens on the address of the settings.
    ///
    /// # Errors
    /// [`ServeError::Tls`], [`ServeError::Listen`], [`ServeError::Log`] and
    /// [`ServeError::Metrics`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn bind(settings: &Settings) -> Result<Self, ServeError> {
        let tls = Tls::from_settings(settings).map_err(ServeError::Tls)?;
        let refused = |error| ServeError::Listen(settings.listen, error);
        let listener = listener::bind(settings.listen).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let log = Log::open(settings).map_err(ServeError::Log)?;
        let app = App::new(settings, log, tls);
        let app = app.map_err(|error| ServeError::Metrics(Box::new(error)))?;
        Ok(Self {
            app: Arc::new(app),
            listener,
            address,
            drain_timeout: settings.drain_timeout,
        })
    }

    /// The address that it listens on, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready, then drains, for at most `drain_timeout`: publishes that have
    /// begun are answered, every client gets what was acknowledged and then a Close 1001. While it
    /// drains, new connections are served, and told by `/health/ready` to go elsewhere.
    ///
    /// # Cancel safety
    /// Dropping the future stops the listening at once; connections live on in their tasks.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopping_seen) = watch::channel(false);
        let accepting = listener::accept(&self.listener, |stream, peer| {
            let address = Some(peer.ip()).filter(|address| !self.app.proxies.trusts(*address));
            let Some(place) = self.app.crowd.enter(address) else {
                return;
            };
            let Some(pass) = self.app.connections.enter() else {
                return;
            };
            let (app, stopping) = (Arc::clone(&self.app), stopping_seen.clone());
            drop(stoat_correlation::spawn(async move {
                connection::serve(app, stream, peer, &place, stopping).await;
                drop((pass, place));
            }));
        });
        let ending = async {
            stop.await;
            let deadline = Instant::now() + self.drain_timeout;
            drain(&self.app, self.drain_timeout, deadline).await;
            finish(&self.app, &stopping, deadline).await;
            if let Some(tracer) = &self.app.tracer {
                let left = deadline.saturating_duration_since(Instant::now());
                tracer.flush(left.clamp(FLUSH.start, FLUSH.end)).await;
            }
        };
        tokio::select! {
            never = accepting => match never {},
            never = log::watch(&self.app) => match never {},
            () = ending => tracing::info!("stopped"),
        }
    }
}

/// Ends the work of the server, in the order in which nothing that was acknowledged is lost.
async fn drain(app: &App, within: Duration, deadline: Instant) {
    tracing::info!(
        clients = app.hub.active_connections(),
        timeout_ms = within.as_millis() as u64,
        "draining"
    );
    app.health.begin_drain();
    app.publishes.close();
    app.health.publish_change(&app.hub, &app.metrics).await;

    // A publish whose body does not come must not take the time that the clients need: at half
    // time it is refused.
    if timeout(within / 2, app.publishes.emptied()).await.is_err() {
        tracing::warn!("publishes whose body has not come are refused");
        app.publishes.cut();
        let _ = timeout_at(deadline, app.publishes.emptied()).await;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if app.hub.drain(left).await {
        tracing::info!("all clients have left");
    } else {
        tracing::warn!("clients that did not leave in time were cut off");
    }
}

/// Ends the HTTP connections: those that are idle at once, the others after their answer.
async fn finish(app: &App, stopping: &watch::Sender<bool>, deadline: Instant) {
    stopping.send_replace(true);
    app.connections.close();
    let _ = timeout_at(deadline, app.requests.emptied()).await;
    // What is still open then has sent no request, or takes no answer.
    let _ = timeout(LAST_BYTES, app.connections.emptied()).await;
}
