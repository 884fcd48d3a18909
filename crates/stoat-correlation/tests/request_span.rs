//! The span of a request, and what of the request may show in it.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use stoat_correlation::{CORRELATION_HEADER, CorrelationLayer, spawn};
use tower::{ServiceBuilder, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber, info, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Writes down each new span with its fields, and each event with its span.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut line = Line(attributes.metadata().name().to_owned());
        attributes.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event).map_or("none", |span| span.name());
        self.0.lock().unwrap().push(format!("event in {span}"));
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

async fn record(level: LevelFilter, request: Request<()>) -> Vec<String> {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry()
        .with(level)
        .with(recorder.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::new())
        .service_fn(|_: Request<()>| {
            warn!("in the call");
            async {
                tokio::task::yield_now().await;
                info!("in the future");
                spawn(async { info!("in a task") }).await.unwrap();
                Ok::<_, Infallible>(Response::new(()))
            }
        });
    service.oneshot(request).await.unwrap();
    info!("after");
    recorder.0.lock().unwrap().clone()
}

#[tokio::test]
async fn holds_id_method_and_path_but_no_query() {
    let request = Request::post("/a/b?token=secret").header(CORRELATION_HEADER, "r1");
    let lines = record(LevelFilter::INFO, request.body(()).unwrap()).await;
    assert_eq!(
        lines,
        [
            "request correlation_id=r1 method=POST path=/a/b",
            "event in request",
            "event in request",
            "event in request",
            "event in none",
        ]
    );
}

#[tokio::test]
async fn shows_no_invalid_id_and_a_bounded_visible_path() {
    let path = format!("/\u{9b}{}", "x".repeat(1000));
    let request = Request::get(path).header(CORRELATION_HEADER, "forged id");
    let lines = record(LevelFilter::INFO, request.body(()).unwrap()).await;
    let path = format!(" path=/%C2%9B{}...", "x".repeat(246));
    assert!(lines[0].ends_with(&path), "{}", lines[0]);
    assert!(!lines[0].contains("forged"), "{}", lines[0]);
}

#[tokio::test]
async fn is_there_for_a_warning_when_only_warnings_are_logged() {
    let request = Request::get("/").header(CORRELATION_HEADER, "r1");
    let lines = record(LevelFilter::WARN, request.body(()).unwrap()).await;
    assert_eq!(
        lines,
        [
            "request correlation_id=r1 method=GET path=/",
            "event in request"
        ]
    );
}
