//! An event in its final form: its JSON text and the WebSocket frame around it.

use std::fmt;
use std::io::Write as _;

use crate::{EventId, EventType, Topic};

/// Room for the longest header of a server's frame, kept free in front of the JSON.
pub(crate) const HEADER_ROOM: usize = 10;
const TYPE_AT: usize = HEADER_ROOM + br#"{"type":""#.len();
const PAYLOAD: &str = r#"","payload":"#;
const CORRELATION_ID: &str = r#","correlation_id":"#;
const TOPIC_TAIL: usize = br#""}"#.len();
/// What stands between the ID and the topic.
const TOPIC_HEAD: usize = br#"","topic":""#.len();
/// Hexadecimal digits of an epoch.
const EPOCH_LEN: usize = 16;

/// The bytes of one event, laid out once and shared by all readers.
///
/// A WebSocket server does not mask its frames (RFC 6455 section 5.1), so the
/// same frame serves every client.
pub struct EncodedEvent {
    /// Unused room, frame header, JSON text.
    buffer: Vec<u8>,
    frame_start: u8,
    type_len: u8,
    topic_len: u8,
}

impl EncodedEvent {
    /// Ends the text that was begun with [`HEADER_ROOM`] free bytes and reaches up
    /// to and including `"event_id":"`.
    pub(crate) fn finish(
        mut buffer: Vec<u8>,
        id: EventId,
        type_len: usize,
        topic: Option<&Topic>,
    ) -> Self {
        // Writing to a vector cannot fail.
        let _ = write!(buffer, "{id}\"");
        if let Some(topic) = topic {
            buffer.extend_from_slice(br#","topic":""#);
            buffer.extend_from_slice(topic.as_str().as_bytes());
            buffer.push(b'"');
        }
        buffer.push(b'}');
        let frame_start = write_text_frame_header(&mut buffer);
        // Names and topics are at most 64 and 128 bytes long.
        let topic_len = topic.map_or(0, |topic| topic.as_str().len() as u8);
        Self {
            buffer,
            frame_start,
            type_len: type_len as u8,
            topic_len,
        }
    }

    /// Lays the frame out again around the JSON text of an event that a log has kept, as
    /// [`Event::encode`](crate::Event::encode) made it, at the position `id`; for
    /// implementors of a log. The sequence must be the one in the text; the epoch is
    /// replaced by that of `id`.
    ///
    /// `None` where the text is none of these: it was damaged, or is of another position.
    pub fn restore(json: &[u8], id: EventId) -> Option<Self> {
        let (type_len, topic_len, id_at) = find_parts(json)?;
        let id = id.to_string();
        let kept = json.get(id_at..id_at + id.len())?;
        let same_sequence = kept.get(EPOCH_LEN..)? == &id.as_bytes()[EPOCH_LEN..];
        if !same_sequence || json.get(id_at + id.len()) != Some(&b'"') {
            return None;
        }
        let mut buffer = Vec::with_capacity(HEADER_ROOM + json.len());
        buffer.resize(HEADER_ROOM, 0);
        buffer.extend_from_slice(json);
        let id_at = HEADER_ROOM + id_at;
        buffer[id_at..id_at + EPOCH_LEN].copy_from_slice(&id.as_bytes()[..EPOCH_LEN]);
        let frame_start = write_text_frame_header(&mut buffer);
        Some(Self {
            buffer,
            frame_start,
            type_len,
            topic_len,
        })
    }

    /// The event's JSON text, UTF-8, without white space between tokens.
    pub fn json(&self) -> &[u8] {
        &self.buffer[HEADER_ROOM..]
    }

    /// The JSON text in one final, unmasked WebSocket text frame (RFC 6455
    /// section 5.2).
    pub fn ws_frame(&self) -> &[u8] {
        &self.buffer[self.frame_start.into()..]
    }

    /// The event's ID, or for a notice the position that it stands at, as text.
    pub fn id(&self) -> &str {
        let topic = match usize::from(self.topic_len) {
            0 => 0,
            length => TOPIC_HEAD + length,
        };
        let before = &self.buffer[..self.buffer.len() - TOPIC_TAIL - topic];
        let quote = before.iter().rposition(|byte| *byte == b'"');
        let id = &before[quote.map_or(0, |at| at + 1)..];
        // An ID is ASCII, so this is never the default.
        std::str::from_utf8(id).unwrap_or_default()
    }

    /// The wire name of the event's type.
    pub fn event_type(&self) -> &str {
        self.text(TYPE_AT, self.type_len)
    }

    /// The topic that the event was published to.
    pub fn topic(&self) -> Option<&str> {
        let start = self.buffer.len() - TOPIC_TAIL - usize::from(self.topic_len);
        (self.topic_len > 0).then(|| self.text(start, self.topic_len))
    }

    /// The parts that are not found by their lengths alone.
    pub(crate) fn parts(&self) -> Parts<'_> {
        const TIMESTAMP: &str = r#","timestamp":""#;
        const EVENT_ID: &str = r#"","event_id":""#;
        let json = self.json();
        // What this type wrote has all of these, so nothing here is ever the default.
        let text = std::str::from_utf8(json).unwrap_or_default();
        let payload_at = TYPE_AT - HEADER_ROOM + usize::from(self.type_len) + PAYLOAD.len();
        // Behind the payload, quotation marks inside of a text are escaped.
        let (head, _) = text.rsplit_once(EVENT_ID).unwrap_or_default();
        let (head, timestamp) = head.rsplit_once(TIMESTAMP).unwrap_or_default();
        let (payload, correlation_id) = head.rsplit_once(CORRELATION_ID).unwrap_or_default();
        Parts {
            payload: payload.as_bytes().get(payload_at..).unwrap_or_default(),
            correlation_id,
            timestamp,
        }
    }

    fn text(&self, start: usize, len: u8) -> &str {
        // Names are ASCII, so this is never the default.
        std::str::from_utf8(&self.buffer[start..start + usize::from(len)]).unwrap_or_default()
    }
}

/// Parts of an event's JSON text.
pub(crate) struct Parts<'a> {
    pub(crate) payload: &'a [u8],
    /// `null`, or a string with its quotation marks.
    pub(crate) correlation_id: &'a str,
    pub(crate) timestamp: &'a str,
}

impl fmt::Debug for EncodedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedEvent({})", String::from_utf8_lossy(self.json()))
    }
}

/// Finds, in the JSON text of an event, how long its type and its topic are, and where
/// its ID begins. The ID and the topic come last, and have no quotation marks inside.
fn find_parts(json: &[u8]) -> Option<(u8, u8, usize)> {
    let text = std::str::from_utf8(json).ok()?;
    let rest = text.strip_prefix(r#"{"type":""#)?;
    let (event_type, _) = rest.split_once('"')?;
    EventType::parse(event_type).ok()?;
    let (head, last) = text.strip_suffix(r#""}"#)?.rsplit_once('"')?;
    let (head, topic) = match head.strip_suffix(r#"","topic":"#) {
        Some(head) => (head, Some(Topic::parse(last).ok()?)),
        None => (text.strip_suffix(r#""}"#)?, None),
    };
    let (before, id) = head.rsplit_once('"')?;
    before.strip_suffix(r#","event_id":"#)?;
    // Names and topics are at most 64 and 128 bytes long.
    let topic_len = topic.map_or(0, |topic| topic.as_str().len() as u8);
    Some((event_type.len() as u8, topic_len, head.len() - id.len()))
}

/// Writes the header of a final text frame right before the JSON; returns where
/// it begins.
pub(crate) fn write_text_frame_header(buffer: &mut [u8]) -> u8 {
    const FIN_TEXT: u8 = 0x81;
    let len = buffer.len() - HEADER_ROOM;
    let mut header = [0u8; HEADER_ROOM];
    let used = match len {
        0..=125 => {
            header[1] = len as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    header[0] = FIN_TEXT;
    let start = HEADER_ROOM - used;
    buffer[start..HEADER_ROOM].copy_from_slice(&header[..used]);
    start as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Event, EventType, Timestamp};
    use serde_json::json;

    fn encode(event_type: &str, topic: Option<&str>, filler: usize) -> EncodedEvent {
        let mut builder = Event::builder(EventType::parse(event_type).unwrap())
            .payload(&json!({ "f": "x".repeat(filler) }))
            .unwrap()
            .timestamp(Timestamp::from_unix_micros(0));
        if let Some(topic) = topic {
            builder = builder.topic(Topic::parse(topic).unwrap());
        }
        builder.build().encode(EventId::new(Epoch::from_u64(1), 2))
    }

    #[test]
    fn type_and_topic_are_found_again() {
        let encoded = encode("a.b", Some("x.y"), 3);
        assert_eq!(
            (encoded.event_type(), encoded.topic()),
            ("a.b", Some("x.y"))
        );
        assert_eq!(encoded.id(), "0000000000000001-2");
        let encoded = encode(&"t".repeat(64), Some(&"p".repeat(128)), 0);
        assert_eq!(encoded.event_type().len(), 64);
        assert_eq!(encoded.topic().map(str::len), Some(128));
        let encoded = encode("a", None, 3);
        assert_eq!(
            (encoded.topic(), encoded.id()),
            (None, "0000000000000001-2")
        );
    }

    #[test]
    fn what_was_kept_is_restored() {
        let of = |epoch, sequence| EventId::new(Epoch::from_u64(epoch), sequence);
        for (topic, filler) in [(None, 0), (Some("x.y"), 200), (Some("event_id"), 70_000)] {
            let encoded = encode("a.b", topic, filler);
            let json = encoded.json();
            let restored = EncodedEvent::restore(json, of(1, 2)).unwrap();
            assert_eq!(restored.ws_frame(), encoded.ws_frame());
            assert_eq!((restored.event_type(), restored.topic()), ("a.b", topic));

            let moved = EncodedEvent::restore(json, of(0xab, 2)).unwrap();
            let text = String::from_utf8(json.to_vec()).unwrap();
            let expected = text.replace("0000000000000001-2", "00000000000000ab-2");
            assert_eq!(moved.json(), expected.as_bytes());

            assert!(EncodedEvent::restore(json, of(1, 3)).is_none());
            assert!(EncodedEvent::restore(json, of(1, 22)).is_none());
            assert!(EncodedEvent::restore(&json[1..], of(1, 2)).is_none());
            assert!(EncodedEvent::restore(&json[..json.len() - 1], of(1, 2)).is_none());
        }
        assert!(EncodedEvent::restore(b"{}", of(1, 2)).is_none());
        assert!(EncodedEvent::restore(b"", of(1, 2)).is_none());
    }

    #[test]
    fn frame_headers_of_every_length_class() {
        for filler in [0, 1000, 65_000, 66_000] {
            let encoded = encode("a", None, filler);
            let (frame, json) = (encoded.ws_frame(), encoded.json());
            assert_eq!(frame[0], 0x81);
            let (len, rest) = match frame[1] {
                127 => (
                    u64::from_be_bytes(frame[2..10].try_into().unwrap()),
                    &frame[10..],
                ),
                126 => (
                    u16::from_be_bytes(frame[2..4].try_into().unwrap()).into(),
                    &frame[4..],
                ),
                short => (short.into(), &frame[2..]),
            };
            assert_eq!((len, rest), (json.len() as u64, json));
        }
    }
}
