//! The server: HTTP routes around the hub, from the first connection to a clean end.

mod answer;
mod app;
mod auth;
mod body;
mod budget;
mod connection;
mod connections;
mod crowd;
mod delivery;
mod describe;
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
mod schemas;
mod signals;
mod sse;
mod supervisor;
mod tls;
mod trace;
mod web;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use app::App;
pub use describe::Description;
use log::Log;
pub use schemas::SchemaError;
use schemas::Schemas;
use signals::Signals;
use supervisor::Supervisor;
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
/// A service manager may pass the socket to listen on (`LISTEN_FDS`, in place of `listen`), and is
/// told where it asks to be (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
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
    let passed = supervisor::passed_listener().map_err(ServeError::Passed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let result = runtime.block_on(async {
        let signals = Signals::catch().map_err(ServeError::Start)?;
        let supervisor = Supervisor::from_environment();
        let server = Server::open(settings, passed)?;
        let tls = server.app.tls.clone();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // The sender goes without a word only together with the server.
            let _ = stopped.await;
        };
        let serving = async {
            server.app.engine.opened().await?;
            announce(&server);
            supervisor.ready().await;
            tokio::select! {
                result = server.run(stopped) => result,
                never = supervisor.stay_alive() => match never {},
            }
        };
        tokio::select! {
            result = serving => result,
            () = signals.watch(stop, tls, &supervisor) => Err(ServeError::CutShort),
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
    /// The socket that a service manager passed cannot be used.
    Passed(io::Error),
    /// That socket is at an address that others can reach, and the settings ask for no token.
    Open(SocketAddr),
    /// The system refuses something else that the server needs.
    Start(io::Error),
    /// The certificate or its key cannot be used.
    Tls(TlsError),
    /// The log on disk could not be opened.
    Log(stoat_log_disk::OpenError),
    /// The settings of the clustered log cannot be used.
    Broker(stoat_log_nats::OpenError),
    /// The clustered log cannot be used, or not any more, for this reason.
    LogEnded(String),
    /// A schema of `schemas_dir` cannot be used.
    Schema(SchemaError),
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
            Self::Passed(error) => write!(f, "cannot listen on what was passed: {error}"),
            Self::Open(address) => write!(
                f,
                "the socket that was passed listens on {address}, which others can reach, and no token is configured: \
                 set tokens or jwt, or allow everyone with allow_anonymous"
            ),
            Self::Start(error) => write!(f, "cannot start: {error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::Log(error) => error.fmt(f),
            Self::Schema(error) => error.fmt(f),
            Self::Broker(error) => error.fmt(f),
            Self::LogEnded(reason) => write!(f, "the log on JetStream has ended: {reason}"),
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
            Self::Tls(_) | Self::Schema(_) | Self::Passed(_) | Self::Open(_) => true,
            Self::Log(error) => error.is_unusable(),
            Self::Broker(_) => true,
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
    /// [`ServeError::Tls`], [`ServeError::Schema`], [`ServeError::Listen`], [`ServeError::Log`],
    /// [`ServeError::Broker`] and [`ServeError::Metrics`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn bind(settings: &Settings) -> Result<Self, ServeError> {
        Self::open(settings, None)
    }

    /// As [`bind`](Self::bind), on the socket that was passed where one was.
    fn open(settings: &Settings, passed: Option<StdListener>) -> Result<Self, ServeError> {
        let tls = Tls::from_settings(settings).map_err(ServeError::Tls)?;
        let schemas = Schemas::load(settings.schemas_dir.as_deref()).map_err(ServeError::Schema)?;
        let refused = |error| ServeError::Listen(settings.listen, error);
        let (listener, address) = match passed {
            Some(listener) => over(settings, listener)?,
            None => {
                let listener = listener::bind(settings.listen).map_err(refused)?;
                let address = listener.local_addr().map_err(refused)?;
                (listener, address)
            }
        };
        let log = Log::open(settings)?;
        let app = App::new(settings, log, tls, schemas);
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
    /// # Errors
    /// [`ServeError::LogEnded`]: it was the log that made it stop. It has drained.
    ///
    /// # Cancel safety
    /// Dropping the future stops the listening at once; connections live on in their tasks.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
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
            let mut watching = pin!(log::watch(&self.app));
            let ended = tokio::select! {
                () = stop => None,
                reason = &mut watching => Some(reason),
            };
            let deadline = Instant::now() + self.drain_timeout;
            let draining = async {
                drain(&self.app, self.drain_timeout, deadline).await;
                finish(&self.app, &stopping, deadline).await;
                if let Some(tracer) = &self.app.tracer {
                    let left = deadline.saturating_duration_since(Instant::now());
                    tracer.flush(left.clamp(FLUSH.start, FLUSH.end)).await;
                }
            };
            tokio::select! {
                () = draining => ended,
                reason = &mut watching, if ended.is_none() => Some(reason),
            }
        };
        let ended = tokio::select! {
            never = accepting => match never {},
            ended = ending => ended,
        };
        tracing::info!("stopped");
        ended.map_or(Ok(()), |reason| Err(ServeError::LogEnded(reason)))
    }
}

/// The socket that was passed, with its address; the rule for open addresses holds for it as well.
fn over(
    settings: &Settings,
    listener: StdListener,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listener = TcpListener::from_std(listener).map_err(ServeError::Passed)?;
    let address = listener.local_addr().map_err(ServeError::Passed)?;
    if settings.is_open_by_mistake(address) {
        return Err(ServeError::Open(address));
    }
    Ok((listener, address))
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
    // What is still open then has sent no request.
    let _ = timeout(LAST_BYTES, app.connections.emptied()).await;
}
