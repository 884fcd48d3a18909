//! What is new in the log, as one piece of bytes that fits every connection that sees all.

use std::time::{Duration, Instant};

use stoat_events::{EventLog, Filter, LogEntry, ReadLimit, ReadStatus};

use super::pages::Pages;
use crate::stats::Tally;

/// The most of a batch: enough that writing it outweighs making it.
const LIMIT: ReadLimit = ReadLimit {
    events: 1024,
    bytes: 128 << 10,
};

/// For fewer sockets it costs more to prepare for them than it saves.
const MANY: usize = 16;

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
    /// The frames of all entries, for many sockets.
    pages: Pages,
    /// Sum of the ages of all entries at `oldest`, negative: their distance to it.
    newer_by: Duration,
    /// Events before the first were gone already.
    after_a_hole: bool,
    /// What follows `from` is not in the log's memory.
    is_stored: bool,
}

/// How much of a batch a filter selects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Share {
    None,
    Some,
    All,
}

impl Batch {
    /// Reads what follows `from`, in the place of what was there. Returns whether
    /// there is anything; where the log has moved past `from`, it begins with the
    /// oldest event.
    pub(crate) fn read(&mut self, log: &dyn EventLog, from: u64) -> bool {
        self.entries.clear();
        self.from = from;
        let mut status = log.read(from, LIMIT, &mut self.entries);
        self.after_a_hole = status == ReadStatus::Evicted;
        if self.after_a_hole {
            self.from = log.bounds().before_oldest();
            // If even that is gone by now, those who are there are told when they look.
            status = log.read(self.from, LIMIT, &mut self.entries);
        }
        self.is_stored = status == ReadStatus::Stored;
        self.finish()
    }

    /// Reads what [`read`](Self::read) did not find in memory. Only a burst that is larger
    /// than the log's memory brings the fan-out here.
    pub(crate) async fn fetch(&mut self, log: &dyn EventLog) -> bool {
        self.is_stored = false;
        self.entries = log.fetch(self.from, LIMIT).await;
        self.finish()
    }

    /// Whether what follows has to be [fetched](Self::fetch).
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    fn finish(&mut self) -> bool {
        self.joined.clear();
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
        frames(&self.entries, &self.joined)
    }

    /// Gets ready to be written to this many sockets, until it is [done](Self::done).
    pub(crate) fn prepare(&mut self, sockets: usize) {
        if sockets >= MANY {
            self.pages.put(frames(&self.entries, &self.joined));
        }
    }

    /// It was written.
    pub(crate) fn done(&mut self) {
        self.pages.clear();
    }

    /// The frames of all events as they were [prepared](Self::prepare).
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The events.
    pub(crate) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// Whether the log had moved past the position that was asked for, so that even those
    /// for whom nothing is in the batch may have missed something.
    pub(crate) fn is_after_a_hole(&self) -> bool {
        self.after_a_hole
    }

    /// Whether there was no room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= LIMIT.events || self.joined.len() >= LIMIT.bytes
    }

    /// Whether it has an event that even a filter lets through that selects nothing.
    pub(crate) fn passes_every_filter(&self) -> bool {
        let nothing = Filter::new(Some(Vec::new()), None);
        nothing.is_ok_and(|nothing| self.share(&nothing) != Share::None)
    }

    /// How much of it this filter selects.
    pub(super) fn share(&self, filter: &Filter) -> Share {
        let selects = |entry: &&LogEntry| {
            let event = entry.encoded();
            filter.matches(event.event_type(), event.topic())
        };
        match self.entries.iter().filter(selects).count() {
            0 => Share::None,
            count if count == self.entries.len() => Share::All,
            _ => Share::Some,
        }
    }

    /// Counts it as handed over at `now` to all who took the whole of it since the last time.
    /// Says whether there was anyone.
    pub(crate) fn settle(&self, tally: &mut Tally, now: Instant) -> bool {
        let whole = tally.taken_whole();
        if whole == 0 {
            return false;
        }
        let age = |entry: &LogEntry| now.saturating_duration_since(entry.accepted_at());
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return false;
        };
        let greatest = age(first);
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let sum = (greatest * count).saturating_sub(self.newer_by);
        let each = self.entries.iter().map(age);
        tally.delivered(whole, (greatest, age(last), sum), each);
        tally.wrote(self.from, self.to, whole, now);
        true
    }

    /// When the first event was accepted by the log.
    fn oldest(&self) -> Option<Instant> {
        self.entries.first().map(LogEntry::accepted_at)
    }
}

fn frames<'a>(entries: &'a [LogEntry], joined: &'a [u8]) -> &'a [u8] {
    match entries {
        [only] => only.encoded().ws_frame(),
        _ => joined,
    }
}
