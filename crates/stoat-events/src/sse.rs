//! Events as Server-Sent Events, the form that a browser's `EventSource` reads.

use std::time::Duration;

use crate::{EncodedEvent, Format};

/// The content type of a stream of Server-Sent Events.
pub const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// A comment, which no reader sees: it keeps what stands in between from ending an idle stream.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// Appends an event to a stream: its ID, from which an `EventSource` resumes, its type as
/// the name of the event, and its JSON text in this form as the data.
///
/// ```
/// use stoat_events::{Epoch, EventId, Format, Timestamp, heartbeat, sse};
///
/// let id = EventId::new(Epoch::from_u64(1), 0);
/// let beat = heartbeat(id, Timestamp::from_unix_micros(0));
/// let mut stream = Vec::new();
/// sse::write(&beat, Format::Stoat, &mut stream);
/// assert!(stream.starts_with(b"id: 0000000000000001-0\nevent: heartbeat\ndata: {\"type\":"));
/// assert!(stream.ends_with(b"}\n\n"));
/// ```
pub fn write(event: &EncodedEvent, format: Format, out: &mut Vec<u8>) {
    // Neither has a line end inside: names and IDs by their grammar, and in JSON text they are
    // escaped within strings, and white space between tokens is gone.
    let (id, name, json) = (event.id(), event.event_type(), format.json(event));
    out.reserve(id.len() + name.len() + json.len() + 24);
    for part in [
        b"id: ",
        id.as_bytes(),
        b"\nevent: ",
        name.as_bytes(),
        b"\ndata: ",
        &json,
        b"\n\n",
    ] {
        out.extend_from_slice(part);
    }
}

/// Tells an `EventSource` how long to wait before it connects again, from now on.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(stoat_events::sse::retry(Duration::from_secs(2)), "retry: 2000\n\n");
/// ```
pub fn retry(after: Duration) -> String {
    format!("retry: {}\n\n", after.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Event, EventId, EventType, Timestamp, Topic};
    use serde_json::json;

    #[test]
    fn an_event_is_three_lines_whatever_is_in_it() {
        let topics = [None, Some(Topic::parse("x.y").unwrap())];
        for (topic, format) in topics.into_iter().zip(Format::ALL.iter().copied()) {
            let mut builder = Event::builder(EventType::parse("a.b").unwrap())
                .payload(&json!({ "text": "id: 1\r\n\ndata: \u{2028}\u{85}\"event_id\":\"" }))
                .unwrap()
                .timestamp(Timestamp::from_unix_micros(0));
            if let Some(topic) = topic {
                builder = builder.topic(topic);
            }
            let encoded = builder.build().encode(EventId::new(Epoch::from_u64(1), 20));
            let mut stream = b"before".to_vec();
            write(&encoded, format, &mut stream);
            let json = String::from_utf8(format.json(&encoded).into_owned()).unwrap();
            let expected = format!("beforeid: 0000000000000001-20\nevent: a.b\ndata: {json}\n\n");
            assert_eq!(String::from_utf8(stream).unwrap(), expected);
            assert!(!json.contains(['\r', '\n']), "{json}");
        }
    }
}
