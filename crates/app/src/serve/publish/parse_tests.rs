//! What is taken as a published body, and how the rest is refused.

use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::Value;
use stoat_correlation::sync_scope;
use stoat_events::{CorrelationId, Event, Timestamp};

use super::super::problem::Problem;
use super::media::Format;
use super::parse::{Parsed, Shape, parse};

const NOW: i64 = 1_795_437_296_789_012;

fn run(format: Format, body: &[u8]) -> Result<Parsed, Problem> {
    parse(format, body, Timestamp::from_unix_micros(NOW))
}

fn one(body: &str) -> Event {
    let mut parsed = run(Format::Json, body.as_bytes()).unwrap_or_else(|p| panic!("{body}: {p:?}"));
    assert_eq!(
        (parsed.events.len(), parsed.shape),
        (1, Shape::One),
        "{body}"
    );
    parsed.events.remove(0)
}

fn problem(format: Format, body: &[u8]) -> Value {
    let answer = run(format, body).unwrap_err().into_answer();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let bytes = runtime
        .block_on(answer.into_body().collect())
        .unwrap()
        .to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn refused(body: &str) -> (u64, String, String) {
    let problem = problem(Format::Json, body.as_bytes());
    (
        problem["status"].as_u64().unwrap(),
        problem["field"].as_str().unwrap_or_default().to_owned(),
        problem["detail"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn one_event_in_full() {
    let event = one(
        r#" {"type":"scan\u005fstarted", "payload":{"n": 12345678901234567890.10, "a":1e400, "a":2},
        "topic":"project.a", "correlation_id":"r-1"} "#,
    );
    assert_eq!(event.event_type().as_str(), "scan_started");
    assert_eq!(
        event.payload_json(),
        r#"{"n":12345678901234567890.10,"a":1e400,"a":2}"#
    );
    assert_eq!(event.topic().unwrap().as_str(), "project.a");
    assert_eq!(event.correlation_id().unwrap().as_str(), "r-1");
    assert_eq!(event.timestamp().unix_micros(), NOW);
}

#[test]
fn what_counts_as_not_given() {
    let event = one(r#"{"type":"a","payload":null,"topic":null,"correlation_id":null}"#);
    assert_eq!(
        (event.payload_json(), event.topic(), event.correlation_id()),
        ("{}", None, None)
    );
    let request = CorrelationId::parse("request").unwrap();
    let inherited = sync_scope(request.clone(), || {
        one(r#"{"type":"a","correlation_id":""}"#)
    });
    assert_eq!(inherited.correlation_id(), Some(&request));
    let explicit = sync_scope(request, || one(r#"{"type":"a","correlation_id":"mine"}"#));
    assert_eq!(explicit.correlation_id().unwrap().as_str(), "mine");
}

#[test]
fn keys_may_have_escapes() {
    assert_eq!(one(r#"{"\u0074ype":"a.b"}"#).event_type().as_str(), "a.b");
    assert!(
        refused(r#"{"type":"a","\u0074ype":"b"}"#)
            .2
            .contains("twice")
    );
}

#[test]
fn fields_that_break_a_rule_are_named() {
    for (body, field, part) in [
        ("{}", "type", "missing"),
        (r#"{"type":null}"#, "type", "got null"),
        (r#"{"type":5}"#, "type", "got a number"),
        (r#"{"type":"A b"}"#, "type", "A b"),
        (r#"{"type":"\ud800"}"#, "type", "Unicode"),
        (r#"{"type":"gap"}"#, "type", "only the server"),
        (r#"{"type":"heartbeat"}"#, "type", "only the server"),
        (r#"{"type":"health_status"}"#, "type", "only the server"),
        (r#"{"type":"a","payload":[]}"#, "payload", "an array"),
        (r#"{"type":"a","payload":"x"}"#, "payload", "a string"),
        (r#"{"type":"a","payload":0}"#, "payload", "a number"),
        (r#"{"type":"a","topic":""}"#, "topic", "topic"),
        (r#"{"type":"a","topic":"a.*"}"#, "topic", "a.*"),
        (r#"{"type":"a","topic":["a"]}"#, "topic", "got an array"),
        (
            r#"{"type":"a","correlation_id":"a b"}"#,
            "correlation_id",
            "visible",
        ),
        (
            r#"{"type":"a","correlation_id":7}"#,
            "correlation_id",
            "got a number",
        ),
        (r#"{"type":"a","event_id":"x"}"#, "event_id", "unknown key"),
        (r#"{"type":"a","type":"a"}"#, "type", "twice"),
        (
            r#"{"type":"a","payload":{},"payload":null}"#,
            "payload",
            "twice",
        ),
    ] {
        let (status, named, detail) = refused(body);
        assert_eq!((status, &*named), (422, field), "{body}: {detail}");
        assert!(detail.contains(part), "{body}: {detail}");
    }
    let deep = format!(
        r#"{{"type":"a","payload":{{"a":{}{}}}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    assert_eq!(refused(&deep).1, "payload");
    assert_eq!(refused(r#"{"type":"a","\ud800":1}"#).0, 422);
}

#[test]
fn values_are_shown_short_and_escaped() {
    let key = format!("\u{1b}[2J{}", "k".repeat(10_000));
    let body = format!(
        r#"{{"type":"a",{}:1}}"#,
        serde_json::to_string(&key).unwrap()
    );
    let (_, field, detail) = refused(&body);
    let fits = |text: &str, longest| text.len() < longest && !text.chars().any(char::is_control);
    assert!(
        field.starts_with("\\u{1b}[2Jkk") && fits(&field, 80),
        "{field}"
    );
    assert!(fits(&detail, 200), "{detail}");
}

#[test]
fn what_is_no_json_is_400_with_its_place() {
    for body in [
        "",
        "{",
        "{\"type\":\"a\"} x",
        "{\"type\":\"a\",}",
        "{\"type\":\"a\",\"payload\":{\"n\":NaN}}",
        "{\"type\":\"a\",\"payload\":{\"n\":Infinity}}",
        "[{\"type\":\"a\"},]",
        "\u{feff}{\"type\":\"a\"}",
        "{'type':'a'}",
    ] {
        assert_eq!(refused(body).0, 400, "{body}");
    }
    let problem = problem(Format::Json, b"{\"type\":\n  x}");
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64()),
        (Some(2), Some(3)),
        "{problem}"
    );
    assert_eq!(
        self::problem(Format::Json, b"{\"type\":\"\xff\"}")["status"],
        400
    );
}

#[test]
fn other_values_are_no_events() {
    for body in ["5", "null", "\"x\"", "true", "[5]", "[null]", "[[]]"] {
        assert_eq!(refused(body).0, 422, "{body}");
    }
    assert_eq!(problem(Format::Json, b"[{\"type\":\"a\"}, 5]")["index"], 1);
}

#[test]
fn batches_are_bounded() {
    let batch = |count| format!("[{}]", vec![r#"{"type":"a"}"#; count].join(","));
    let parsed = run(Format::Json, batch(1).as_bytes()).unwrap();
    assert_eq!((parsed.events.len(), parsed.shape), (1, Shape::Many));
    assert_eq!(
        run(Format::Json, batch(1000).as_bytes())
            .unwrap()
            .events
            .len(),
        1000
    );
    let (status, _, detail) = refused(&batch(1001));
    assert!(status == 413 && detail.contains("1001"), "{detail}");
    assert_eq!(refused("[]").0, 422);
    assert_eq!(refused(&format!("[{}1]", "1,".repeat(200_000))).0, 413);
}

#[test]
fn lines() {
    let body = b"\r\n{\"type\":\"a\"}\r\n \t\n{\"type\":\"b\",\"payload\":{\"x\":1}}";
    let parsed = run(Format::Ndjson, body).unwrap();
    let types: Vec<_> = parsed
        .events
        .iter()
        .map(|event| event.event_type().as_str())
        .collect();
    assert_eq!((types, parsed.shape), (vec!["a", "b"], Shape::Many));

    let bad = problem(Format::Ndjson, b"{\"type\":\"a\"}\n\n{\"type\":}\n");
    assert_eq!(
        (&bad["status"], &bad["line"]),
        (&400.into(), &3.into()),
        "{bad}"
    );
    let bad = problem(Format::Ndjson, b"{\"type\":\"a\"}\n\n{\"type\":\"gap\"}\n");
    assert_eq!(
        (&bad["status"], &bad["line"], &bad["index"], &bad["field"]),
        (&422.into(), &3.into(), &1.into(), &"type".into())
    );
    assert_eq!(
        problem(Format::Ndjson, b"[{\"type\":\"a\"}]")["status"],
        422
    );
    for empty in [&b""[..], b"\n", b" \r\n\t\n"] {
        assert_eq!(problem(Format::Ndjson, empty)["status"], 422);
    }
    let many = "{\"type\":\"a\"}\n".repeat(1001);
    assert_eq!(problem(Format::Ndjson, many.as_bytes())["status"], 413);
}

fn any_object() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "type|payload|topic|correlation_id",
        Just("\\u0074ype".to_owned()),
        "[a-z\\\\u0d8]{0,6}",
    ];
    let value = prop_oneof![
        "\"[a-z._\\\\u0]{0,8}\"",
        "null|true|-1.5e9|\\{\\}|\\[\\]|\\{\"a\": ?[0-9]{1,30}\\}",
        "[\\[\\]{}\",:0-9a-z ]{0,10}",
    ];
    proptest::collection::vec((key, value), 0..5).prop_map(|pairs| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(body: Vec<u8>, text in "\\PC*") {
        for format in [Format::Json, Format::Ndjson] {
            let _ = run(format, &body);
            let _ = run(format, text.as_bytes());
        }
    }

    #[test]
    fn no_object_panics_and_what_is_taken_is_right(objects in proptest::collection::vec(any_object(), 1..4)) {
        let array = format!("[{}]", objects.join(","));
        let lines = objects.join("\n");
        let by_array = run(Format::Json, array.as_bytes());
        let by_lines = run(Format::Ndjson, lines.as_bytes());
        if let Ok(parsed) = &by_array {
            let values: Vec<Value> = serde_json::from_str(&array).unwrap();
            for (event, value) in parsed.events.iter().zip(&values) {
                prop_assert_eq!(event.event_type().as_str(), value["type"].as_str().unwrap());
            }
        }
        // What an array takes, lines take too, unless a payload spans lines, which none here does.
        if let Ok(parsed) = by_array {
            let texts = |events: &[Event]| -> Vec<String> {
                events.iter().map(|event| event.payload_json().to_owned()).collect()
            };
            prop_assert_eq!(texts(&parsed.events), texts(&by_lines.unwrap().events));
        }
    }
}
