//! The tracing span across the spawn helpers, as a subscriber sees it.
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::sync::{Arc, Mutex};

use stoat_correlation::{CorrelationId, current, scope, spawn, spawn_blocking};
use tracing::{Event, Instrument, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The name of the span an event is in, and the current ID.
type Seen = (Option<&'static str>, Option<CorrelationId>);

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event).map(|span| span.name());
        self.0.lock().unwrap().push((span, current()));
    }
}

// One test, so that the subscriber can be the one of the whole process: the
// blocking thread has no other.
#[tokio::test]
async fn carried_by_the_helpers_and_lost_by_a_bare_spawn() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let id = CorrelationId::parse("r1").unwrap();

    let work = async {
        spawn(async {
            tokio::task::yield_now().await;
            info!("spawned");
        })
        .await
        .unwrap();
        spawn_blocking(|| info!("blocking")).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "shows what the helper is for")]
        tokio::spawn(async { info!("bare") }).await.unwrap();
    };
    scope(id.clone(), work.instrument(info_span!("work"))).await;
    spawn(async { info!("without") }).await.unwrap();

    let carried = (Some("work"), Some(id));
    let lost = (None, None);
    assert_eq!(
        *recorder.0.lock().unwrap(),
        [carried.clone(), carried, lost.clone(), lost]
    );
}
