//! Building events: the builder, `build_event`, and typed events.

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::Serialize;
use stoat_correlation::CorrelationId;

use crate::encoded::{EncodedEvent, HEADER_ROOM};
use crate::payload::write_payload;
use crate::{EventId, EventType, InvalidPayload, Timestamp, Topic};

/// An event that is built and not yet in a log: all but its ID.
///
/// It is kept as the text that goes on the wire; the log that accepts it only
/// adds its position. The payload is never parsed again.
///
/// ```
/// use serde_json::json;
/// use stoat_events::{Event, EventType, Topic};
///
/// let event = Event::builder(EventType::ProjectCreated)
///     .payload(&json!({ "name": "apollo" }))?
///     .topic(Topic::parse("project.apollo").unwrap())
///     .build();
/// assert_eq!(event.payload_json(), r#"{"name":"apollo"}"#);
/// # Ok::<(), stoat_events::InvalidPayload>(())
/// ```
pub struct Event {
    /// Room for a frame header, then the JSON text up to `"event_id":"`.
    buffer: Vec<u8>,
    payload: Range<usize>,
    event_type: EventType,
    topic: Option<Topic>,
    correlation_id: Option<CorrelationId>,
    timestamp: Timestamp,
}

/// Builds the standard message: an explicit correlation ID wins, else the one of
/// the request being served, else it is null. A payload that serialises to
/// `null` becomes `{}`. The timestamp is the system's clock now.
///
/// Without the default feature `current-correlation` the request being served is
/// not looked at.
///
/// ```
/// use serde_json::json;
/// use stoat_events::{EventType, build_event};
///
/// let event = build_event(EventType::ScanStarted, &json!({ "path": "/srv" }), None)?;
/// assert!(event.correlation_id().is_none());
/// # Ok::<(), stoat_events::InvalidPayload>(())
/// ```
///
/// # Errors
/// [`InvalidPayload`] where `payload` cannot be serialised to a JSON object.
pub fn build_event<P: Serialize + ?Sized>(
    event_type: EventType,
    payload: &P,
    correlation_id: Option<CorrelationId>,
) -> Result<Event, InvalidPayload> {
    Ok(Event::builder(event_type)
        .correlation_id(correlation_id)
        .payload(payload)?
        .build())
}

/// An event type that a consumer declares in its own crate: a struct with a
/// constant wire name, whose fields are the payload.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stoat_events::{Event, TypedEvent};
///
/// #[derive(Serialize, Deserialize)]
/// struct InvoicePaid {
///     number: u64,
/// }
///
/// impl TypedEvent for InvoicePaid {
///     const TYPE: &'static str = "invoice.paid";
/// }
///
/// let event = Event::typed(&InvoicePaid { number: 7 })?;
/// assert_eq!(event.event_type().as_str(), "invoice.paid");
/// assert_eq!(event.payload_json(), r#"{"number":7}"#);
/// # Ok::<(), stoat_events::InvalidPayload>(())
/// ```
///
/// A name that breaks the grammar does not compile:
///
/// ```compile_fail
/// # use stoat_events::{Event, TypedEvent};
/// #[derive(serde::Serialize)]
/// struct Wrong {}
///
/// impl TypedEvent for Wrong {
///     const TYPE: &'static str = "Not A Name";
/// }
///
/// let event = Event::typed(&Wrong {});
/// ```
pub trait TypedEvent {
    /// The name on the wire; see [`EventType`] for the grammar.
    const TYPE: &'static str;
}

impl Event {
    /// Begins an event of this type, with the payload `{}`.
    pub fn builder(event_type: EventType) -> EventBuilder {
        EventBuilder::new(event_type)
    }

    /// Builds a typed event; correlation ID and timestamp as in [`build_event`].
    ///
    /// # Errors
    /// [`InvalidPayload`] where `event` cannot be serialised to a JSON object.
    pub fn typed<E: TypedEvent + Serialize>(event: &E) -> Result<Self, InvalidPayload> {
        Ok(EventBuilder::typed(event)?.build())
    }

    /// The type.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The payload as compact JSON text.
    pub fn payload_json(&self) -> &str {
        // The builder wrote valid UTF-8, so this is never the default.
        std::str::from_utf8(&self.buffer[self.payload.clone()]).unwrap_or_default()
    }

    /// The topic that the event goes to.
    pub fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// The ID of the request that caused the event.
    pub fn correlation_id(&self) -> Option<&CorrelationId> {
        self.correlation_id.as_ref()
    }

    /// When the event was built.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Lays out the final text and frame at a position; for implementors of a
    /// log. Takes constant time beside the copying of the ID and the topic.
    pub fn encode(self, id: EventId) -> EncodedEvent {
        EncodedEvent::finish(
            self.buffer,
            id,
            self.event_type.as_str().len(),
            self.topic.as_ref(),
        )
    }

    /// The length of the JSON text that [`encode`](Self::encode) will give, in bytes.
    pub fn encoded_len(&self, id: EventId) -> usize {
        let digits = id.sequence().checked_ilog10().unwrap_or(0) as usize + 1;
        let topic = self
            .topic
            .as_ref()
            .map_or(0, |topic| r#","topic":"""#.len() + topic.as_str().len());
        self.buffer.len() - HEADER_ROOM + 16 + 1 + digits + r#""}"#.len() + topic
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("event_type", &self.event_type)
            .field("payload", &self.payload_json())
            .field("correlation_id", &self.correlation_id)
            .field("timestamp", &self.timestamp)
            .field("topic", &self.topic)
            .finish()
    }
}

/// Builds an [`Event`]; made by [`Event::builder`].
pub struct EventBuilder {
    /// Room for a frame header, then the JSON text up to the end of the payload.
    buffer: Vec<u8>,
    payload_at: usize,
    event_type: EventType,
    topic: Option<Topic>,
    correlation_id: Option<CorrelationId>,
    timestamp: Option<Timestamp>,
}

impl EventBuilder {
    fn new(event_type: EventType) -> Self {
        // A payload of 256 bytes, a UUID as correlation ID and a topic fit.
        const USUAL: usize = 640;
        let mut buffer = Vec::with_capacity(USUAL);
        buffer.resize(HEADER_ROOM, 0);
        buffer.extend_from_slice(br#"{"type":""#);
        buffer.extend_from_slice(event_type.as_str().as_bytes());
        buffer.extend_from_slice(br#"","payload":"#);
        let payload_at = buffer.len();
        buffer.extend_from_slice(b"{}");
        Self {
            buffer,
            payload_at,
            event_type,
            topic: None,
            correlation_id: None,
            timestamp: None,
        }
    }

    /// Begins a typed event, so that a topic or a correlation ID can be added.
    ///
    /// # Errors
    /// [`InvalidPayload`] where `event` cannot be serialised to a JSON object.
    pub fn typed<E: TypedEvent + Serialize>(event: &E) -> Result<Self, InvalidPayload> {
        let event_type = const {
            assert!(
                EventType::is_valid(E::TYPE),
                "TypedEvent::TYPE breaks the grammar of event types"
            );
            E::TYPE
        };
        match EventType::parse(event_type) {
            Ok(event_type) => Self::new(event_type).payload(event),
            Err(_) => unreachable!("checked above"),
        }
    }

    /// Sets the payload. What serialises to `null` becomes `{}`; a
    /// [`Payload`](crate::Payload) or a `RawValue` is carried byte for byte, but
    /// for white space between tokens.
    ///
    /// # Errors
    /// [`InvalidPayload`] where `payload` cannot be serialised to a JSON object.
    pub fn payload<P: Serialize + ?Sized>(mut self, payload: &P) -> Result<Self, InvalidPayload> {
        self.buffer.truncate(self.payload_at);
        write_payload(&mut self.buffer, payload)?;
        Ok(self)
    }

    /// Publishes to a topic.
    pub fn topic(mut self, topic: impl Into<Option<Topic>>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Sets the correlation ID; `None` leaves it to the request being served.
    pub fn correlation_id(mut self, id: impl Into<Option<CorrelationId>>) -> Self {
        self.correlation_id = id.into();
        self
    }

    /// Sets the timestamp; the system's clock otherwise.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Ends the event.
    pub fn build(self) -> Event {
        #[cfg(feature = "current-correlation")]
        let current = stoat_correlation::current;
        #[cfg(not(feature = "current-correlation"))]
        let current = || None;
        let correlation_id = self.correlation_id.clone().or_else(current);
        self.finish(correlation_id)
    }

    /// Ends an event whose correlation ID is the given one or null, whatever is being
    /// served: for events that come from elsewhere.
    pub fn build_uncorrelated(self) -> Event {
        let correlation_id = self.correlation_id.clone();
        self.finish(correlation_id)
    }

    fn finish(self, correlation_id: Option<CorrelationId>) -> Event {
        let Self {
            mut buffer,
            payload_at,
            event_type,
            topic,
            timestamp,
            ..
        } = self;
        let timestamp = timestamp.unwrap_or_else(Timestamp::now);
        let payload = payload_at..buffer.len();
        let topic_len = topic.as_ref().map_or(0, |topic| topic.as_str().len());
        let correlation_len = correlation_id.as_ref().map_or(0, |id| id.as_str().len());
        buffer
            .reserve(2 * correlation_len + Timestamp::TEXT_LEN + EventId::MAX_LEN + topic_len + 64);

        buffer.extend_from_slice(br#","correlation_id":"#);
        match &correlation_id {
            Some(id) => write_visible_ascii(&mut buffer, id.as_str()),
            None => buffer.extend_from_slice(b"null"),
        }
        buffer.extend_from_slice(br#","timestamp":""#);
        let mut text = Utf8Writer(&mut buffer);
        // Writing to a vector cannot fail.
        let _ = write!(text, "{timestamp}");
        buffer.extend_from_slice(br#"","event_id":""#);
        Event {
            buffer,
            payload,
            event_type,
            topic,
            correlation_id,
            timestamp,
        }
    }
}

impl fmt::Debug for EventBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBuilder")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// Writes visible ASCII, which is what a correlation ID is, as a JSON string.
fn write_visible_ascii(buffer: &mut Vec<u8>, text: &str) {
    buffer.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            buffer.push(b'\\');
        }
        buffer.push(byte);
    }
    buffer.push(b'"');
}

/// Formats into a byte vector.
struct Utf8Writer<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;
    use serde_json::json;

    fn id(sequence: u64) -> EventId {
        EventId::new(Epoch::from_u64(0xab), sequence)
    }

    fn text(event: Event, sequence: u64) -> String {
        let expected_len = event.encoded_len(id(sequence));
        let encoded = event.encode(id(sequence));
        assert_eq!(encoded.json().len(), expected_len);
        String::from_utf8(encoded.json().to_vec()).unwrap()
    }

    #[test]
    fn golden_wire_form() {
        let event = Event::builder(EventType::ScanCompleted)
            .payload(&json!({ "path": "/srv/é", "files": 3 }))
            .unwrap()
            .correlation_id(CorrelationId::parse("req-1").unwrap())
            .timestamp(Timestamp::from_unix_micros(1_795_437_296_789_012))
            .topic(Topic::parse("project.apollo").unwrap())
            .build();
        assert_eq!(
            text(event, 42),
            r#"{"type":"scan_completed","payload":{"files":3,"path":"/srv/é"},"correlation_id":"req-1","timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"00000000000000ab-42","topic":"project.apollo"}"#
        );
    }

    #[test]
    fn golden_wire_form_with_nothing_given() {
        let event = Event::builder(EventType::parse("x").unwrap())
            .timestamp(Timestamp::from_unix_micros(0))
            .build();
        assert_eq!(
            text(event, 0),
            r#"{"type":"x","payload":{},"correlation_id":null,"timestamp":"1970-01-01T00:00:00.000000+00:00","event_id":"00000000000000ab-0"}"#
        );
    }

    #[test]
    fn correlation_ids_are_escaped() {
        let given = CorrelationId::parse(r#"a"b\c"#).unwrap();
        let event = build_event(EventType::ScanStarted, &(), Some(given)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text(event, 1)).unwrap();
        assert_eq!(value["correlation_id"], r#"a"b\c"#);
    }

    #[test]
    fn explicit_id_wins_over_the_current_one() {
        let current = CorrelationId::parse("current").unwrap();
        let (inherited, explicit) = stoat_correlation::sync_scope(current.clone(), || {
            let explicit = CorrelationId::parse("explicit").unwrap();
            (
                build_event(EventType::ScanStarted, &(), None).unwrap(),
                build_event(EventType::ScanStarted, &(), Some(explicit)).unwrap(),
            )
        });
        let inherited = inherited.correlation_id().cloned();
        assert_eq!(
            inherited,
            cfg!(feature = "current-correlation").then_some(current)
        );
        assert_eq!(explicit.correlation_id().unwrap().as_str(), "explicit");
    }

    #[test]
    fn a_second_payload_replaces_the_first() {
        let event = Event::builder(EventType::ScanStarted)
            .payload(&json!({ "a": 1 }))
            .unwrap()
            .payload(&json!({ "b": 2 }))
            .unwrap()
            .build();
        assert_eq!(event.payload_json(), r#"{"b":2}"#);
    }
}
