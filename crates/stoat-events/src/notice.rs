//! What a server tells a reader beside the log: heartbeats and gaps.

use serde::Serialize;

use crate::{EncodedEvent, Event, EventId, EventType, LogBounds, Timestamp};

/// Builds a `heartbeat`: no log keeps it, and its ID is the position of the
/// newest event, so that an idle reader's resume position stays fresh. It is
/// safe to resume from only for a reader that has everything up to `position`.
///
/// ```
/// use stoat_events::{Epoch, EventId, Timestamp, heartbeat};
///
/// let id = EventId::new(Epoch::from_u64(1), 0);
/// let beat = heartbeat(id, Timestamp::from_unix_micros(0));
/// assert!(beat.json().starts_with(br#"{"type":"heartbeat","payload":{},"correlation_id":null"#));
/// ```
pub fn heartbeat(position: EventId, now: Timestamp) -> EncodedEvent {
    let event = Event::builder(EventType::Heartbeat)
        .timestamp(now)
        .build_uncorrelated();
    event.encode(position)
}

/// Why a reader cannot get some events any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum GapReason {
    /// The ID asked for was in this log, and has been evicted.
    Evicted,
    /// The ID asked for is not of this log.
    UnknownId,
    /// The reader was too slow: the log has moved past it.
    Lagged,
}

impl GapReason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::UnknownId => "unknown_id",
            Self::Lagged => "lagged",
        }
    }
}

/// The payload of a `gap`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct GapPayload<'a> {
    /// Why the events are gone.
    reason: GapReason,
    /// The position that was asked for or reached.
    requested: Option<&'a str>,
    /// The oldest event that is retained.
    oldest: Option<EventId>,
    /// The newest position there has been.
    newest: Option<EventId>,
}

/// A hole in what one reader sees; sent to it in place of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The position that the reader asked for or had reached. Text that cannot
    /// be an event ID is not repeated.
    pub requested: Option<String>,
}

impl Gap {
    /// A gap for a reader that asked for `requested`, which may be any text.
    pub fn new(reason: GapReason, requested: &str) -> Self {
        let plausible = (1..=EventId::MAX_OPAQUE_LEN).contains(&requested.len())
            && requested.bytes().all(|byte| byte.is_ascii_graphic());
        Self {
            reason,
            requested: plausible.then(|| requested.to_owned()),
        }
    }

    /// Builds the `gap` event. Its ID is the position just before the oldest
    /// event retained, from which it is safe to resume.
    pub fn encode(&self, bounds: &LogBounds, now: Timestamp) -> EncodedEvent {
        let wire = GapPayload {
            reason: self.reason,
            requested: self.requested.as_deref(),
            oldest: bounds.oldest(),
            newest: bounds.newest(),
        };
        let builder = Event::builder(EventType::Gap).timestamp(now);
        // Plain strings always serialise.
        let builder = builder
            .payload(&wire)
            .unwrap_or_else(|_| Event::builder(EventType::Gap));
        builder
            .build_uncorrelated()
            .encode(bounds.id(bounds.before_oldest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;

    fn json(encoded: &EncodedEvent) -> String {
        String::from_utf8(encoded.json().to_vec()).unwrap()
    }

    #[test]
    fn golden_gap() {
        let bounds = LogBounds {
            epoch: Epoch::from_u64(1),
            first: 5,
            last: 9,
            bytes: 0,
        };
        let gap = Gap::new(GapReason::Evicted, "0000000000000001-2");
        assert_eq!(
            json(&gap.encode(&bounds, Timestamp::from_unix_micros(0))),
            r#"{"type":"gap","payload":{"reason":"evicted","requested":"0000000000000001-2","oldest":"0000000000000001-5","newest":"0000000000000001-9"},"correlation_id":null,"timestamp":"1970-01-01T00:00:00.000000+00:00","event_id":"0000000000000001-4"}"#
        );
    }

    #[test]
    fn gap_on_an_empty_log_repeats_no_nonsense() {
        let bounds = LogBounds {
            epoch: Epoch::from_u64(1),
            first: 1,
            last: 0,
            bytes: 0,
        };
        for odd in ["a b", "", "é", &"x".repeat(65)] {
            let text = json(
                &Gap::new(GapReason::UnknownId, odd)
                    .encode(&bounds, Timestamp::from_unix_micros(0)),
            );
            assert!(
                text.contains(
                    r#"{"reason":"unknown_id","requested":null,"oldest":null,"newest":null}"#
                ),
                "{text}"
            );
            assert!(
                text.contains(r#""event_id":"0000000000000001-0""#),
                "{text}"
            );
        }
    }

    #[test]
    fn notices_carry_no_correlation_id_of_the_request_being_served() {
        let id = stoat_correlation::CorrelationId::parse("x").unwrap();
        let beat = stoat_correlation::sync_scope(id, || {
            heartbeat(
                EventId::new(Epoch::from_u64(1), 3),
                Timestamp::from_unix_micros(0),
            )
        });
        assert!(json(&beat).contains(r#""correlation_id":null"#));
    }
}
