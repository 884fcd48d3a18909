//! Reading events: what a client decodes from a frame.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use stoat_correlation::CorrelationId;

use crate::{EventType, Payload, Timestamp, Topic, TypedEvent};

/// An event as a client receives it.
///
/// A type that the reader does not know is [`EventType::Custom`], and keys that
/// it does not know are skipped, so newer servers do not break older readers.
///
/// ```
/// use stoat_events::{EventType, ReceivedEvent};
///
/// let text = r#"{"type":"scan_started","payload":{"path":"/srv"},"correlation_id":"req-1",
///     "timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"0000000000000001-7"}"#;
/// let event = ReceivedEvent::decode(text)?;
/// assert_eq!(event.event_type, EventType::ScanStarted);
/// assert_eq!(event.event_id, "0000000000000001-7");
/// # Ok::<(), stoat_events::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ReceivedEvent {
    /// The type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The data.
    pub payload: Payload,
    /// The ID of the request that caused the event.
    pub correlation_id: Option<CorrelationId>,
    /// When the event was built.
    pub timestamp: Timestamp,
    /// The opaque position to resume from.
    pub event_id: String,
    /// The topic that it was published to.
    #[serde(default)]
    pub topic: Option<Topic>,
}

impl ReceivedEvent {
    /// Reads the JSON text of one event.
    ///
    /// # Errors
    /// [`DecodeError`] where the text is no event.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        serde_json::from_str(text).map_err(DecodeError::new)
    }

    /// The payload as the typed event `E`; `None` where the event is of another type.
    ///
    /// # Errors
    /// [`DecodeError`] where the type is that of `E` but the payload is not.
    pub fn typed<E: TypedEvent + DeserializeOwned>(&self) -> Option<Result<E, DecodeError>> {
        (self.event_type.as_str() == E::TYPE).then(|| self.payload.deserialize())
    }
}

/// The text was no event, or its payload not of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(Box<str>);

impl DecodeError {
    pub(crate) fn new(error: serde_json::Error) -> Self {
        Self(error.to_string().into())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not the expected event: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Event, EventId};
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Paid {
        number: u64,
    }

    impl TypedEvent for Paid {
        const TYPE: &'static str = "invoice.paid";
    }

    #[test]
    fn typed_events_come_back() {
        let id = EventId::new(Epoch::from_u64(3), 4);
        let encoded = Event::typed(&Paid { number: 9 }).unwrap().encode(id);
        let received = ReceivedEvent::decode(std::str::from_utf8(encoded.json()).unwrap()).unwrap();
        assert_eq!(received.typed::<Paid>(), Some(Ok(Paid { number: 9 })));
        assert_eq!(received.event_id.parse(), Ok(id));

        struct Other;
        impl TypedEvent for Other {
            const TYPE: &'static str = "other";
        }
        impl<'de> Deserialize<'de> for Other {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Ok(Other)
            }
        }
        assert!(received.typed::<Other>().is_none());
    }

    #[test]
    fn unknown_types_and_keys_do_not_break_a_reader() {
        let text = r#"{"type":"brand.new","later":[1],"payload":{},"correlation_id":null,"timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"any-thing_opaque"}"#;
        let received = ReceivedEvent::decode(text).unwrap();
        assert!(received.event_type.is_custom());
        assert!(ReceivedEvent::decode("{}").is_err());
        assert!(ReceivedEvent::decode("").is_err());
    }

    proptest! {
        #[test]
        fn encoding_then_decoding_gives_the_same(
            event_type in "[a-z][a-z0-9_]{0,20}",
            topic in proptest::option::of("[a-z][a-z0-9_]{0,9}(\\.[a-z]{1,9}){0,3}"),
            correlation in proptest::option::of("[!-~]{1,128}"),
            text in ".*",
            micros in 0i64..4_000_000_000_000_000,
            sequence: u64,
        ) {
            let correlation = correlation.map(|id| CorrelationId::parse(&id).unwrap());
            let topic = topic.map(|topic| Topic::parse(&topic).unwrap());
            let event = Event::builder(EventType::parse(&event_type).unwrap())
                .payload(&serde_json::json!({ "text": text })).unwrap()
                .correlation_id(correlation.clone())
                .topic(topic.clone())
                .timestamp(Timestamp::from_unix_micros(micros))
                .build();
            let encoded = event.encode(EventId::new(Epoch::from_u64(7), sequence));
            let received = ReceivedEvent::decode(std::str::from_utf8(encoded.json()).unwrap()).unwrap();
            prop_assert_eq!(received.event_type.as_str(), event_type);
            prop_assert_eq!(received.topic, topic);
            prop_assert_eq!(received.correlation_id, correlation);
            prop_assert_eq!(received.timestamp.unix_micros(), micros);
            prop_assert_eq!(received.payload.deserialize::<serde_json::Value>().unwrap(), serde_json::json!({ "text": text }));
        }

        #[test]
        fn decoding_never_panics(text in ".*") {
            let _ = ReceivedEvent::decode(&text);
        }
    }
}
