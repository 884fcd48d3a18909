//! Events survive the way through the stream; what others send is taken or refused.

use proptest::prelude::*;
use serde_json::{Value, json};
use stoat_events::{Epoch, EventId};

use super::*;

const STORED: i64 = 1_795_437_296_789_012;

fn subjects() -> Subjects {
    Subjects::new("stoat")
}

fn stored() -> Timestamp {
    Timestamp::from_unix_micros(STORED)
}

fn event(
    event_type: &str,
    payload: &Value,
    topic: Option<&str>,
    correlation: Option<&str>,
) -> Event {
    Event::builder(EventType::parse(event_type).unwrap())
        .payload(payload)
        .unwrap()
        .topic(topic.map(|topic| Topic::parse(topic).unwrap()))
        .correlation_id(correlation.map(|id| CorrelationId::parse(id).unwrap()))
        .timestamp(Timestamp::from_unix_micros(7))
        .build_uncorrelated()
}

fn outgoing(events: &[Event], key: Option<&IdempotencyKey>) -> Outgoing {
    Outgoing::new(&subjects(), "stoat", events, key, 0xfeed).unwrap()
}

/// The texts of events at positions of their own.
fn texts(events: Vec<Event>) -> Vec<String> {
    let text = |(event, at): (Event, u64)| {
        let encoded = event.encode(EventId::new(Epoch::from_u64(1), at));
        String::from_utf8(encoded.json().to_vec()).unwrap()
    };
    events.into_iter().zip(1..).map(text).collect()
}

fn body(outgoing: &Outgoing) -> &str {
    std::str::from_utf8(&outgoing.payload).unwrap()
}

#[test]
fn golden_messages() {
    let one = event(
        "scan_started",
        &json!({"path": "/srv/é"}),
        Some("project.a"),
        Some("r-1"),
    );
    let message = outgoing(&[one], None);
    assert_eq!(message.subject, "stoat.event.project.a");
    assert_eq!(
        body(&message),
        r#"{"type":"scan_started","payload":{"path":"/srv/é"},"correlation_id":"r-1","timestamp":"1970-01-01T00:00:00.000007+00:00"}"#
    );
    assert_eq!(nonce(&message.headers), Some(&*message.nonce));

    let plain = event("a", &json!({}), None, None);
    assert_eq!(outgoing(&[plain], None).subject, "stoat.event");

    let batch = [
        event("a", &json!({"n": 1}), Some("x"), Some("r-1")),
        event("b", &json!({}), None, None),
    ];
    let message = outgoing(&batch, None);
    assert_eq!(message.subject, "stoat.batch");
    assert_eq!(
        body(&message),
        r#"{"timestamp":"1970-01-01T00:00:00.000007+00:00","correlation_id":"r-1","events":[{"type":"a","topic":"x","payload":{"n":1}},{"type":"b","correlation_id":null}]}"#
    );

    let of_one_topic = ["a", "b"].map(|name| event(name, &json!({}), Some("x.y"), None));
    let message = outgoing(&of_one_topic, None);
    assert_eq!(message.subject, "stoat.batch.x.y");
    assert_eq!(
        body(&message),
        r#"{"timestamp":"1970-01-01T00:00:00.000007+00:00","events":[{"type":"a"},{"type":"b"}]}"#
    );
}

#[test]
fn keys_of_different_owners_differ_and_so_does_content() {
    let key = |owner: &str, key: &str, content: u8| {
        IdempotencyKey::new(owner, key, [content; 32]).unwrap()
    };
    let id = |key: &IdempotencyKey| {
        let message = outgoing(&[event("a", &json!({}), None, None)], Some(key));
        assert_eq!(nonce(&message.headers), Some(&*message.nonce));
        assert!(is_same_content(&message.headers, key));
        message.headers.get(MESSAGE_ID).unwrap().as_str().to_owned()
    };
    let same = id(&key("a", "bc", 1));
    assert_eq!(same, id(&key("a", "bc", 2)));
    assert_ne!(same, id(&key("ab", "c", 1)));
    let message = outgoing(
        &[event("a", &json!({}), None, None)],
        Some(&key("a", "k", 1)),
    );
    assert!(!is_same_content(&message.headers, &key("a", "k", 2)));
    assert!(!is_same_content(&HeaderMap::new(), &key("a", "k", 1)));
}

#[test]
fn what_another_client_publishes_is_taken() {
    for (subject, text, expected) in [
        (
            "stoat.event",
            r#"{"type":"x"}"#,
            r#"{"type":"x","payload":{},"correlation_id":null,"timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"0000000000000001-1"}"#,
        ),
        (
            "stoat.event.a.b",
            r#" { "later": [1], "payload" : {"n": 1.10}, "type":"x", "correlation_id":"", "timestamp":"2026-01-01T01:00:00+01:00", "topic":"a.b" } "#,
            r#"{"type":"x","payload":{"n":1.10},"correlation_id":null,"timestamp":"2026-01-01T00:00:00.000000+00:00","event_id":"0000000000000001-1","topic":"a.b"}"#,
        ),
        (
            "stoat.batch",
            r#"{"events":[{"type":"x","payload":null,"correlation_id":"c","topic":"t"}]}"#,
            r#"{"type":"x","payload":{},"correlation_id":"c","timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"0000000000000001-1","topic":"t"}"#,
        ),
        (
            "stoat.batch.t.u",
            r#"{"events":[{"type":"x","topic":"t.u"}]}"#,
            r#"{"type":"x","payload":{},"correlation_id":null,"timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"0000000000000001-1","topic":"t.u"}"#,
        ),
    ] {
        let events = decode(&subjects(), subject, text.as_bytes(), stored()).unwrap();
        assert_eq!(texts(events), [expected]);
    }
}

#[test]
fn what_is_no_event_is_refused() {
    for (subject, text) in [
        ("stoat.event", ""),
        ("stoat.event", "{}"),
        ("stoat.event", "[]"),
        ("stoat.event", "\u{fffd}"),
        ("stoat.event", r#"{"type":"Bad"}"#),
        ("stoat.event", r#"{"type":"heartbeat"}"#),
        ("stoat.event", r#"{"type":"health_status"}"#),
        ("stoat.event", r#"{"type":"x","type":"y"}"#),
        ("stoat.event", r#"{"type":"x","payload":[1]}"#),
        ("stoat.event", r#"{"type":"x","payload":{"n":NaN}}"#),
        ("stoat.event", r#"{"type":"x","correlation_id":"a b"}"#),
        ("stoat.event", r#"{"type":"x","timestamp":"today"}"#),
        ("stoat.event", r#"{"type":"x","topic":"a"}"#),
        ("stoat.event.a", r#"{"type":"x","topic":"b"}"#),
        ("stoat.event.A", r#"{"type":"x"}"#),
        ("stoat.event.a-b", r#"{"type":"x"}"#),
        ("stoat.event.", r#"{"type":"x"}"#),
        ("stoat.events", r#"{"type":"x"}"#),
        ("stoat", r#"{"type":"x"}"#),
        ("other.event", r#"{"type":"x"}"#),
        ("stoat.batch", r#"{"events":[]}"#),
        ("stoat.batch", r#"{"type":"x"}"#),
        ("stoat.batch.a", r#"{"type":"x"}"#),
        ("stoat.batch.a", r#"{"events":[{"type":"x","topic":"b"}]}"#),
        ("stoat.batch.A", r#"{"events":[{"type":"x"}]}"#),
        ("stoat.batch.", r#"{"events":[{"type":"x"}]}"#),
        ("stoat.batch", r#"{"events":[{"type":"x"},{"type":"gap"}]}"#),
    ] {
        let decoded = decode(&subjects(), subject, text.as_bytes(), stored());
        assert!(decoded.is_err(), "{subject} {text}: {decoded:?}");
    }
    assert!(decode(&subjects(), "stoat.event", &[0xff], stored()).is_err());
    let many = vec![r#"{"type":"x"}"#; 1001].join(",");
    let many = format!(r#"{{"events":[{many}]}}"#);
    assert!(decode(&subjects(), "stoat.batch", many.as_bytes(), stored()).is_err());
}

#[test]
fn an_event_that_is_read_for_a_request_is_not_of_that_request() {
    let id = CorrelationId::parse("reader").unwrap();
    let events = stoat_correlation::sync_scope(id, || {
        decode(&subjects(), "stoat.event", br#"{"type":"x"}"#, stored()).unwrap()
    });
    assert!(texts(events)[0].contains(r#""correlation_id":null"#));
}

proptest! {
    #[test]
    fn events_come_back_byte_for_byte(
        parts in proptest::collection::vec(
            (
                "[a-z]{1,9}",
                ".{0,40}",
                proptest::option::of("[a-z]{1,5}(\\.[a-z]{1,5}){0,2}"),
                proptest::option::of("[!-~]{1,20}"),
            ),
            1..6,
        ),
    ) {
        let build = || -> Vec<Event> {
            let each = parts.iter().map(|(event_type, text, topic, correlation)| {
                let payload = match text.len() % 3 {
                    0 => json!({}),
                    _ => json!({ "text": text, "n": 12_345_678_901_234_567_890_u64 }),
                };
                let event_type = format!("{event_type}x");
                event(&event_type, &payload, topic.as_deref(), correlation.as_deref())
            });
            each.collect()
        };
        let message = outgoing(&build(), None);
        let decoded = decode(&subjects(), &message.subject, &message.payload, stored()).unwrap();
        prop_assert_eq!(texts(decoded), texts(build()));
    }

    #[test]
    fn no_bytes_panic(subject in ".{0,20}|stoat\\.(event|batch)(\\.[a-z]{0,2})?", payload: Vec<u8>, text in ".*") {
        let _ = decode(&subjects(), &subject, &payload, stored());
        let _ = decode(&subjects(), &subject, text.as_bytes(), stored());
    }
}
