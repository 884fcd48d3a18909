//! Tests of what is recorded, and of which rounds belong to which publish.

use std::sync::atomic::Ordering::SeqCst;

use prometheus::IntCounter;

use super::fan_out::Seen;
use super::span::Value;
use super::*;
use crate::serve::metrics::to_open_metrics;

/// A tracer whose spans come out of the queue.
fn tracer() -> (Tracer, mpsc::Receiver<Ended>) {
    let (tracer, ended, _) = tracer_with_exemplars();
    (tracer, ended)
}

/// The same, with what it keeps of ages above and below 30 ms.
fn tracer_with_exemplars() -> (Tracer, mpsc::Receiver<Ended>, Arc<Exemplars>) {
    let exemplars = Arc::new(Exemplars::new("h", &[0.03]));
    let counter = |name| IntCounter::new(name, "of a test").unwrap();
    let (queue, ended) = mpsc::channel(QUEUE);
    let tracer = Tracer(Arc::new(Shared {
        queue,
        counters: Counters {
            exported: counter("exported"),
            queue_full: counter("queue_full"),
            refused: counter("refused"),
            unavailable: counter("unavailable"),
        },
        ratio: 1.0,
        fan_out: FanOut::new(Arc::clone(&exemplars)),
        stop: watch::channel(false).0,
        exporter: Mutex::default(),
    }));
    (tracer, ended, exemplars)
}

/// The publish of events up to 5, which the log accepted at the beginning.
fn published(tracer: &Tracer, accepted: Option<Instant>, appended: Instant) -> Published {
    Published {
        parent: Place::new(tracer.clone(), [1; 16]),
        last: 5,
        accepted,
        appended,
    }
}

#[test]
fn a_trace_has_the_digits_of_a_uuid_and_else_random_ones() {
    let root = |id: &str, route| {
        let id = CorrelationId::parse(id).unwrap();
        root(&id, Some(route), 1.0).map(|trace| Uuid::from_bytes(trace).simple().to_string())
    };
    for id in [
        "6f9619ff-8b86-4011-b42d-00cf4fc964ff",
        "6F9619FF8B864011B42D00CF4FC964FF",
    ] {
        let trace = root(id, "/ws").unwrap();
        assert_eq!(trace, "6f9619ff8b864011b42d00cf4fc964ff");
    }
    let zeros = "00000000-0000-0000-0000-000000000000";
    for id in ["order-4711", zeros] {
        assert_ne!(root(id, "/ws"), root(id, "/ws"));
        assert_ne!(root(id, "/ws").unwrap(), "0".repeat(32));
    }
    assert_eq!(root("order-4711", "/metrics"), None);
}

#[test]
fn a_share_of_the_traces_is_recorded() {
    let trace = |last: [u8; 7]| {
        let mut trace = [7; 16];
        trace[9..].copy_from_slice(&last);
        trace
    };
    let (least, greatest) = (trace([0; 7]), trace([255; 7]));
    let (below, above) = (trace([127; 7]), trace([128, 0, 0, 0, 0, 0, 0]));
    assert!(is_sampled(&least, 1.0) && is_sampled(&greatest, 1.0));
    assert!(!is_sampled(&least, 0.0) && !is_sampled(&greatest, 0.0));
    assert!(is_sampled(&below, 0.5) && !is_sampled(&above, 0.5));
}

/// Two tasks have the events up to 5; the rounds before and after are of others.
fn rounds(start: Instant) -> [Seen; 4] {
    let at = |millis| start + Duration::from_millis(millis);
    let round = |(after, to), (started, ended), offered| Seen {
        rows: 2,
        after,
        to,
        started: at(started),
        ended: at(ended),
        offered,
        written: Some(at(ended - 1)),
    };
    [
        round((0, 3), (10, 12), 100),
        round((3, 5), (20, 30), 7),
        round((0, 9), (25, 45), 8),
        round((5, 9), (50, 60), 100),
    ]
}

#[test]
fn a_publish_has_one_span_whenever_it_is_acknowledged() {
    let start = Instant::now();
    let rounds = rounds(start);
    for before in 0..=rounds.len() {
        let (tracer, mut ended) = tracer();
        let watch = Watch::new(&tracer);
        for round in &rounds[..before] {
            tracer.observe(round);
        }
        let appended = start + Duration::from_millis(40);
        if let Some(done) = watch.follow(published(&tracer, None, appended)) {
            tracer.ended(done);
        }
        for round in &rounds[before..] {
            tracer.observe(round);
        }
        let span = ended.try_recv().unwrap();
        assert_eq!(span.started, rounds[1].started, "{before}");
        assert_eq!(span.ended, rounds[2].ended, "{before}");
        let connections = ("stoat.fan_out.connections", Value::Number(15));
        assert_eq!(span.attributes, [connections], "{before}");
        assert!(ended.try_recv().is_err(), "{before}");
        assert_eq!(tracer.0.fan_out.watches.load(SeqCst), 0);
    }
}

#[test]
fn the_age_of_a_traced_event_is_kept_for_each_round_that_wrote_it() {
    let start = Instant::now();
    let plain = "h_bucket{le=\"0.03\"} 1\nh_bucket{le=\"+Inf\"} 2\n";
    let trace = "01".repeat(16);
    // Of two rounds that have the event, one ends before it is 30 ms old.
    let (below, above) = (
        format!("h_bucket{{le=\"0.03\"}} 1 # {{trace_id=\"{trace}\"}} 0.029 "),
        format!("h_bucket{{le=\"+Inf\"}} 2 # {{trace_id=\"{trace}\"}} 0.044 "),
    );
    let shown = |before: usize, accepted, rounds: &[Seen]| {
        let (tracer, _ended, exemplars) = tracer_with_exemplars();
        let watch = Watch::new(&tracer);
        rounds[..before]
            .iter()
            .for_each(|seen| tracer.observe(seen));
        let _ = watch.follow(published(&tracer, accepted, start));
        rounds[before..]
            .iter()
            .for_each(|seen| tracer.observe(seen));
        to_open_metrics(plain, &[&exemplars])
    };
    let mut rounds = rounds(start);
    for before in 0..=rounds.len() {
        let text = shown(before, Some(start), &rounds);
        assert!(text.contains(&below) && text.contains(&above), "{text}");
        let text = shown(before, None, &rounds);
        assert!(!text.contains(" # "), "{text}");
    }
    rounds[2].written = None;
    let text = shown(0, Some(start), &rounds);
    assert!(text.contains(&below) && !text.contains("0.044"), "{text}");
}

#[test]
fn what_no_round_brings_is_not_followed_for_ever() {
    let (tracer, mut ended) = tracer();
    let start = Instant::now();
    for last in 1..2000 {
        let mut publish = published(&tracer, None, start);
        publish.last = last;
        let done = Watch::new(&tracer).follow(publish);
        assert!(done.is_none());
    }
    assert_eq!(tracer.0.fan_out.watches.load(SeqCst), fan_out::MOST);
    let mut round = rounds(start)[0];
    (round.after, round.to) = (5000, 5001);
    round.ended = start + fan_out::LONGEST;
    tracer.observe(&round);
    assert_eq!(tracer.0.fan_out.watches.load(SeqCst), 0);
    assert!(ended.try_recv().is_err());
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (tracer, ended) = tracer();
    for _ in 0..QUEUE + 3 {
        let place = Place::new(tracer.clone(), [1; 16]);
        let started = Instant::now();
        drop(Span::begin(
            place,
            None,
            "a".to_owned(),
            Kind::Internal,
            started,
        ));
    }
    assert_eq!(ended.len(), QUEUE);
    assert_eq!(tracer.0.counters.queue_full.get(), 3);
}
