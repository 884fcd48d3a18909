//! What is new in the log, as one piece of bytes that fits every connection that sees all.

use std::time::{Duration, Instant};

use stoat_events::{EventLog, LogEntry, ReadLimit, ReadStatus};

/// The most of a batch: enough that writing it outweighs making it.
const LIMIT: ReadLimit = ReadLimit {
    events: 1024,
    bytes: 128 << 10,
};

/// The events `from + 1 ..= to` of a log, their frames one after the other.
///
/// Made once and written to many sockets, so that a backlog costs each of them one
/// slice and no reference count.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    from: u64,
    to: u64,
    entries: Vec<LogEntry>,
    /// The frames of several entries; empty for one, whose own bytes serve.
    joined: Vec<u8>,
    /// Sum of the ages of all entries at `oldest`, negative: their distance to it.
    newer_by: Duration,
}

impl Batch {
    /// Reads what follows `from`, in the place of what was there. Returns whether
    /// there is anything; where the log has moved past `from`, it begins with the
    /// oldest event.
    pub(crate) fn read(&mut self, log: &dyn EventLog, from: u64) -> bool {
        self.entries.clear();
        self.joined.clear();
        self.from = from;
        if log.read(from, LIMIT, &mut self.entries) == ReadStatus::Evicted {
            self.from = log.bounds().before_oldest();
            // If even that is gone by now, those who are there are told when they look.
            let _ = log.read(self.from, LIMIT, &mut self.entries);
        }
        self.to = self.entries.last().map_or(self.from, LogEntry::sequence);
        if self.entries.len() > 1 {
            for entry in &self.entries {
                self.joined.extend_from_slice(entry.encoded().ws_frame());
            }
        }
        self.newer_by = match self.oldest() {
            Some(oldest) => {
                let later =
                    |entry: &LogEntry| entry.accepted_at().saturating_duration_since(oldest);
                self.entries.iter().map(later).sum()
            }
            None => Duration::ZERO,
        };
        !self.entries.is_empty()
    }

    /// The position before the first event.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// The position of the last event.
    pub(crate) fn to(&self) -> u64 {
        self.to
    }

    /// The frames of all events.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.entries[..] {
            [only] => only.encoded().ws_frame(),
            _ => &self.joined,
        }
    }

    /// The events.
    pub(crate) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// The greatest and the least age of the events at `now`, and the sum of all.
    pub(crate) fn ages(&self, now: Instant) -> (Duration, Duration, Duration) {
        let age = |entry: Option<&LogEntry>| {
            entry.map_or(Duration::ZERO, |entry| {
                now.saturating_duration_since(entry.accepted_at())
            })
        };
        let greatest = age(self.entries.first());
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let sum = (greatest * count).saturating_sub(self.newer_by);
        (greatest, age(self.entries.last()), sum)
    }

    /// When the first event was accepted by the log.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.first().map(LogEntry::accepted_at)
    }
}
