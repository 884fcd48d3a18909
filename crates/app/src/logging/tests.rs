//! Tests of the log lines, with a captured writer.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use time::macros::datetime;

use super::*;

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn capture(format: LogFormat, level: &str, is_terminal: bool, log: impl FnOnce()) -> String {
    let captured = Capture::default();
    let writer = captured.clone();
    let clock = || datetime!(2026-11-23 14:34:56.789012345 +02:00);
    let subscriber = subscriber(format, level, is_terminal, move || writer.clone(), clock).unwrap();
    tracing::subscriber::with_default(subscriber, log);
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn json(log: impl FnOnce()) -> (String, Value) {
    let text = capture(LogFormat::Json, "trace", true, log);
    assert!(
        text.ends_with('\n') && text.matches('\n').count() == 1,
        "{text}"
    );
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

/// How often a key stands in a line.
fn times(text: &str, key: &str) -> usize {
    text.matches(&format!("\"{key}\":")).count()
}

#[test]
fn a_line_is_one_flat_object() {
    let (text, value) = json(|| {
        let request = tracing::info_span!("request", correlation_id = %"c-1", method = "GET");
        request.in_scope(|| tracing::info!(target: "stoat_test", status = 201_u64, ok = true, took = 0.5, "done {}", 1));
    });
    let expected = serde_json::json!({
        "timestamp": "2026-11-23T12:34:56.789012Z", "level": "INFO", "target": "stoat_test", "message": "done 1",
        "status": 201, "ok": true, "took": 0.5, "correlation_id": "c-1", "method": "GET",
    });
    assert_eq!(value, expected, "{text}");
    assert!(text.starts_with("{\"timestamp\":"), "{text}");
}

#[test]
fn the_inner_span_wins_and_the_event_over_both() {
    let (text, value) = json(|| {
        let outer =
            tracing::info_span!("outer", correlation_id = "outer", a = 1, b = 1, c = 1).entered();
        let inner =
            tracing::info_span!(parent: &outer, "inner", correlation_id = "inner", b = 2, c = 2)
                .entered();
        tracing::info!(c = 3, "x");
        drop((inner, outer));
    });
    assert_eq!(
        (
            &value["correlation_id"],
            &value["a"],
            &value["b"],
            &value["c"]
        ),
        (&"inner".into(), &1.into(), &2.into(), &3.into())
    );
    for key in ["correlation_id", "a", "b", "c"] {
        assert_eq!(times(&text, key), 1, "{text}");
    }
}

#[test]
fn a_field_recorded_later_counts() {
    let (text, value) = json(|| {
        let span = tracing::info_span!("request", correlation_id = tracing::field::Empty, n = 1);
        span.record("correlation_id", "late").record("n", 2);
        span.in_scope(|| tracing::info!("x"));
    });
    assert_eq!(
        (&value["correlation_id"], &value["n"]),
        (&"late".into(), &2.into())
    );
    assert_eq!(times(&text, "n"), 1);
}

#[test]
fn no_key_stands_twice() {
    let (text, value) = json(|| {
        let span = tracing::info_span!("s", message = "span", level = "span", target = "span");
        span.in_scope(|| tracing::warn!(timestamp = 1, level = "event", r#type = "t", "event"));
    });
    for key in ["timestamp", "level", "target", "message", "level_", "type"] {
        assert_eq!(times(&text, key), 1, "{key}: {text}");
    }
    assert_eq!(
        (&value["level"], &value["message"]),
        (&"WARN".into(), &"event".into())
    );
    assert_eq!(
        (&value["level_"], &value["target_"], &value["type"]),
        (&"event".into(), &"span".into(), &"t".into())
    );
}

#[test]
fn control_characters_and_odd_numbers_are_escaped() {
    let (text, value) =
        json(|| tracing::info!(x = f64::NAN, y = "a\nb\u{1b}\"", z = u128::MAX, "m\r\n{{"));
    assert!(!text.trim_end().contains(char::is_control), "{text}");
    assert_eq!(
        (&value["x"], &value["y"]),
        (&"NaN".into(), &"a\nb\u{1b}\"".into())
    );
    assert_eq!(value["message"], "m\r\n{");
    let (_, value) = json(|| tracing::info!(n = 1));
    assert_eq!(value["message"], "");
}

#[test]
fn a_long_field_is_cut() {
    let (text, value) = json(|| tracing::info!(long = "ä".repeat(10_000), "x"));
    assert!(text.len() < 9_000);
    assert!(value["long"].as_str().unwrap().ends_with("ä…"));
}

#[test]
fn text_shows_the_fields_of_the_spans() {
    let log = || {
        let request = tracing::info_span!("request", correlation_id = %"c-1");
        request.in_scope(
            || tracing::warn!(target: "stoat_test", path = "/a b", n = 1, "slow\nstoat: fine"),
        );
    };
    let expected = "2026-11-23T12:34:56.789012Z  WARN stoat_test: slow\\nstoat: fine path=\"/a b\" n=1 correlation_id=c-1\n";
    assert_eq!(capture(LogFormat::Auto, "info", false, log), expected);
    assert_eq!(capture(LogFormat::Text, "info", false, log), expected);
    let colours = capture(LogFormat::Auto, "info", true, log);
    assert!(colours.contains("\u{1b}[33m WARN\u{1b}[0m"), "{colours:?}");
    assert_eq!(colours.matches('\n').count(), 1);
}

#[test]
fn text_quotes_what_is_not_one_word() {
    let text = capture(LogFormat::Text, "info", true, || {
        tracing::info!(empty = "", quote = "a\"b\\", escape = "\u{1b}[31m", "x");
    });
    assert!(
        text.contains("\"\"") && text.contains(r#""a\"b\\""#) && text.contains(r#""\u{1b}[31m""#),
        "{text:?}"
    );
}

#[test]
fn the_level_decides_what_is_logged() {
    let log = || {
        tracing::debug!(target: "a", "one");
        tracing::debug!(target: "b", "two");
        tracing::info!(target: "a", "three");
    };
    let text = capture(LogFormat::Text, "info,b=debug", false, log);
    assert!(
        !text.contains("one") && text.contains("two") && text.contains("three"),
        "{text}"
    );
    assert!(capture(LogFormat::Text, "off", false, log).is_empty());
    assert!(
        subscriber(
            LogFormat::Text,
            "a=b=c",
            false,
            io::sink,
            OffsetDateTime::now_utc
        )
        .is_err()
    );
}
