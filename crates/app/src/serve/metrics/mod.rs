//! What the server counts, in the Prometheus text format.

mod broker;
mod hub;
mod open;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use stoat_log_nats::NatsLog;
use stoat_ws_hub::ConnectionManager;

use super::answer::{Outcome, text};
use super::problem::{INTERNAL, Problem};
use super::trace;
use broker::BrokerCollector;
use hub::HubCollector;
pub(super) use open::Exemplars;
#[cfg(test)]
pub(super) use open::to_open_metrics;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Types that have a counter of their own; the label of all others is `other`, since it would be a
/// client that chooses it.
const COUNTED_TYPES: [&str; 4] = [
    "health_status",
    "scan_started",
    "scan_completed",
    "project_created",
];
const OTHER: &str = "other";

const DURATION: &str = "http_request_duration_seconds";

/// Upper bounds in seconds.
const DURATIONS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// The counters of the server, and what it collects from the hub and the process.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    published: IntCounterVec,
    requests: IntCounterVec,
    durations: HistogramVec,
    of_requests: Exemplars,
    of_deliveries: Arc<Exemplars>,
    spans: trace::Counters,
}

impl Metrics {
    /// # Errors
    /// Two metrics of one name, or a malformed name: a mistake in this module.
    pub(super) fn new(hub: &ConnectionManager) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let published = IntCounterVec::new(
            Opts::new(
                "stoat_events_published_total",
                "Events accepted by the log, by type.",
            ),
            &["type"],
        )?;
        for event_type in COUNTED_TYPES.into_iter().chain([OTHER]) {
            // From 0 on, so that a rate sees the first one.
            let _ = published.with_label_values(&[event_type]);
        }
        let requests = IntCounterVec::new(
            Opts::new("http_requests_total", "HTTP requests answered."),
            &["method", "route", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(DURATION, "Time from the head of a request to its answer.")
                .buckets(DURATIONS.to_vec()),
            &["method", "route"],
        )?;
        let exported = IntCounter::new(
            "stoat_otlp_spans_exported_total",
            "Spans that the receiver took.",
        )?;
        let dropped = IntCounterVec::new(
            Opts::new(
                "stoat_otlp_spans_dropped_total",
                "Spans that were not exported, by reason.",
            ),
            &["reason"],
        )?;
        let spans = trace::Counters {
            exported: exported.clone(),
            queue_full: dropped.with_label_values(&["queue_full"]),
            refused: dropped.with_label_values(&["refused"]),
            unavailable: dropped.with_label_values(&["unavailable"]),
        };
        let build = IntGaugeVec::new(
            Opts::new("stoat_build_info", "1, with the version as a label."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(published.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(exported))?;
        registry.register(Box::new(dropped))?;
        registry.register(Box::new(build))?;
        registry.register(Box::new(HubCollector::new(hub.clone())?))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let of_deliveries = Exemplars::new(hub::LATENCY.0, hub.stats().publish_to_socket.bounds);
        Ok(Self {
            registry,
            published,
            requests,
            durations,
            of_requests: Exemplars::new(DURATION, &DURATIONS),
            of_deliveries: Arc::new(of_deliveries),
            spans,
        })
    }

    /// Tells of a clustered log, too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn add_broker(&self, log: Arc<NatsLog>) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(BrokerCollector::new(log)?))
    }

    /// What the export of spans counts.
    pub(super) fn spans(&self) -> trace::Counters {
        self.spans.clone()
    }

    /// The traces of events that were written to clients.
    pub(super) fn deliveries(&self) -> Arc<Exemplars> {
        Arc::clone(&self.of_deliveries)
    }

    /// Counts an event that the log accepted.
    pub(super) fn published(&self, event_type: &str) {
        let label = COUNTED_TYPES
            .into_iter()
            .find(|counted| *counted == event_type)
            .unwrap_or(OTHER);
        self.published.with_label_values(&[label]).inc();
    }

    /// Counts a request; `route` is out of a fixed set.
    pub(super) fn answered(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        let method = method_label(method);
        self.requests
            .with_label_values(&[method, route, status.as_str()])
            .inc();
        self.durations
            .with_label_values(&[method, route])
            .observe(took.as_secs_f64());
    }

    /// Names the trace of a request that was [`answered`](Self::answered).
    pub(super) fn traced(
        &self,
        method: &Method,
        route: &'static str,
        took: Duration,
        trace: trace::TraceId,
    ) {
        let labels = [("method", method_label(method)), ("route", route)];
        self.of_requests.put(&labels, took, Instant::now(), trace);
    }

    /// Counts an answer to what never became a request.
    pub(super) fn refused(&self, status: StatusCode) {
        self.requests
            .with_label_values(&[OTHER, OTHER, status.as_str()])
            .inc();
    }

    /// `GET /metrics`, as the headers of the request ask for it. Blocks for as long as it takes to
    /// count the open files of the process.
    pub(super) fn to_answer(&self, headers: &HeaderMap) -> Outcome {
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(plain) if open::is_accepted(headers) => {
                let exemplars = [&self.of_requests, &*self.of_deliveries];
                let body = open::to_open_metrics(&plain, &exemplars);
                Ok(text(StatusCode::OK, open::CONTENT_TYPE, body))
            }
            Ok(body) => Ok(text(StatusCode::OK, CONTENT_TYPE, body)),
            Err(error) => {
                tracing::error!(%error, "the metrics could not be written");
                Err(Problem::new(INTERNAL, "the metrics could not be written"))
            }
        }
    }
}

/// The method as a label: a client may send any word as its method.
pub(super) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn gathered(metrics: &Metrics) -> String {
        let answer = metrics.to_answer(&HeaderMap::new()).unwrap();
        assert_eq!(answer.headers()["content-type"], CONTENT_TYPE);
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn every_metric_is_there_from_the_start() {
        let metrics = Metrics::new(&ConnectionManager::in_memory()).unwrap();
        let text = gathered(&metrics).await;
        for (name, kind, sample) in [
            ("stoat_ws_connected_clients", "gauge", " 0"),
            ("stoat_ws_slow_clients", "gauge", " 0"),
            ("stoat_ws_buffer_size", "gauge", " 0"),
            ("stoat_ws_connects_total", "counter", " 0"),
            (
                "stoat_ws_disconnects_total",
                "counter",
                "{reason=\"client_closed\"} 0",
            ),
            (
                "stoat_ws_rejected_handshakes_total",
                "counter",
                "{reason=\"origin\"} 0",
            ),
            ("stoat_ws_gaps_total", "counter", "{reason=\"lagged\"} 0"),
            ("stoat_events_delivered_total", "counter", " 0"),
            ("stoat_ws_sent_bytes_total", "counter", " 0"),
            ("stoat_ws_ignored_messages_total", "counter", " 0"),
            (
                "stoat_events_published_total",
                "counter",
                "{type=\"other\"} 0",
            ),
            (
                "stoat_publish_to_socket_seconds",
                "histogram",
                "_bucket{le=\"+Inf\"} 0",
            ),
        ] {
            assert!(
                text.contains(&format!("\n# TYPE {name} {kind}\n"))
                    || text.starts_with(&format!("# TYPE {name} {kind}\n")),
                "{name}: {text}"
            );
            assert!(
                text.contains(&format!("\n{name}{sample}\n")),
                "{name}: {text}"
            );
        }
        #[cfg(target_os = "linux")]
        assert!(text.contains("\nprocess_open_fds "), "{text}");
    }

    #[tokio::test]
    async fn no_label_takes_what_a_client_chooses() {
        let metrics = Metrics::new(&ConnectionManager::in_memory()).unwrap();
        for event_type in ["scan_started", "my.own", "my.other"] {
            metrics.published(event_type);
        }
        let odd = Method::from_bytes(b"BREW").unwrap();
        metrics.answered(
            &odd,
            "other",
            StatusCode::NOT_FOUND,
            Duration::from_millis(3),
        );
        let text = gathered(&metrics).await;
        for line in [
            "stoat_events_published_total{type=\"scan_started\"} 1",
            "stoat_events_published_total{type=\"other\"} 2",
            "http_requests_total{method=\"other\",route=\"other\",status=\"404\"} 1",
            "http_request_duration_seconds_bucket{method=\"other\",route=\"other\",le=\"0.005\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
        assert!(!text.contains("BREW") && !text.contains("my."), "{text}");
    }
}
