//! What a log retains, and where a reader begins in it.

use std::error::Error;
use std::fmt;

use crate::{Epoch, EventId, Gap, GapReason};

/// What a log retains at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// The life of the log.
    pub epoch: Epoch,
    /// Sequence number of the oldest event retained; `last + 1` if there is none. An engine
    /// that leaves numbers out may name one between that event and the one before.
    pub first: u64,
    /// Sequence number of the newest event, retained or not; 0 before the first.
    pub last: u64,
    /// Bytes of the frames retained.
    pub bytes: u64,
}

impl LogBounds {
    /// Positions retained; as many as events, unless the engine leaves numbers out. Then
    /// [`EventLog::distance`](crate::EventLog::distance) tells.
    pub fn events(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// The ID of a position in this log.
    pub fn id(&self, sequence: u64) -> EventId {
        EventId::new(self.epoch, sequence)
    }

    /// The oldest event retained.
    pub fn oldest(&self) -> Option<EventId> {
        (self.events() > 0).then(|| self.id(self.first))
    }

    /// The newest event there ever was in this life of the log.
    pub fn newest(&self) -> Option<EventId> {
        (self.last > 0).then(|| self.id(self.last))
    }

    /// The position just before the oldest event retained: the oldest one from
    /// which a reader misses nothing that can still be had.
    pub fn before_oldest(&self) -> u64 {
        self.first.saturating_sub(1)
    }

    /// Finds where a reader begins.
    ///
    /// ```
    /// use stoat_events::{Epoch, GapReason, LogBounds, Resume};
    ///
    /// let bounds = LogBounds { epoch: Epoch::from_u64(1), first: 5, last: 9, bytes: 0 };
    /// assert_eq!(bounds.attach(&Resume::Live).cursor, 9);
    ///
    /// let resumed = bounds.attach(&Resume::parse("0000000000000001-7"));
    /// assert_eq!((resumed.cursor, resumed.gap), (7, None));
    ///
    /// let evicted = bounds.attach(&Resume::parse("0000000000000001-3"));
    /// assert_eq!(evicted.cursor, 4);
    /// assert_eq!(evicted.gap.unwrap().reason, GapReason::Evicted);
    /// ```
    pub fn attach(&self, resume: &Resume) -> Attachment {
        let all_retained = |gap| Attachment {
            cursor: self.before_oldest(),
            gap,
        };
        let text = match resume {
            Resume::Live => {
                return Attachment {
                    cursor: self.last,
                    gap: None,
                };
            }
            Resume::Earliest => return all_retained(None),
            Resume::After(text) => text,
        };
        let gap = |reason| all_retained(Some(Gap::new(reason, text)));
        match text.parse::<EventId>() {
            Ok(id) if id.epoch() != self.epoch || id.sequence() > self.last => {
                gap(GapReason::UnknownId)
            }
            Ok(id) if id.sequence() < self.before_oldest() => gap(GapReason::Evicted),
            Ok(id) => Attachment {
                cursor: id.sequence(),
                gap: None,
            },
            Err(_) => gap(GapReason::UnknownId),
        }
    }
}

/// Where a reader wants to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resume {
    /// With the next event.
    #[default]
    Live,
    /// With the oldest event retained.
    Earliest,
    /// After the event of this ID; any text, since the ID may be of another log.
    After(String),
}

impl Resume {
    /// Reads a client's `last_event_id`: empty counts as not given, `earliest`
    /// asks for all that is retained.
    pub fn parse(last_event_id: &str) -> Self {
        match last_event_id {
            "" => Self::Live,
            "earliest" => Self::Earliest,
            id => Self::After(id.to_owned()),
        }
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Sequence number of the last event that the reader has had, or is told that
    /// it cannot have.
    pub cursor: u64,
    /// What the reader must be told first.
    pub gap: Option<Gap>,
}

/// The log cannot tell yet where a reader begins; later it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    reason: String,
}

impl NotReady {
    /// For implementors of a log; the reason is for log lines.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log is not ready for readers: {}", self.reason)
    }
}

impl Error for NotReady {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(first: u64, last: u64) -> LogBounds {
        LogBounds {
            epoch: Epoch::from_u64(1),
            first,
            last,
            bytes: 0,
        }
    }

    fn attach(bounds: LogBounds, text: &str) -> (u64, Option<GapReason>) {
        let attachment = bounds.attach(&Resume::parse(text));
        (attachment.cursor, attachment.gap.map(|gap| gap.reason))
    }

    #[test]
    fn every_position() {
        let log = bounds(5, 9);
        assert_eq!(attach(log, ""), (9, None));
        assert_eq!(attach(log, "earliest"), (4, None));
        assert_eq!(attach(log, "0000000000000001-9"), (9, None));
        assert_eq!(attach(log, "0000000000000001-5"), (5, None));
        // Exactly the one before the oldest: nothing was missed.
        assert_eq!(attach(log, "0000000000000001-4"), (4, None));
        assert_eq!(
            attach(log, "0000000000000001-3"),
            (4, Some(GapReason::Evicted))
        );
        assert_eq!(
            attach(log, "0000000000000001-0"),
            (4, Some(GapReason::Evicted))
        );
        assert_eq!(
            attach(log, "0000000000000001-10"),
            (4, Some(GapReason::UnknownId))
        );
        assert_eq!(
            attach(log, "0000000000000002-7"),
            (4, Some(GapReason::UnknownId))
        );
        assert_eq!(attach(log, "nonsense"), (4, Some(GapReason::UnknownId)));
    }

    #[test]
    fn an_empty_log_and_one_whose_events_all_went() {
        let empty = bounds(1, 0);
        assert_eq!(
            (empty.events(), empty.oldest(), empty.newest()),
            (0, None, None)
        );
        assert_eq!(attach(empty, "earliest"), (0, None));
        assert_eq!(attach(empty, "0000000000000001-0"), (0, None));

        let gone = bounds(10, 9);
        assert_eq!((gone.events(), gone.oldest()), (0, None));
        assert_eq!(gone.newest(), Some(gone.id(9)));
        assert_eq!(attach(gone, "0000000000000001-9"), (9, None));
        assert_eq!(
            attach(gone, "0000000000000001-8"),
            (9, Some(GapReason::Evicted))
        );
    }
}
