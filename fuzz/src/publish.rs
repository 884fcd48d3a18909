//! Published bodies: what is accepted is within the contract, and comes back as it was.

use serde_json::value::RawValue;
use stoat_events::{Epoch, EventId, ReceivedEvent, Timestamp};

use crate::serve::publish::{MAX_BATCH, read};

pub fn publish(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let format = first % 4;
    let now = Timestamp::from_unix_micros(1_700_000_000_000_000);
    let (events, is_one) = match read(format, body, now) {
        Ok(read) => read,
        Err(status) => {
            assert!([400, 413, 422].contains(&status), "{status}");
            return;
        }
    };
    assert!((1..=MAX_BATCH).contains(&events.len()));
    // JSON and a CloudEvent; the others are lists.
    assert!(!is_one || (events.len() == 1 && format % 2 == 0));
    for (event, sequence) in events.into_iter().zip(1..) {
        assert!(!event.event_type().is_reserved());
        let id = EventId::new(Epoch::from_u64(7), sequence);
        let (event_type, payload) = (event.event_type().clone(), event.payload_json().to_owned());
        let timestamp = event.timestamp();
        assert!(timestamp == now || format >= 2);
        let (topic, correlation_id) = (event.topic().cloned(), event.correlation_id().cloned());
        let len = event.encoded_len(id);
        let encoded = event.encode(id);
        assert_eq!(encoded.json().len(), len);
        assert!(encoded.ws_frame().ends_with(encoded.json()));
        let text = std::str::from_utf8(encoded.json()).expect("UTF-8");
        let decoded = ReceivedEvent::decode(text).expect("what is sent can be read");
        assert_eq!(decoded.event_type, event_type);
        assert_eq!(decoded.payload.as_json(), payload);
        assert_eq!(
            (decoded.topic, decoded.correlation_id),
            (topic, correlation_id)
        );
        assert_eq!(
            (decoded.timestamp, decoded.event_id),
            (timestamp, id.to_string())
        );

        // Published again, it is the same.
        let mut again = format!(r#"{{"type":"{event_type}","payload":{payload}"#);
        if let Some(topic) = encoded.topic() {
            again += &format!(r#","topic":"{topic}""#);
        }
        again.push('}');
        let raw: &RawValue = serde_json::from_str(&again).expect("JSON");
        let (events, _) = read(0, raw.get().as_bytes(), now).expect("valid");
        assert_eq!(events[0].payload_json(), payload);
    }
}
