//! The newest events of a log in memory, bounded by events, bytes and age.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::{LogEntry, ReadLimit, ReadStatus};

/// How much a [`Ring`] retains. The first bound that is reached evicts the oldest
/// events; readers of a [`MemoryLog`](super::MemoryLog) that still needed them are
/// told of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most events, at least 1.
    pub events: usize,
    /// The most bytes of frames. The newest event is retained even if it is longer.
    pub bytes: u64,
    /// The greatest age; `None` for no bound by age.
    pub age: Option<Duration>,
}

/// 10,000 events, 64 MiB, 300 s.
impl Default for Retention {
    fn default() -> Self {
        Self {
            events: 10_000,
            bytes: 64 << 20,
            age: Some(Duration::from_secs(300)),
        }
    }
}

/// The newest events of a log, contiguous up to the last; for implementors of a log.
///
/// Finding a position takes constant time, as does a push, but for what it evicts.
pub struct Ring {
    /// The events `last + 1 - entries.len() ..= last`.
    entries: VecDeque<LogEntry>,
    last: u64,
    bytes: u64,
    retention: Retention,
}

impl Ring {
    /// An empty ring, whose first event will be that after sequence `last`.
    pub fn new(last: u64, retention: Retention) -> Self {
        Self {
            entries: VecDeque::new(),
            last,
            bytes: 0,
            retention: Retention {
                events: retention.events.max(1),
                ..retention
            },
        }
    }

    /// Sequence number of the oldest event in the ring; `last + 1` if there is none.
    pub fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    /// Sequence number of the newest event, whether it is still in the ring or not.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes of the frames in the ring.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the event after the last one, and evicts.
    ///
    /// # Panics
    /// In debug builds, where `entry` is another than the one after the last.
    pub fn push(&mut self, entry: LogEntry, now: Instant) {
        debug_assert_eq!(entry.sequence(), self.last + 1, "a hole in the log");
        self.last = entry.sequence();
        self.bytes += entry.encoded().ws_frame().len() as u64;
        self.entries.push_back(entry);
        self.evict(now);
    }

    /// Lets go of what is over a bound.
    pub fn evict(&mut self, now: Instant) {
        let Retention { events, bytes, age } = self.retention;
        while let Some(oldest) = self.entries.front() {
            let too_old = |age| now.saturating_duration_since(oldest.accepted_at()) >= age;
            let over = self.entries.len() > events
                || (self.bytes > bytes && self.entries.len() > 1)
                || age.is_some_and(too_old);
            if !over {
                break;
            }
            self.bytes -= oldest.encoded().ws_frame().len() as u64;
            self.entries.pop_front();
        }
    }

    /// As [`EventLog::read`](super::EventLog::read), of what is in the ring.
    pub fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        let first = self.first();
        let next = after.saturating_add(1);
        if next < first {
            return ReadStatus::Evicted;
        }
        let mut bytes = 0;
        let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(skip).take(limit.events.max(1)) {
            out.push(entry.clone());
            bytes += entry.encoded().ws_frame().len();
            if bytes >= limit.bytes {
                break;
            }
        }
        ReadStatus::Read
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("first", &self.first())
            .field("last", &self.last)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
