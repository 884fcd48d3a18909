//! Whether the server lives and is ready, and the `health_status` events that tell of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::Serialize;
use stoat_events::{Event, EventType};
use stoat_ws_hub::ConnectionManager;

use super::answer::{Outcome, json};
use super::log::Engine;
use super::metrics::Metrics;

const OK: &str = "ok";
const DEGRADED: &str = "degraded";
const DRAINING: &str = "draining";
const ACCEPTING: &str = "accepting";

/// The readiness of the server: whether it accepts work, and how its log is doing.
#[derive(Debug)]
pub(super) struct Health {
    /// Asked each time: whoever was refused by the log sees why.
    engine: Engine,
    drains: AtomicBool,
    /// What was last published; held while publishing, so that changes come in their order.
    published: tokio::sync::Mutex<Report>,
}

/// The readiness of the server, and the state of each of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(super) struct Report {
    #[schemars(extend("enum" = [OK, DEGRADED, DRAINING]))]
    status: &'static str,
    /// `ok`, or what is wrong, for each part.
    checks: BTreeMap<&'static str, String>,
}

impl Health {
    /// Readers take it that all is well until they are told something else.
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            published: tokio::sync::Mutex::new(Report::of(engine.part(), Ok(()), false)),
            engine,
            drains: AtomicBool::new(false),
        }
    }

    /// The server is shutting down: from now on it is not ready.
    pub(super) fn begin_drain(&self) {
        self.drains.store(true, Ordering::Relaxed);
    }

    /// Publishes a `health_status` event if anything changed since the last one.
    ///
    /// Call it outside of a request's scope: the event belongs to none.
    pub(super) async fn publish_change(&self, hub: &ConnectionManager, metrics: &Metrics) {
        let mut published = self.published.lock().await;
        let report = self.report();
        if *published == report {
            return;
        }
        tracing::info!(status = report.status, "readiness changed");
        let event = match Event::builder(EventType::HealthStatus).payload(&report) {
            Ok(builder) => builder.build(),
            Err(error) => {
                tracing::error!(%error, "a health_status event could not be built");
                return;
            }
        };
        match hub.broadcast(event).await {
            Ok(_) => {
                metrics.published(EventType::HealthStatus.as_str());
                *published = report;
            }
            Err(error) => tracing::warn!(%error, "a health_status event could not be published"),
        }
    }

    /// `GET /health/live`: whoever can answer lives.
    pub(super) fn live(&self) -> Outcome {
        let checks = BTreeMap::from([("process", OK.to_owned())]);
        json(StatusCode::OK, &Report { status: OK, checks })
    }

    /// `GET /health/ready`.
    pub(super) fn ready(&self) -> Outcome {
        let report = self.report();
        if report.status == OK {
            return json(StatusCode::OK, &report);
        }
        let mut answer = json(StatusCode::SERVICE_UNAVAILABLE, &report)?;
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        Ok(answer)
    }

    fn report(&self) -> Report {
        let drains = self.drains.load(Ordering::Relaxed);
        Report::of(self.engine.part(), self.engine.state(), drains)
    }
}

impl Report {
    fn of(part: &'static str, state: Result<(), String>, drains: bool) -> Self {
        let status = match (drains, &state) {
            (true, _) => DRAINING,
            (false, Err(_)) => DEGRADED,
            (false, Ok(())) => OK,
        };
        let accepting = if drains { DRAINING } else { OK };
        let state = state.err().unwrap_or_else(|| OK.to_owned());
        let checks = BTreeMap::from([(ACCEPTING, accepting.to_owned()), (part, state)]);
        Self { status, checks }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stoat_events::{EventLog, MemoryLog, ReadLimit};
    use stoat_log_disk::Condition;
    use stoat_ws_hub::HubConfig;
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn each_change_is_published_once() {
        let log = Arc::new(MemoryLog::default());
        let hub = ConnectionManager::new(log.clone(), HubConfig::default());
        let metrics = Metrics::new(&hub).unwrap();
        let (condition, seen) = watch::channel(Condition::Good);
        let health = Health::new(Engine::Disk(seen));

        health.publish_change(&hub, &metrics).await;
        assert_eq!(log.bounds().newest(), None, "a fresh log is empty");

        condition.send_replace(Condition::Full);
        assert_eq!(health.ready().unwrap().status(), 503, "before it is told");
        health.publish_change(&hub, &metrics).await;
        health.publish_change(&hub, &metrics).await;
        condition.send_replace(Condition::Good);
        assert_eq!(health.ready().unwrap().status(), 200);
        health.publish_change(&hub, &metrics).await;
        health.begin_drain();
        health.publish_change(&hub, &metrics).await;

        let mut entries = Vec::new();
        let limit = ReadLimit {
            events: 10,
            bytes: usize::MAX,
        };
        let _ = log.read(0, limit, &mut entries);
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| String::from_utf8_lossy(entry.encoded().json()).into_owned())
            .collect();
        for (text, payload) in texts.iter().zip([
            r#"{"status":"degraded","checks":{"accepting":"ok","log":"the disk is full"}}"#,
            r#"{"status":"ok","checks":{"accepting":"ok","log":"ok"}}"#,
            r#"{"status":"draining","checks":{"accepting":"draining","log":"ok"}}"#,
        ]) {
            let start =
                format!(r#"{{"type":"health_status","payload":{payload},"correlation_id":null,"#);
            assert!(text.starts_with(&start), "{text}");
        }
        assert_eq!(texts.len(), 3);
    }
}
