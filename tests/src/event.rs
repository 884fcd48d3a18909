//! An event as a client got it, checked against the wire form.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;
use serde_json::value::RawValue;

const KEYS: [&str; 6] = [
    "type",
    "payload",
    "correlation_id",
    "timestamp",
    "event_id",
    "topic",
];

/// One event: its exact text, and its fields.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The text of the frame.
    pub text: String,
    /// `type`.
    pub event_type: String,
    /// The exact text of `payload`.
    pub payload: String,
    /// `correlation_id`.
    pub correlation_id: Option<String>,
    /// `timestamp`.
    pub timestamp: String,
    /// `event_id`.
    pub id: String,
    /// `topic`.
    pub topic: Option<String>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Event {
    /// Reads an event; the test fails where the text breaks the wire form.
    pub fn parse(text: &str) -> Self {
        let fields: HashMap<String, Box<RawValue>> =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let string = |key: &str| -> Option<String> {
            let raw = fields.get(key)?.get();
            serde_json::from_str(raw).unwrap_or_else(|error| panic!("{key}: {error}: {text}"))
        };
        let must = |key: &str| string(key).unwrap_or_else(|| panic!("no {key}: {text}"));
        let event = Self {
            text: text.to_owned(),
            event_type: must("type"),
            payload: fields["payload"].get().to_owned(),
            correlation_id: string("correlation_id"),
            timestamp: must("timestamp"),
            id: must("event_id"),
            topic: string("topic"),
        };
        event.check_form(&fields);
        event
    }

    /// The payload's values.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The number in the payload's field `n`, by which the tests count their events.
    pub fn n(&self) -> u64 {
        self.value()["n"]
            .as_u64()
            .unwrap_or_else(|| panic!("an event with a number `n`, not {self:?}"))
    }

    /// Fails the test unless this is a `gap` for this reason; returns its payload.
    pub fn gap(&self, reason: &str) -> Value {
        assert_eq!(self.event_type, "gap", "{self:?}");
        let payload = self.value();
        assert_eq!(payload["reason"], reason, "{self:?}");
        let mut keys: Vec<&String> = payload.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(
            keys,
            ["newest", "oldest", "reason", "requested"],
            "{self:?}"
        );
        payload
    }

    /// The keys in their order, and nothing between the tokens of the envelope.
    fn check_form(&self, fields: &HashMap<String, Box<RawValue>>) {
        let mut expected = String::new();
        for key in KEYS {
            if let Some(value) = fields.get(key) {
                let separator = if expected.is_empty() { '{' } else { ',' };
                expected += &format!("{separator}\"{key}\":{}", value.get());
            }
        }
        expected.push('}');
        assert_eq!(self.text, expected, "keys, their order, or white space");
        assert!(self.payload.starts_with('{'), "an object: {self:?}");
        assert!(
            (1..=64).contains(&self.id.len()) && self.id.bytes().all(|b| b.is_ascii_graphic()),
            "an event ID: {self:?}"
        );
        assert!(is_timestamp(&self.timestamp), "a timestamp: {self:?}");
    }
}

/// Whether the text is like `2026-11-23T12:34:56.789012+00:00`.
pub fn is_timestamp(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00.000000+00:00";
    let (digits, offset) = form.split_at(form.len() - "+00:00".len());
    text.len() == form.len()
        && text.as_bytes().ends_with(offset)
        && text.bytes().zip(digits).all(|(byte, &like)| match like {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// The place of an ID in its log: the epoch and the sequence.
///
/// To clients an ID is opaque. Tests use this only to name a position that no event has.
pub fn split_id(id: &str) -> (&str, u64) {
    let (epoch, sequence) = id.rsplit_once('-').expect("EPOCH-SEQUENCE");
    (epoch, sequence.parse().expect("a sequence"))
}
