//! What readers see, and what the tasks of the log and its publishers tell each other.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stoat_events::{
    Attachment, Epoch, Event, EventId, Head, LogBounds, LogEntry, ReadLimit, ReadStatus, Receipt,
    Resume, Retention,
};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::condition::{Condition, NatsStats};
use crate::position::{end_of, first_of, local_after, message_up_to, messages_between};

/// Reads of old events at a time; what they bring is the most that readers hold beside the ring.
const READERS: usize = 4;

pub(crate) struct Shared {
    recent: Mutex<Recent>,
    pub(crate) head: Head,
    /// The last message of the stream that readers can see, or that was passed over.
    pub(crate) reached: watch::Sender<u64>,
    pub(crate) condition: watch::Sender<Condition>,
    /// Whether the stream was found and read to its end, and all was well once.
    pub(crate) opened: watch::Sender<bool>,
    pub(crate) readers: Semaphore,
    /// Who waits to see a message in the stream, by its nonce.
    awaited: Mutex<HashMap<Box<str>, oneshot::Sender<u64>>>,
    pub(crate) skipped: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) unconfirmed: AtomicU64,
}

/// The newest events, and what else there is.
struct Recent {
    epoch: Epoch,
    /// All events after `floor`.
    entries: VecDeque<LogEntry>,
    bytes: u64,
    floor: u64,
    last: u64,
    /// The position before the oldest event that the stream retains.
    before_oldest: u64,
    retention: Retention,
}

impl Recent {
    fn evict(&mut self, now: Instant) {
        let Retention { events, bytes, age } = self.retention;
        while let Some(oldest) = self.entries.front() {
            let too_old = |age| now.saturating_duration_since(oldest.accepted_at()) >= age;
            let over = self.entries.len() > events.max(1)
                || (self.bytes > bytes && self.entries.len() > 1)
                || age.is_some_and(too_old);
            if !over {
                break;
            }
            self.floor = oldest.sequence();
            self.bytes -= oldest.encoded().ws_frame().len() as u64;
            self.entries.pop_front();
        }
    }

    fn push(&mut self, entry: LogEntry, now: Instant) {
        self.bytes += entry.encoded().ws_frame().len() as u64;
        self.entries.push_back(entry);
        self.evict(now);
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) {
        let from = self
            .entries
            .partition_point(|entry| entry.sequence() <= after);
        let mut bytes = 0;
        for entry in self.entries.range(from..).take(limit.events.max(1)) {
            out.push(entry.clone());
            bytes += entry.encoded().ws_frame().len();
            if bytes >= limit.bytes {
                break;
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            recent: Mutex::new(Recent {
                epoch: Epoch::from_u64(0),
                entries: VecDeque::new(),
                bytes: 0,
                floor: 0,
                last: 0,
                before_oldest: 0,
                retention,
            }),
            head: Head::new(0),
            reached: watch::Sender::new(0),
            condition: watch::Sender::new(Condition::Away("starting".to_owned())),
            opened: watch::Sender::new(false),
            readers: Semaphore::new(READERS),
            awaited: Mutex::default(),
            skipped: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            unconfirmed: AtomicU64::new(0),
        }
    }

    /// Begins after a message; nothing of what is up to there is in memory.
    pub(crate) fn begin(&self, epoch: Epoch, oldest_message: u64, after: u64) {
        let mut recent = self.lock();
        recent.epoch = epoch;
        recent.floor = end_of(after);
        recent.last = end_of(after);
        recent.before_oldest = end_of(oldest_message.saturating_sub(1));
        drop(recent);
        self.reached.send_replace(after);
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// Shows the events of the next message to readers; none where it had none.
    pub(crate) fn show(&self, message: u64, events: Vec<Event>, accepted_at: Instant) {
        let now = Instant::now();
        let is_empty = events.is_empty();
        let mut recent = self.lock();
        let entries = entries(recent.epoch, message, events, accepted_at);
        for entry in entries {
            recent.push(entry, now);
        }
        recent.last = end_of(message);
        drop(recent);
        if !is_empty {
            self.head.advance(end_of(message));
        }
        self.reached.send_replace(message);
    }

    /// What the stream had up to a message is gone, and was never seen here.
    pub(crate) fn lose(&self, up_to: u64) {
        let mut recent = self.lock();
        recent.entries.clear();
        recent.bytes = 0;
        recent.floor = end_of(up_to);
        recent.last = end_of(up_to);
        recent.before_oldest = end_of(up_to);
        drop(recent);
        self.reached.send_replace(up_to);
    }

    /// Shows an event to the readers of this server only. `None` where no position is free.
    pub(crate) fn show_local(&self, event: Event) -> Option<Receipt> {
        let now = Instant::now();
        let mut recent = self.lock();
        let position = local_after(recent.last)?;
        let id = EventId::new(recent.epoch, position);
        let receipt = Receipt::of(&event, id);
        recent.push(LogEntry::new(event.encode(id), id, now), now);
        recent.last = position;
        drop(recent);
        self.head.advance(position);
        Some(receipt)
    }

    /// The stream has let go of what was before a message.
    pub(crate) fn set_oldest(&self, message: u64) {
        let mut recent = self.lock();
        let before = end_of(message.saturating_sub(1));
        recent.before_oldest = recent.before_oldest.max(before);
    }

    /// There is no event between `after` and `floor`, and what is after `floor` is in memory.
    pub(crate) fn nothing_between(&self, after: u64, floor: u64) {
        let mut recent = self.lock();
        if recent.floor == floor && after < floor {
            recent.floor = after;
        }
    }

    /// All events after this position are in memory.
    pub(crate) fn floor(&self) -> u64 {
        self.lock().floor
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        let mut recent = self.lock();
        recent.evict(Instant::now());
        LogBounds {
            epoch: recent.epoch,
            first: recent.floor.min(recent.before_oldest) + 1,
            last: recent.last,
            bytes: recent.bytes,
        }
    }

    /// As that of the bounds; but an ID that another server gave to an event of its own, after
    /// the last message here, is none that is unknown.
    pub(crate) fn attach(&self, resume: &Resume) -> Attachment {
        let bounds = self.bounds();
        if let Some(id) = self.of_this_log(resume)
            && id.sequence() > bounds.last
            && message_up_to(id.sequence()) <= *self.reached.borrow()
        {
            return Attachment {
                cursor: bounds.last,
                gap: None,
            };
        }
        bounds.attach(resume)
    }

    /// The message that has to be known before a reader can begin.
    pub(crate) fn needed_for(&self, resume: &Resume) -> Option<u64> {
        let id = self.of_this_log(resume)?;
        Some(message_up_to(id.sequence()))
    }

    fn of_this_log(&self, resume: &Resume) -> Option<EventId> {
        let Resume::After(text) = resume else {
            return None;
        };
        let id: EventId = text.parse().ok()?;
        (id.epoch() == self.epoch()).then_some(id)
    }

    pub(crate) fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        let mut recent = self.lock();
        recent.evict(Instant::now());
        if after >= recent.floor {
            recent.read(after, limit, out);
            ReadStatus::Read
        } else if after < recent.before_oldest {
            ReadStatus::Evicted
        } else {
            ReadStatus::Stored
        }
    }

    /// Exact for what is in memory; what is older counts one for each message.
    pub(crate) fn distance(&self, after: u64, to: u64) -> u64 {
        let recent = self.lock();
        let up_to = |position| {
            let count = |entry: &LogEntry| entry.sequence() <= position;
            recent.entries.partition_point(count) as u64
        };
        let older = messages_between(after.min(recent.floor), recent.floor.min(to));
        older + up_to(to).saturating_sub(up_to(after))
    }

    /// From now on the message of this name is looked out for.
    pub(crate) fn await_message(&self, nonce: &str) -> Awaited<'_> {
        let (sender, seen) = oneshot::channel();
        self.lock_awaited().insert(nonce.into(), sender);
        Awaited {
            shared: self,
            nonce: nonce.into(),
            seen,
        }
    }

    /// A message is in the stream, and readers can see it.
    pub(crate) fn saw(&self, nonce: &str, message: u64) {
        if let Some(sender) = self.lock_awaited().remove(nonce) {
            // Who waited may have gone away.
            let _ = sender.send(message);
        }
    }

    /// Notes how the log is doing; what is final stays.
    pub(crate) fn set_condition(&self, condition: Condition) {
        self.condition.send_if_modified(|told| {
            let is_new = *told != condition && !told.is_final();
            if is_new {
                *told = condition;
            }
            is_new
        });
    }

    pub(crate) fn stats(&self) -> NatsStats {
        NatsStats {
            skipped_messages: self.skipped.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            unconfirmed: self.unconfirmed.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        // Nothing panics while the lock is held.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_awaited(&self) -> MutexGuard<'_, HashMap<Box<str>, oneshot::Sender<u64>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of a message at their positions.
pub(crate) fn entries(
    epoch: Epoch,
    message: u64,
    events: Vec<Event>,
    accepted_at: Instant,
) -> impl Iterator<Item = LogEntry> {
    let first = first_of(message, events.len());
    events.into_iter().zip(first..).map(move |(event, at)| {
        let id = EventId::new(epoch, at);
        LogEntry::new(event.encode(id), id, accepted_at)
    })
}

/// The moment, on the clock that ages are taken from, at which the stream stored something.
pub(crate) fn instant_of(age: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

/// Looks out for a message until it is dropped.
pub(crate) struct Awaited<'a> {
    shared: &'a Shared,
    nonce: Box<str>,
    seen: oneshot::Receiver<u64>,
}

impl Awaited<'_> {
    /// Waits until the message is seen; where in the stream that is.
    pub(crate) async fn seen(&mut self) -> Option<u64> {
        (&mut self.seen).await.ok()
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.shared.lock_awaited().remove(&self.nonce);
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
