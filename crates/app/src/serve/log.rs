//! The log that the settings ask for, and what the readiness of the server makes of it.

use std::convert::Infallible;
use std::sync::Arc;

use stoat_events::{EventLog, MemoryLog, Retention};
use stoat_log_disk::{Condition, DiskLog, DiskRetention, OpenError};
use tokio::sync::watch;

use super::app::App;
use crate::settings::Settings;

/// The name under which the readiness lists it.
pub(super) const PART: &str = "log";

/// A log that is open.
pub(super) struct Log {
    pub(super) log: Arc<dyn EventLog>,
    /// Nothing for one in memory, which is always well.
    pub(super) condition: Option<watch::Receiver<Condition>>,
}

impl Log {
    /// Opens the log on disk, which is read and checked first, or makes one in memory.
    ///
    /// # Errors
    /// [`OpenError`] where the one on disk cannot be used.
    pub(super) fn open(settings: &Settings) -> Result<Self, OpenError> {
        let memory = Retention {
            events: settings.ws_replay_buffer_size,
            bytes: settings.ws_replay_buffer_bytes as u64,
            age: settings.ws_replay_ttl_seconds,
        };
        let Some(dir) = &settings.log_dir else {
            let log = MemoryLog::builder()
                .retention(memory)
                .max_event(settings.max_event)
                .idempotency_ttl(settings.idempotency_ttl)
                .build();
            return Ok(Self {
                log: Arc::new(log),
                condition: None,
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
            .open()?;
        let bounds = log.bounds();
        tracing::info!(dir = %dir.display(), events = bounds.events(), epoch = %bounds.epoch, "the log is open");
        Ok(Self {
            condition: Some(log.condition()),
            log: Arc::new(log),
        })
    }
}

/// Tells the readiness, and the readers, how the log on disk is doing.
pub(super) async fn watch(app: &App) -> Infallible {
    if let Some(mut condition) = app.log_condition.clone() {
        // Ends with the log, which the hub holds.
        while condition.changed().await.is_ok() {
            let state = match &*condition.borrow_and_update() {
                Condition::Good => Ok(()),
                // What went wrong is for the operator's eyes.
                Condition::Failed(_) => Err("failed until a restart".to_owned()),
                other => Err(other.to_string()),
            };
            app.health.set(PART, state);
            app.health.publish_change(&app.hub, &app.metrics).await;
        }
    }
    std::future::pending().await
}
