//! Who got an event: a report of each of the newest events of the log.

mod ages;
mod ring;

use std::error::Error;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use stoat_events::{EventId, EventLog, Filter, LogEntry, ReadLimit, ReadStatus};

use self::ages::Ages;
use self::ring::Ring;

/// Whom an event of the log was for, and who has it; see
/// [`ConnectionManager::delivery`](crate::ConnectionManager::delivery).
///
/// A connection counts for an event if its place in the log was before the event at any time,
/// and its filter takes the event. It counts once, under the first of these that it comes to:
/// `written`, `missed` or `left`; until then it is `behind`. The filter that counts is the one
/// it has at that moment, so a connection that changes its filter in time counts for what it
/// sees, and one whose filter left the event out has passed it and counts no more.
///
/// A client that comes back has a new connection. If it resumes from before the event it
/// counts again: its old connection as `left`, its new one as `behind`, then as `written` and
/// `replayed`.
///
/// The numbers are read one after the other, so while the event is on its way they may differ
/// by the connections that get it at this moment; the fan-out adds what it wrote for up to 64
/// connections at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(description = "Whom an event was for, and who has it.")
)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// The event.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub event_id: EventId,
    /// Connections that it was for: those that are `written`, `behind`, `missed` or `left`.
    pub matched: u64,
    /// Connections for which all of it was handed to the kernel. Whether the client has read
    /// it, only the client can say.
    pub written: u64,
    /// Those of them that came after it was accepted, and resumed from before it.
    pub replayed: u64,
    /// Connections now that it is for and that it was not written to yet.
    pub behind: u64,
    /// Connections that were told by a `gap` that it is gone.
    pub missed: u64,
    /// Connections that ended before it was written to them.
    pub left: u64,
    /// The age, from the log's acceptance until it was written, that half of the connections
    /// did not exceed, in seconds; replays are left out. Rounded up by at most a half, and to
    /// 16 µs at least; of what the fan-out writes the time at which up to 64 connections had it
    /// counts. Null while nobody has it.
    #[serde(rename = "p50_age_seconds", serialize_with = "seconds")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    pub p50_age: Option<Duration>,
    /// The same for 99 of 100 connections.
    #[serde(rename = "p99_age_seconds", serialize_with = "seconds")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    pub p99_age: Option<Duration>,
}

/// There is no report of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDeliveryReport(Cause);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Off,
    Unknown,
    Overwritten,
}

impl NoDeliveryReport {
    /// The event is not of this log, or not yet.
    pub fn is_unknown(&self) -> bool {
        self.0 == Cause::Unknown
    }

    /// There were newer events, whose reports took its place; or the event was in the log
    /// before the manager was there.
    pub fn is_overwritten(&self) -> bool {
        self.0 == Cause::Overwritten
    }

    /// No reports are kept at all: [`HubConfig::delivery_reports`](crate::HubConfig) is 0.
    pub fn is_off(&self) -> bool {
        self.0 == Cause::Off
    }
}

impl fmt::Display for NoDeliveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cause::Off => "no delivery reports are kept",
            Cause::Unknown => "no event of this log has this ID",
            Cause::Overwritten => "the delivery report of this event is not kept any more",
        })
    }
}

impl Error for NoDeliveryReport {}

fn seconds<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    age.map(|age| age.as_secs_f64()).serialize(serializer)
}

/// How many events are read from the log at a time.
const LIMIT: ReadLimit = ReadLimit {
    events: 1024,
    bytes: usize::MAX,
};

/// The reports of the newest events. Keeps none by default.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// None where no reports are kept.
    log: Option<Arc<dyn EventLog>>,
    ring: RwLock<Ring>,
}

/// What is known of one event.
#[derive(Debug)]
struct Report {
    position: u64,
    accepted_at: Instant,
    kind: Arc<Kind>,
    ages: Ages,
    replayed: AtomicU32,
    missed: AtomicU32,
    left: AtomicU32,
}

/// What filters look at; events in a row often share it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    event_type: Box<str>,
    topic: Option<Box<str>>,
}

/// Connections to which the fan-out wrote the same events, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) after: u64,
    pub(crate) to: u64,
    pub(crate) connections: u32,
    /// When the last of them had it.
    pub(crate) at: Instant,
}

impl Deliveries {
    /// Reports of the newest `most` events that come to the log from now on.
    pub(crate) fn new(log: &Arc<dyn EventLog>, most: usize) -> Self {
        Self {
            log: (most > 0).then(|| Arc::clone(log)),
            ring: RwLock::new(Ring::new(most, log.bounds().last)),
        }
    }

    /// Begins the reports of events that follow a position, before anyone gets them.
    pub(crate) fn begin(&self, after: u64, entries: &[LogEntry]) {
        let Some(last) = entries.last() else { return };
        if self.log.is_none() || self.ring().newest() >= last.sequence() {
            return;
        }
        self.reach(after);
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.skip_to(after);
        entries.iter().for_each(|entry| ring.push(entry));
    }

    /// Counts events that the fan-out wrote.
    pub(crate) fn written(&self, runs: &[Run]) {
        if runs.is_empty() || self.log.is_none() {
            return;
        }
        let ring = self.ring();
        for run in runs {
            for report in ring.between(run.after, run.to) {
                let age = run.at.saturating_duration_since(report.accepted_at);
                report.ages.add(age, run.connections);
            }
        }
    }

    /// To count what one connection gets, up to a position.
    pub(crate) fn of_one(&self, to: Option<u64>) -> OfOne<'_> {
        let to = to.filter(|_| self.log.is_some());
        let ring = to.map(|to| self.ring_up_to(to));
        OfOne { ring, next: 0 }
    }

    /// Counts a connection that ends: what follows its position and its filter takes was for it.
    pub(crate) fn left(&self, position: u64, filter: &Filter) {
        let Some(log) = &self.log else { return };
        let last = log.bounds().last;
        if position >= last {
            return;
        }
        let ring = self.ring_up_to(last);
        for report in taken(ring.between(position, u64::MAX), filter) {
            report.left.fetch_add(1, Relaxed);
        }
    }

    /// What filters look at of an event that has a report.
    pub(crate) fn kind(&self, id: EventId) -> Result<Arc<Kind>, NoDeliveryReport> {
        self.find(id, |report| Arc::clone(&report.kind))
    }

    /// The report of an event that so many connections do not have yet.
    pub(crate) fn report(
        &self,
        id: EventId,
        behind: u64,
    ) -> Result<DeliveryReport, NoDeliveryReport> {
        self.find(id, |report| {
            let load = |count: &AtomicU32| u64::from(count.load(Relaxed));
            let (missed, left) = (load(&report.missed), load(&report.left));
            let (replayed, ages) = (load(&report.replayed), report.ages.now());
            let written = ages.count() + replayed;
            DeliveryReport {
                event_id: id,
                matched: written + behind + missed + left,
                written,
                replayed,
                behind,
                missed,
                left,
                p50_age: ages.percentile(50),
                p99_age: ages.percentile(99),
            }
        })
    }

    fn find<R>(&self, id: EventId, tell: impl FnOnce(&Report) -> R) -> Result<R, NoDeliveryReport> {
        let log = self.log.as_ref().ok_or(NoDeliveryReport(Cause::Off))?;
        let bounds = log.bounds();
        if id.epoch() != bounds.epoch || !(1..=bounds.last).contains(&id.sequence()) {
            return Err(NoDeliveryReport(Cause::Unknown));
        }
        let ring = self.ring_up_to(bounds.last);
        match ring.find(id.sequence()) {
            Some(at) => Ok(tell(ring.at(at))),
            None if id.sequence() <= ring.since() => Err(NoDeliveryReport(Cause::Overwritten)),
            None => Err(NoDeliveryReport(Cause::Unknown)),
        }
    }

    /// The reports, those of all events up to a position included.
    fn ring_up_to(&self, to: u64) -> RwLockReadGuard<'_, Ring> {
        let ring = self.ring();
        if ring.newest() >= to {
            return ring;
        }
        drop(ring);
        self.reach(to);
        self.ring()
    }

    /// Begins the reports of all events up to a position that have none yet, as far as the log
    /// has them in memory.
    fn reach(&self, to: u64) {
        let Some(log) = &self.log else { return };
        if self.ring().newest() >= to {
            return;
        }
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        while ring.newest() < to {
            let newest = ring.newest();
            match log.read(newest, LIMIT, &mut entries) {
                ReadStatus::Evicted => ring.skip_to(log.bounds().before_oldest()),
                // Somewhere nearer to the end it is in memory.
                ReadStatus::Stored => ring.skip_to(newest + (to - newest).div_ceil(2)),
                ReadStatus::Read => entries.drain(..).for_each(|entry| ring.push(&entry)),
            }
            if ring.newest() == newest {
                return;
            }
        }
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        // Nothing panics while it is locked for writing.
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}

/// Counts what one connection gets. Holds the reports locked for reading.
pub(crate) struct OfOne<'a> {
    ring: Option<RwLockReadGuard<'a, Ring>>,
    /// Where the next event's report may be.
    next: usize,
}

impl OfOne<'_> {
    /// Counts an event that was written, with its age unless it was a replay.
    pub(crate) fn written(&mut self, position: u64, age: Option<Duration>) {
        let Some(ring) = &self.ring else { return };
        let Some(at) = ring.find_near(position, self.next) else {
            return;
        };
        self.next = at + 1;
        match age {
            Some(age) => ring.at(at).ages.add(age, 1),
            None => _ = ring.at(at).replayed.fetch_add(1, Relaxed),
        }
    }

    /// Counts events that the connection was told to be gone.
    pub(crate) fn missed(&mut self, (after, to): (u64, u64), filter: &Filter) {
        let Some(ring) = &self.ring else { return };
        for report in taken(ring.between(after, to), filter) {
            report.missed.fetch_add(1, Relaxed);
        }
    }
}

impl Kind {
    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        filter.matches(&self.event_type, self.topic.as_deref())
    }

    fn is_of(&self, entry: &LogEntry) -> bool {
        let event = entry.encoded();
        *self.event_type == *event.event_type() && self.topic.as_deref() == event.topic()
    }
}

/// Those reports whose event a filter takes.
fn taken<'a>(
    reports: impl Iterator<Item = &'a Report>,
    filter: &Filter,
) -> impl Iterator<Item = &'a Report> {
    let mut last: Option<(&Arc<Kind>, bool)> = None;
    reports.filter(move |report| {
        let known = last.filter(|(kind, _)| ptr::eq(Arc::as_ptr(kind), Arc::as_ptr(&report.kind)));
        let passes = known.map_or_else(|| report.kind.passes(filter), |(_, passes)| passes);
        last = Some((&report.kind, passes));
        passes
    })
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
