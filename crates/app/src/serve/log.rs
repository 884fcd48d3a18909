//! The log that the settings ask for, and what the readiness of the server makes of it.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use stoat_events::{EventLog, MemoryLog, Resume, Retention};
use stoat_log_disk::{self as disk, DiskLog, DiskRetention};
use stoat_log_nats::{self as nats, NatsLog, NatsRetention, Servers};
use tokio::sync::watch;
use tokio::time::timeout;

use super::ServeError;
use super::app::App;
use super::problem::{LOG_NOT_READY, Problem};
use crate::settings::Settings;

/// How long a start waits for a broker before it goes on without.
const OPENING: Duration = Duration::from_secs(5);

/// A log that is open, or is being opened.
pub(super) struct Log {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) engine: Engine,
}

/// What keeps the log, and tells how it is doing.
#[derive(Clone)]
pub(super) enum Engine {
    /// Which is always well.
    Memory,
    Disk(watch::Receiver<disk::Condition>),
    Nats(Arc<NatsLog>),
}

impl Log {
    /// Opens the log on disk, which is read and checked first; begins to open the clustered
    /// one; or makes one in memory.
    ///
    /// # Errors
    /// [`ServeError::Log`] and [`ServeError::Broker`], where the settings cannot be used.
    pub(super) fn open(settings: &Settings) -> Result<Self, ServeError> {
        let memory = Retention {
            events: settings.ws_replay_buffer_size,
            bytes: settings.ws_replay_buffer_bytes as u64,
            age: settings.ws_replay_ttl_seconds,
        };
        if let Some(servers) = &settings.nats_url {
            return open_nats(settings, servers, memory);
        }
        let Some(dir) = &settings.log_dir else {
            let log = MemoryLog::builder()
                .retention(memory)
                .max_event(settings.max_event)
                .idempotency_ttl(settings.idempotency_ttl)
                .build();
            return Ok(Self {
                log: Arc::new(log),
                engine: Engine::Memory,
            });
        };
        let log = DiskLog::builder(dir)
            .memory(memory)
            .retention(DiskRetention {
                events: settings.log_max_events.map(|events| events as u64),
                bytes: settings.log_max_bytes as u64,
                age: settings.log_ttl_seconds,
            })
            .max_event(settings.max_event)
            .idempotency_ttl(settings.idempotency_ttl)
            .open()
            .map_err(ServeError::Log)?;
        let bounds = log.bounds();
        tracing::info!(dir = %dir.display(), events = bounds.events(), epoch = %bounds.epoch, "the log is open");
        Ok(Self {
            engine: Engine::Disk(log.condition()),
            log: Arc::new(log),
        })
    }
}

fn open_nats(settings: &Settings, servers: &Servers, memory: Retention) -> Result<Log, ServeError> {
    let mut builder = NatsLog::builder(servers.clone())
        .stream(&settings.nats_stream)
        .subject(&settings.nats_subject)
        .replicas(settings.nats_replicas)
        .storage(settings.nats_storage)
        .retention(NatsRetention {
            events: settings.nats_max_events.map(|events| events as u64),
            bytes: settings.nats_max_bytes.map(|bytes| bytes as u64),
            age: settings.nats_ttl_seconds,
        })
        .memory(memory)
        .max_event(settings.max_event)
        .idempotency_ttl(settings.idempotency_ttl)
        .publish_timeout(settings.nats_timeout)
        .pack(settings.nats_pack);
    if let Some(file) = &settings.nats_credentials {
        builder = builder.credentials(file);
    }
    if let Some(file) = &settings.nats_tls_ca {
        builder = builder.root_certificates(file);
    }
    if let (Some(certificate), Some(key)) = (&settings.nats_tls_cert, &settings.nats_tls_key) {
        builder = builder.client_certificate(certificate, key);
    }
    let log = Arc::new(builder.open().map_err(ServeError::Broker)?);
    tracing::info!(%servers, stream = settings.nats_stream, "the log is on JetStream");
    Ok(Log {
        log: Arc::clone(&log) as Arc<dyn EventLog>,
        engine: Engine::Nats(log),
    })
}

impl Engine {
    /// The name under which the readiness lists it.
    pub(super) fn part(&self) -> &'static str {
        match self {
            Self::Memory | Self::Disk(_) => "log",
            Self::Nats(_) => "broker",
        }
    }

    /// How the log is doing at this moment, in words for everyone: `Err` says what is wrong.
    pub(super) fn state(&self) -> Result<(), String> {
        match self {
            Self::Memory => Ok(()),
            Self::Disk(condition) => match &*condition.borrow() {
                disk::Condition::Good => Ok(()),
                // What went wrong is for the operator's eyes.
                disk::Condition::Failed(_) => Err("failed until a restart".to_owned()),
                other => Err(other.to_string()),
            },
            Self::Nats(log) => match &*log.condition().borrow() {
                nats::Condition::Good => Ok(()),
                // Readers are told once that it is so, and not of each reason.
                nats::Condition::Away(_) => Err("away".to_owned()),
                other => Err(other.to_string()),
            },
        }
    }

    /// Waits a while for a clustered log to open; without its broker the server starts all the
    /// same, and is not ready.
    ///
    /// # Errors
    /// [`ServeError::LogEnded`] where waiting is of no use.
    pub(super) async fn opened(&self) -> Result<(), ServeError> {
        let Self::Nats(log) = self else {
            return Ok(());
        };
        match timeout(OPENING, log.opened()).await {
            Ok(opened) => opened.map_err(|why| ServeError::LogEnded(why.to_string())),
            Err(_) => {
                tracing::warn!("the server starts without its broker, and is not ready");
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::Disk(_) => "Disk",
            Self::Nats(_) => "Nats",
        })
    }
}

/// Waits until the log can tell where a reader begins.
///
/// # Errors
/// 503 where it cannot for some time.
pub(super) async fn prepare(app: &App, resume: &Resume) -> Result<(), Problem> {
    app.hub.log().prepare(resume).await.map_err(not_ready)
}

pub(super) fn not_ready(error: impl fmt::Display) -> Problem {
    tracing::debug!(%error, "a reader is refused");
    Problem::new(LOG_NOT_READY, "try another server, or again later").retry_after(1)
}

/// Tells the readers how the log is doing, when that changes. Ends where the log has, with the
/// reason.
pub(super) async fn watch(app: &App) -> String {
    match &app.engine {
        Engine::Memory => pending().await,
        Engine::Disk(condition) => follow(app, condition.clone(), |_| None).await,
        Engine::Nats(log) => {
            let end = |condition: &nats::Condition| {
                if let nats::Condition::Away(reason) = condition {
                    tracing::warn!(%reason, "the broker is away");
                }
                matches!(condition, nats::Condition::Ended(_)).then(|| condition.to_string())
            };
            let mut condition = log.condition();
            // How it is now is news too.
            condition.mark_changed();
            follow(app, condition, end).await
        }
    }
}

/// Publishes each change; `end` is shown it first, and says for what reason there will be no more.
async fn follow<C>(
    app: &App,
    mut condition: watch::Receiver<C>,
    end: impl Fn(&C) -> Option<String>,
) -> String {
    // Ends with the log, which the hub holds.
    while condition.changed().await.is_ok() {
        let end = end(&condition.borrow_and_update());
        if let Some(reason) = end {
            return reason;
        }
        app.health.publish_change(&app.hub, &app.metrics).await;
    }
    pending().await
}
