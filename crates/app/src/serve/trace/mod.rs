//! Spans of requests, publishes and the fan-out, exported over OTLP where the settings ask for it.
//!
//! They are few and of known shape, so they are built here, without an SDK: a span that has ended
//! goes into a bounded queue, from which one task takes batches. Where the queue is full the span is
//! dropped and counted; nothing waits for the receiver.

mod clock;
mod export;
mod fan_out;
mod span;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Version, request};
use stoat_correlation::{Context, CorrelationId};
use stoat_ws_hub::ConnectionManager;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

pub(super) use export::Counters;
use export::Exporter;
pub(super) use fan_out::Watch;
use fan_out::{FanOut, Published, Seen};
use span::{Ended, Kind, Place};
pub(super) use span::{Span, TraceId};

use super::metrics::{Exemplars, method_label};
use crate::cli::ServerUrl;
use crate::settings::Settings;

/// The most spans that wait to be exported; some 500 bytes each.
const QUEUE: usize = 4096;

/// The most characters of a path that a span shows.
const LONGEST_PATH: usize = 256;

/// Makes spans, and has them exported. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tracer(Arc<Shared>);

struct Shared {
    queue: mpsc::Sender<Ended>,
    counters: Counters,
    ratio: f64,
    fan_out: FanOut,
    stop: watch::Sender<bool>,
    exporter: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl Tracer {
    /// Starts the export, within a runtime; nothing where the settings name no receiver. Keeps
    /// with `deliveries` how old recorded events were when they were written.
    pub(super) fn start(
        settings: &Settings,
        counters: Counters,
        deliveries: Arc<Exemplars>,
        hub: &ConnectionManager,
    ) -> Option<Self> {
        let url = settings.otlp_endpoint.clone()?;
        let fan_out = FanOut::new(deliveries);
        let tracer = Self::over(url, settings.otlp_sample_ratio, counters, fan_out);
        let observer = tracer.clone();
        hub.observe_rounds(move |round| observer.observe(&Seen::from(round)));
        Some(tracer)
    }

    fn over(url: ServerUrl, ratio: f64, counters: Counters, fan_out: FanOut) -> Self {
        let (queue, ended) = mpsc::channel(QUEUE);
        let (stop, stopping) = watch::channel(false);
        let exporter = Exporter::new(url, ended, stopping, counters.clone());
        Self(Arc::new(Shared {
            queue,
            counters,
            ratio,
            fan_out,
            stop,
            exporter: Mutex::new(Some(stoat_correlation::spawn(exporter.run()))),
        }))
    }

    /// Begins the span of a request to a route, where its trace is recorded: the caller decides
    /// that with its `traceparent`, else the settings do.
    fn begin(&self, context: &Context, request: &Request<'_>, started: Instant) -> Option<Span> {
        let (trace, parent) = match context.traceparent() {
            Some(caller) if caller.is_sampled() => {
                (caller.trace_id().to_bytes(), Some(caller.parent_id()))
            }
            Some(_) => return None,
            None => (root(context.id(), request.route, self.0.ratio)?, None),
        };
        let place = Place::new(self.clone(), trace);
        let method = method_label(request.method);
        let name = match request.route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let kind = Kind::Server {
            has_remote_parent: parent.is_some(),
        };
        let mut span = Span::begin(place, parent, name, kind, started);
        span.set("http.request.method", method);
        if let Some(route) = request.route {
            span.set("http.route", route);
        }
        let path: String = request.path.chars().take(LONGEST_PATH).collect();
        span.set("url.path", path);
        span.set(
            "network.protocol.version",
            match request.version {
                Version::HTTP_2 => "2",
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
        );
        span.set("client.address", request.client.to_string());
        span.set("stoat.correlation_id", context.id().as_str());
        Some(span)
    }

    /// Hands a span that has ended to the export.
    fn ended(&self, span: Ended) {
        if self.0.queue.try_send(span).is_err() {
            self.0.counters.queue_full.inc();
        }
    }

    fn observe(&self, round: &Seen) {
        for span in self.0.fan_out.observe(round) {
            self.ended(span);
        }
    }

    /// Exports what there is, and ends the export. What is not exported within this time is lost.
    pub(super) async fn flush(&self, within: Duration) {
        self.0.fan_out.clear();
        self.0.stop.send_replace(true);
        let exporter = &self.0.exporter;
        let exporter = exporter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(exporter) = exporter else { return };
        if timeout(within, exporter).await.is_err() {
            tracing::warn!("spans that were not exported in time are lost");
        }
    }
}

/// What a span tells of a request.
struct Request<'a> {
    method: &'a Method,
    /// Nothing where there is no such route.
    route: Option<&'static str>,
    path: &'a str,
    version: Version,
    client: std::net::IpAddr,
}

/// Begins the span of a request that came in at `started`, and leaves with the request where its
/// parts begin theirs. The log lines of the request say the trace's ID from then on.
pub(super) fn begin(
    tracer: Option<&Tracer>,
    head: &mut request::Parts,
    route: Option<&'static str>,
    client: std::net::IpAddr,
    started: Instant,
) -> Span {
    let Some(tracer) = tracer else {
        return Span::none();
    };
    let Some(context) = head.extensions.get::<Context>() else {
        return Span::none();
    };
    let request = Request {
        method: &head.method,
        route,
        path: head.uri.path(),
        version: head.version,
        client,
    };
    let Some(span) = tracer.begin(context, &request, started) else {
        return Span::none();
    };
    if let Some(place) = span.place() {
        let trace = tracing::field::display(place.trace_id());
        tracing::Span::current().record("trace_id", trace);
        head.extensions.insert(place.clone());
    }
    span
}

/// The trace that a request begins; probes and scrapes begin none.
fn root(id: &CorrelationId, route: Option<&'static str>, ratio: f64) -> Option<[u8; 16]> {
    if matches!(
        route,
        Some("/health/live" | "/health/ready" | "/metrics") | None
    ) {
        return None;
    }
    // The digits of the ID that its events carry, so that one leads to the other.
    let trace = Uuid::try_parse(id.as_str()).unwrap_or(Uuid::nil());
    let trace = if trace.is_nil() {
        Uuid::new_v4()
    } else {
        trace
    };
    is_sampled(trace.as_bytes(), ratio).then(|| trace.into_bytes())
}

/// By the last seven bytes, which are random in all but a caller's own choice: all servers with
/// the same ratio decide the same of a trace.
fn is_sampled(trace: &[u8; 16], ratio: f64) -> bool {
    const ALL: f64 = (1_u64 << 56) as f64;
    let random = trace[9..]
        .iter()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    random < (ratio * ALL) as u64
}
