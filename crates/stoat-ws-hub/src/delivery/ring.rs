//! The reports of the newest events, in the order of the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use stoat_events::LogEntry;

use super::ages::Ages;
use super::{Kind, Report};

/// At most so many reports. Makes room for a new one by throwing away the oldest.
#[derive(Debug, Default)]
pub(super) struct Ring {
    most: usize,
    reports: VecDeque<Report>,
    /// Every event after this position, and up to `newest`, has a report.
    since: u64,
    newest: u64,
}

impl Ring {
    pub(super) fn new(most: usize, position: u64) -> Self {
        Self {
            most,
            reports: VecDeque::new(),
            since: position,
            newest: position,
        }
    }

    /// The last position whose event, if there is one, was looked at.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Up to here events may have no report.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Gives up what there may be between the newest report and this position.
    pub(super) fn skip_to(&mut self, position: u64) {
        if position > self.newest {
            self.newest = position;
            self.since = position;
        }
    }

    /// Begins the report of an event, unless it, or a later one, was there already.
    pub(super) fn push(&mut self, entry: &LogEntry) {
        if entry.sequence() <= self.newest {
            return;
        }
        let last = self.reports.back().map(|last| &last.kind);
        let kind = match last.filter(|kind| kind.is_of(entry)) {
            Some(kind) => Arc::clone(kind),
            None => Arc::new(Kind {
                event_type: entry.encoded().event_type().into(),
                topic: entry.encoded().topic().map(Into::into),
            }),
        };
        if self.reports.len() >= self.most
            && let Some(oldest) = self.reports.pop_front()
        {
            self.since = self.since.max(oldest.position);
        }
        self.newest = entry.sequence();
        self.reports.push_back(Report {
            position: entry.sequence(),
            accepted_at: entry.accepted_at(),
            kind,
            ages: Ages::new(),
            replayed: AtomicU32::new(0),
            missed: AtomicU32::new(0),
            left: AtomicU32::new(0),
        });
    }

    /// The reports of the events after one position up to another.
    pub(super) fn between(&self, after: u64, to: u64) -> impl Iterator<Item = &Report> {
        let first = self
            .reports
            .partition_point(|report| report.position <= after);
        self.reports
            .range(first..)
            .take_while(move |report| report.position <= to)
    }

    /// The place of an event's report.
    pub(super) fn find(&self, position: u64) -> Option<usize> {
        let from_end = usize::try_from(self.newest.checked_sub(position)?).ok();
        // Where the log leaves no numbers out.
        let guess = from_end.and_then(|from_end| self.reports.len().checked_sub(from_end + 1));
        guess
            .filter(|place| self.is_at(position, *place))
            .or_else(|| {
                self.reports
                    .binary_search_by_key(&position, |report| report.position)
                    .ok()
            })
    }

    /// As [`find`](Self::find), where the place is likely to be this one.
    pub(super) fn find_near(&self, position: u64, place: usize) -> Option<usize> {
        match self.is_at(position, place) {
            true => Some(place),
            false => self.find(position),
        }
    }

    fn is_at(&self, position: u64, place: usize) -> bool {
        let report = self.reports.get(place);
        report.is_some_and(|report| report.position == position)
    }

    /// The report at a place that was found.
    pub(super) fn at(&self, place: usize) -> &Report {
        &self.reports[place]
    }
}
