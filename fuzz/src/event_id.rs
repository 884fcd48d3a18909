//! Event IDs, and where a reader begins that gives one.

use stoat_events::{Epoch, EventId, GapReason, LogBounds, Resume};

pub fn event_id(data: &[u8]) {
    let Some((numbers, rest)) = data.split_first_chunk::<3>() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let [epoch, first, more] = numbers.map(u64::from);
    let bounds = LogBounds {
        epoch: Epoch::from_u64(epoch),
        first: first + 1,
        last: first + more,
        bytes: 0,
    };
    let id = text.parse::<EventId>().ok();
    if let Some(id) = id {
        assert_eq!(id.to_string(), text, "one ID has one text");
        assert!(text.len() <= EventId::MAX_LEN && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let attachment = bounds.attach(&Resume::parse(text));
    assert!((bounds.before_oldest()..=bounds.last).contains(&attachment.cursor));
    match attachment.gap {
        // Everything retained comes after a gap.
        Some(gap) => {
            assert_eq!(attachment.cursor, bounds.before_oldest());
            let is_known = id.is_some_and(|id| {
                id.epoch() == bounds.epoch && id.sequence() < bounds.before_oldest()
            });
            assert_eq!(gap.reason == GapReason::Evicted, is_known);
            let encoded = gap.encode(&bounds, stoat_events::Timestamp::from_unix_micros(0));
            serde_json::from_slice::<serde_json::Value>(encoded.json()).expect("JSON");
        }
        None if text.is_empty() => assert_eq!(attachment.cursor, bounds.last),
        None if text == "earliest" => assert_eq!(attachment.cursor, bounds.before_oldest()),
        None => assert_eq!(id.map(EventId::sequence), Some(attachment.cursor)),
    }
}
