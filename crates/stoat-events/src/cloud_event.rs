//! Events as CloudEvents, for readers that ask for that form.

use std::borrow::Cow;
use std::fmt;

use crate::EncodedEvent;
use crate::encoded::{HEADER_ROOM, write_text_frame_header};

/// The form in which a reader gets events.
///
/// ```
/// use stoat_events::Format;
///
/// assert_eq!(Format::parse("cloudevents"), Ok(Format::CloudEvents));
/// assert!(Format::parse("xml").is_err());
/// assert_eq!(Format::default(), Format::Stoat);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// As the log keeps them.
    #[default]
    Stoat,
    /// CloudEvents 1.0 in JSON; see [`CloudEvent`].
    CloudEvents,
}

impl Format {
    /// Every form.
    pub const ALL: &[Self] = &[Self::Stoat, Self::CloudEvents];

    /// Reads the value of a parameter `format`.
    ///
    /// # Errors
    /// [`InvalidFormat`] where it names no form.
    pub fn parse(name: &str) -> Result<Self, InvalidFormat> {
        let mut all = Self::ALL.iter().copied();
        all.find(|format| format.as_str() == name)
            .ok_or_else(|| InvalidFormat(crate::name::shorten(name).into()))
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stoat => "stoat",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// The JSON text of an event in this form.
    pub fn json(self, event: &EncodedEvent) -> Cow<'_, [u8]> {
        match self {
            Self::Stoat => event.json().into(),
            Self::CloudEvents => CloudEvent::of(event).json().to_vec().into(),
        }
    }
}

/// The text named no form of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFormat(Box<str>);

impl fmt::Display for InvalidFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Format::ALL.iter();
        let names: Vec<_> = names
            .map(|format| format!("`{}`", format.as_str()))
            .collect();
        write!(f, "`format` must be {}, got {}", names.join(" or "), self.0)
    }
}

impl std::error::Error for InvalidFormat {}

/// An event as CloudEvents 1.0 in structured JSON: `event_id` is `id`, `timestamp` is `time`,
/// `topic` is `subject`, `correlation_id` is the extension `correlationid`, and the payload is
/// `data`, byte for byte.
///
/// `source` is [`SOURCE`](Self::SOURCE) for the events of a log, whose `id` is unique. A
/// `heartbeat` and a `gap` carry an `id` that is a position, which an event may have too; they are
/// of a source of their own, which ends with their type.
pub struct CloudEvent {
    /// Unused room, frame header, JSON text.
    buffer: Vec<u8>,
    frame_start: u8,
}

impl CloudEvent {
    /// The `source` of events that a log keeps.
    pub const SOURCE: &'static str = "urn:stoat:log";

    /// The same event in this form.
    pub fn of(event: &EncodedEvent) -> Self {
        let parts = event.parts();
        let (event_type, id) = (event.event_type(), event.id());
        let source: Cow<'_, str> = match event_type {
            "heartbeat" | "gap" => format!("urn:stoat:{event_type}").into(),
            _ => Self::SOURCE.into(),
        };
        let mut buffer = Vec::with_capacity(HEADER_ROOM + event.json().len() + 160);
        buffer.resize(HEADER_ROOM, 0);
        // Names and IDs have nothing to escape; the correlation ID comes as it is in JSON.
        let mut put = |key: &str, value: &str| {
            for piece in [key, value, "\""] {
                buffer.extend_from_slice(piece.as_bytes());
            }
        };
        put(r#"{"specversion":"1.0","id":""#, id);
        put(r#","source":""#, &source);
        put(r#","type":""#, event_type);
        put(r#","time":""#, parts.timestamp);
        if let Some(topic) = event.topic() {
            put(r#","subject":""#, topic);
        }
        if parts.correlation_id != "null" {
            buffer.extend_from_slice(br#","correlationid":"#);
            buffer.extend_from_slice(parts.correlation_id.as_bytes());
        }
        buffer.extend_from_slice(br#","datacontenttype":"application/json","data":"#);
        buffer.extend_from_slice(parts.payload);
        buffer.push(b'}');
        let frame_start = write_text_frame_header(&mut buffer);
        Self {
            buffer,
            frame_start,
        }
    }

    /// The JSON text, without white space between tokens.
    pub fn json(&self) -> &[u8] {
        &self.buffer[HEADER_ROOM..]
    }

    /// The JSON text in one final, unmasked WebSocket text frame (RFC 6455 section 5.2).
    pub fn ws_frame(&self) -> &[u8] {
        &self.buffer[self.frame_start.into()..]
    }
}

impl fmt::Debug for CloudEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloudEvent({})", String::from_utf8_lossy(self.json()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        CorrelationId, Epoch, Event, EventId, EventType, Payload, Timestamp, Topic, heartbeat,
    };

    fn id(sequence: u64) -> EventId {
        EventId::new(Epoch::from_u64(1), sequence)
    }

    #[test]
    fn golden() {
        let event = Event::builder(EventType::ScanStarted)
            .payload(&Payload::from_json(r#"{"n": 1.50, "n":1e400}"#).unwrap())
            .unwrap()
            .topic(Topic::parse("a.b").unwrap())
            .correlation_id(CorrelationId::parse(r#"","timestamp":"\"#).unwrap())
            .timestamp(Timestamp::from_unix_micros(0))
            .build()
            .encode(id(7));
        let form = CloudEvent::of(&event);
        assert_eq!(
            String::from_utf8_lossy(form.json()),
            r#"{"specversion":"1.0","id":"0000000000000001-7","source":"urn:stoat:log","type":"scan_started","time":"1970-01-01T00:00:00.000000+00:00","subject":"a.b","correlationid":"\",\"timestamp\":\"\\","datacontenttype":"application/json","data":{"n":1.50,"n":1e400}}"#
        );
        assert!(form.ws_frame().ends_with(form.json()));
        assert_eq!(form.ws_frame()[0], 0x81);
    }

    #[test]
    fn a_notice_is_of_another_source_than_the_event_at_its_position() {
        let beat = heartbeat(id(7), Timestamp::from_unix_micros(0));
        let text = Format::CloudEvents.json(&beat);
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["source"], "urn:stoat:heartbeat");
        assert!(value.get("subject").is_none() && value.get("correlationid").is_none());
        assert_eq!(value["data"], json!({}));
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            text in ".*",
            topic in proptest::option::of("[a-z]{1,9}(\\.[a-z]{1,9}){0,2}"),
            correlation in proptest::option::of("[!-~]{1,128}"),
            sequence: u64,
        ) {
            let event = Event::builder(EventType::parse("x.y").unwrap())
                .payload(&json!({ "text": text })).unwrap()
                .topic(topic.as_deref().map(|topic| Topic::parse(topic).unwrap()))
                .correlation_id(correlation.as_deref().map(|id| CorrelationId::parse(id).unwrap()))
                .build()
                .encode(id(sequence));
            let plain: Value = serde_json::from_slice(event.json()).unwrap();
            let cloud: Value = serde_json::from_slice(CloudEvent::of(&event).json()).unwrap();
            for (key, attribute) in [
                ("type", "type"), ("payload", "data"), ("timestamp", "time"), ("event_id", "id"),
                ("topic", "subject"), ("correlation_id", "correlationid"),
            ] {
                let missing = Value::Null;
                prop_assert_eq!(
                    plain.get(key).unwrap_or(&missing),
                    cloud.get(attribute).unwrap_or(&missing)
                );
            }
        }
    }
}
