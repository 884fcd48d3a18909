//! The log in memory: a ring bounded by events, bytes and age.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

// The model tests try out in which order threads get the lock.
#[cfg(shuttle)]
use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(shuttle))]
use std::sync::{Mutex, MutexGuard};

use super::idempotency::RecentKeys;
use super::{
    AppendError, AppendFuture, Appended, Batch, EventLog, Head, HeadWatch, LogBounds, LogEntry,
    ReadLimit, ReadStatus, Receipt, Retention, Ring,
};
use crate::{Epoch, EventId};

/// Receipts remembered for idempotency keys; some 20 MB.
const MAX_REMEMBERED_RECEIPTS: usize = 200_000;

/// The log in memory: gone with the process, and new in each life.
///
/// Finding a position takes constant time, as does an append, but for what it
/// evicts. Appends and reads take one short lock.
///
/// ```
/// use serde_json::json;
/// use stoat_events::{EventLog, EventType, MemoryLog, ReadLimit, build_event};
///
/// let log = MemoryLog::default();
/// let event = build_event(EventType::ScanStarted, &json!({ "path": "/srv" }), None)?;
/// let appended = log.append_now(event.into()).unwrap();
///
/// let mut out = Vec::new();
/// let _ = log.read(0, ReadLimit { events: 10, bytes: 65_536 }, &mut out);
/// assert_eq!(out[0].id(), appended.receipts[0].event_id);
/// # Ok::<(), stoat_events::InvalidPayload>(())
/// ```
pub struct MemoryLog {
    state: Mutex<State>,
    head: Head,
    epoch: Epoch,
    max_event: usize,
    clock: Clock,
}

struct State {
    ring: Ring,
    keys: RecentKeys,
}

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

impl MemoryLog {
    /// Begins a log with other than the default settings.
    pub fn builder() -> MemoryLogBuilder {
        MemoryLogBuilder {
            retention: Retention::default(),
            max_event: 64 << 10,
            idempotency_ttl: Duration::from_secs(600),
            epoch: None,
            clock: Box::new(Instant::now),
        }
    }

    /// Appends without waiting; [`EventLog::append`] does the same.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] and [`AppendError::KeyReused`].
    pub fn append_now(&self, batch: Batch) -> Result<Appended, AppendError> {
        let now = (self.clock)();
        let mut state = self.lock();
        if let Some(key) = &batch.idempotency_key
            && let Some(receipts) = state.keys.find(key, now)?
        {
            return Ok(Appended {
                receipts,
                replayed: true,
            });
        }
        let first = self.id(state.ring.last() + 1);
        batch.check_sizes(first, self.max_event)?;

        let mut receipts = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            let id = self.id(state.ring.last() + 1);
            receipts.push(Receipt::of(&event, id));
            let entry = LogEntry::new(event.encode(id), id, now);
            state.ring.push(entry, now);
        }
        let receipts: Arc<[Receipt]> = receipts.into();
        if let Some(key) = batch.idempotency_key {
            state.keys.keep(key, Arc::clone(&receipts), now);
        }
        let last = state.ring.last();
        drop(state);
        self.head.advance(last);
        Ok(Appended {
            receipts,
            replayed: false,
        })
    }

    fn id(&self, sequence: u64) -> EventId {
        EventId::new(self.epoch, sequence)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, and the ring is whole at each step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a ring that holds nothing older than it should.
    fn lock_fresh(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.ring.evict((self.clock)());
        state
    }
}

impl EventLog for MemoryLog {
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        Box::pin(std::future::ready(self.append_now(batch)))
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        self.lock_fresh().ring.read(after, limit, out)
    }

    fn bounds(&self) -> LogBounds {
        let mut state = self.lock_fresh();
        state.keys.forget_older((self.clock)());
        LogBounds {
            epoch: self.epoch,
            first: state.ring.first(),
            last: state.ring.last(),
            bytes: state.ring.bytes(),
        }
    }

    fn head(&self) -> HeadWatch {
        self.head.watch()
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("bounds", &self.bounds())
            .finish_non_exhaustive()
    }
}

/// Sets up a [`MemoryLog`].
pub struct MemoryLogBuilder {
    retention: Retention,
    max_event: usize,
    idempotency_ttl: Duration,
    epoch: Option<Epoch>,
    clock: Clock,
}

impl MemoryLogBuilder {
    /// How much is retained; see [`Retention`] for the default.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The longest JSON text of one event, in bytes; 64 KiB by default.
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// How long an idempotency key is remembered; 600 s by default. At most
    /// 200,000 receipts are kept, then the oldest keys go early.
    pub fn idempotency_ttl(mut self, ttl: Duration) -> Self {
        self.idempotency_ttl = ttl;
        self
    }

    /// The epoch; a random one by default.
    pub fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// The clock that ages are taken from; [`Instant::now`] by default.
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Makes the log.
    pub fn build(self) -> MemoryLog {
        let state = State {
            ring: Ring::new(0, self.retention),
            keys: RecentKeys::new(self.idempotency_ttl, MAX_REMEMBERED_RECEIPTS),
        };
        MemoryLog {
            state: Mutex::new(state),
            head: Head::new(0),
            epoch: self.epoch.unwrap_or_else(Epoch::random),
            max_event: self.max_event,
            clock: self.clock,
        }
    }
}

impl fmt::Debug for MemoryLogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLogBuilder")
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, shuttle))]
#[path = "memory_model.rs"]
mod model;
#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
