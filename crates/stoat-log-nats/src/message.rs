//! Events as messages of the stream, in a form that other clients of NATS can read and write.
//!
//! One event is one message at `PREFIX.event`, or `PREFIX.event.TOPIC`; several, which are all
//! or nothing, are one at `PREFIX.batch`, or, where they all have one topic, at
//! `PREFIX.batch.TOPIC`.

use std::borrow::Cow;
use std::fmt;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use stoat_events::{
    CorrelationId, Event, EventType, IdempotencyKey, InvalidPayload, Payload, Timestamp, Topic,
};

use crate::position::MAX_EVENTS;

/// JetStream stores one message for each value of it within the window for duplicates.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// JetStream refuses a message that would get into another stream than this.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// Tells this publish from another one under the same idempotency key.
const NONCE: &str = "Stoat-Nonce";
/// Tells content under an idempotency key from other content.
const FINGERPRINT: &str = "Stoat-Fingerprint";

/// The subjects of one log.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    prefix: String,
}

impl Subjects {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// What the stream listens to.
    pub(crate) fn all(&self) -> String {
        format!("{}.>", self.prefix)
    }

    /// What has to be within the subjects of a stream.
    pub(crate) fn needed(&self) -> [String; 4] {
        ["event", "event.>", "batch", "batch.>"].map(|rest| format!("{}.{rest}", self.prefix))
    }

    fn of(&self, events: &[Event]) -> String {
        let kind = match events {
            [_] => "event",
            _ => "batch",
        };
        match shared_topic(events) {
            Some(topic) => format!("{}.{kind}.{}", self.prefix, topic.as_str()),
            None => format!("{}.{kind}", self.prefix),
        }
    }

    fn kind<'a>(&self, subject: &'a str) -> Option<Kind<'a>> {
        match subject.strip_prefix(&*self.prefix)?.strip_prefix('.')? {
            "event" => Some(Kind::Event(None)),
            "batch" => Some(Kind::Batch(None)),
            rest => match rest.split_once('.')? {
                ("event", topic) => Some(Kind::Event(Some(topic))),
                ("batch", topic) => Some(Kind::Batch(Some(topic))),
                _ => None,
            },
        }
    }
}

enum Kind<'a> {
    /// With its topic.
    Event(Option<&'a str>),
    /// With the topic of all its events.
    Batch(Option<&'a str>),
}

/// The topic that all of these events have.
fn shared_topic(events: &[Event]) -> Option<&Topic> {
    let topic = events.first()?.topic()?;
    let is_shared = events.iter().all(|event| event.topic() == Some(topic));
    is_shared.then_some(topic)
}

/// A message that is ready to be sent, again where nothing is heard of it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// Names this publish.
    pub(crate) nonce: Box<str>,
}

impl Outgoing {
    /// Lays out the message of a batch that is not empty.
    pub(crate) fn new(
        subjects: &Subjects,
        stream: &str,
        events: &[Event],
        key: Option<&IdempotencyKey>,
        nonce: u128,
    ) -> Result<Self, serde_json::Error> {
        let nonce: Box<str> = format!("{nonce:032x}").into();
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_STREAM, stream);
        match key {
            None => headers.insert(MESSAGE_ID, &*nonce),
            Some(key) => {
                headers.insert(MESSAGE_ID, &*message_id(key));
                headers.insert(NONCE, &*nonce);
                headers.insert(FINGERPRINT, &*hex(&key.fingerprint()));
            }
        }
        let payload = match events {
            [event] => serde_json::to_vec(&WireEvent::alone(event)?)?,
            events => serde_json::to_vec(&WireBatch::of(events)?)?,
        };
        Ok(Self {
            subject: subjects.of(events),
            headers,
            payload: payload.into(),
            nonce,
        })
    }
}

/// The name of a publish, as [`Outgoing`] gave it, in the headers of a message.
pub(crate) fn nonce(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(NONCE).or_else(|| headers.get(MESSAGE_ID));
    value.map(|value| value.as_str())
}

/// Whether a message has the content that belongs to an idempotency key.
pub(crate) fn is_same_content(headers: &HeaderMap, key: &IdempotencyKey) -> bool {
    let kept = headers.get(FINGERPRINT).map(|value| value.as_str());
    kept == Some(&*hex(&key.fingerprint()))
}

/// The keys of different owners, and those of others who publish to the stream, differ.
fn message_id(key: &IdempotencyKey) -> String {
    let digest = Sha256::new()
        .chain_update((key.owner().len() as u64).to_be_bytes())
        .chain_update(key.owner())
        .chain_update(key.key())
        .finalize();
    format!("stoat-key-{}", hex(&digest))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the events of a message that the stream stored at the time `stored`.
///
/// # Errors
/// Why it is none of ours.
pub(crate) fn decode(
    subjects: &Subjects,
    subject: &str,
    payload: &[u8],
    stored: Timestamp,
) -> Result<Vec<Event>, InvalidMessage> {
    match subjects.kind(subject) {
        None => Err(InvalidMessage::new("its subject is none of this log")),
        Some(Kind::Event(topic)) => {
            let wire: WireEvent<'_> = serde_json::from_slice(payload)?;
            let topic = wire.topic_at(topic)?;
            let defaults = Defaults {
                timestamp: stored,
                correlation_id: None,
            };
            Ok(vec![wire.build(topic, &defaults)?])
        }
        Some(Kind::Batch(topic)) => {
            let batch: WireBatch<'_> = serde_json::from_slice(payload)?;
            if batch.events.is_empty() || batch.events.len() > MAX_EVENTS {
                return Err(InvalidMessage::new("a batch has 1 to 1000 events"));
            }
            let defaults = Defaults {
                timestamp: batch.timestamp.unwrap_or(stored),
                correlation_id: batch.correlation_id,
            };
            let build = |wire: &WireEvent<'_>| match topic {
                Some(_) => wire.build(wire.topic_at(topic)?, &defaults),
                None => wire.build(wire.topic.as_deref(), &defaults),
            };
            batch.events.iter().map(build).collect()
        }
    }
}

/// A message of the stream that is no event.
#[derive(Debug)]
pub(crate) struct InvalidMessage(String);

impl InvalidMessage {
    fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for InvalidMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<serde_json::Error> for InvalidMessage {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error)
    }
}

/// What holds for the events of a batch that say nothing else.
struct Defaults<'a> {
    timestamp: Timestamp,
    correlation_id: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct WireEvent<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    payload: Option<&'a RawValue>,
    /// Absent, null, or given.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given",
        default
    )]
    correlation_id: Option<Option<Cow<'a, str>>>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "shown",
        default
    )]
    timestamp: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct WireBatch<'a> {
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "shown",
        default
    )]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    events: Vec<WireEvent<'a>>,
}

impl<'a> WireEvent<'a> {
    fn of(event: &'a Event) -> Result<Self, serde_json::Error> {
        let payload = event.payload_json();
        Ok(Self {
            event_type: event.event_type().as_str().into(),
            topic: event.topic().map(|topic| topic.as_str().into()),
            payload: match payload {
                "{}" => None,
                payload => Some(serde_json::from_str(payload)?),
            },
            correlation_id: None,
            timestamp: None,
        })
    }

    /// Its subject says the topic.
    fn alone(event: &'a Event) -> Result<Self, serde_json::Error> {
        Ok(Self {
            topic: None,
            correlation_id: correlation(event).map(Some),
            timestamp: Some(event.timestamp()),
            ..Self::of(event)?
        })
    }

    /// The topic of the subject, which its own has to be where it says one.
    fn topic_at<'s>(&self, topic: Option<&'s str>) -> Result<Option<&'s str>, InvalidMessage> {
        if self.topic.is_some() && self.topic.as_deref() != topic {
            return Err(InvalidMessage::new("`topic` is not that of the subject"));
        }
        Ok(topic)
    }

    fn build(&self, topic: Option<&str>, defaults: &Defaults<'_>) -> Result<Event, InvalidMessage> {
        let event_type = EventType::parse(&self.event_type).map_err(InvalidMessage::new)?;
        if event_type.is_reserved() {
            return Err(InvalidMessage::new("its type is reserved"));
        }
        let topic = topic.map(Topic::parse).transpose();
        let correlation_id = match &self.correlation_id {
            Some(given) => given,
            None => &defaults.correlation_id,
        };
        let correlation_id = correlation_id.as_deref().filter(|id| !id.is_empty());
        let correlation_id = correlation_id.map(CorrelationId::parse).transpose();
        let mut builder = Event::builder(event_type)
            .topic(topic.map_err(InvalidMessage::new)?)
            .correlation_id(correlation_id.map_err(InvalidMessage::new)?)
            .timestamp(self.timestamp.unwrap_or(defaults.timestamp));
        if let Some(payload) = self.payload {
            let payload = Payload::from_json(payload.get());
            let payload = payload.map_err(|error: InvalidPayload| InvalidMessage::new(error))?;
            builder = builder.payload(&payload).map_err(InvalidMessage::new)?;
        }
        Ok(builder.build_uncorrelated())
    }
}

impl<'a> WireBatch<'a> {
    /// What all events share is said once, so that a batch is hardly longer than the body in
    /// which it came.
    fn of(events: &'a [Event]) -> Result<Self, serde_json::Error> {
        let first = events.first();
        let timestamp = first.map(Event::timestamp);
        let correlation_id = first.and_then(correlation);
        // Then the subject says it.
        let is_shared = shared_topic(events).is_some();
        let wire = |event: &'a Event| {
            let own = correlation(event);
            let topic = event.topic().filter(|_| !is_shared);
            Ok(WireEvent {
                topic: topic.map(|topic| topic.as_str().into()),
                correlation_id: (own != correlation_id).then_some(own),
                timestamp: Some(event.timestamp()).filter(|own| Some(*own) != timestamp),
                ..WireEvent::of(event)?
            })
        };
        Ok(Self {
            events: events
                .iter()
                .map(wire)
                .collect::<Result<_, serde_json::Error>>()?,
            timestamp,
            correlation_id,
        })
    }
}

fn correlation(event: &Event) -> Option<Cow<'_, str>> {
    event.correlation_id().map(|id| id.as_str().into())
}

fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Cow<'de, str>>>, D::Error> {
    Option::<Cow<'de, str>>::deserialize(deserializer).map(Some)
}

fn shown<S: Serializer>(timestamp: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match timestamp {
        Some(timestamp) => serializer.collect_str(timestamp),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
