//! The log in memory: a ring bounded by events, bytes and age.

use std::collections::VecDeque;
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
    ReadLimit, ReadStatus, Receipt,
};
use crate::{Epoch, EventId};

/// Receipts remembered for idempotency keys; some 20 MB.
const MAX_REMEMBERED_RECEIPTS: usize = 200_000;

/// How much a [`MemoryLog`] retains. The first bound that is reached evicts the
/// oldest events; readers that still needed them are told of a gap.
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
    ring: Mutex<Ring>,
    head: Head,
    retention: Retention,
    max_event: usize,
    clock: Clock,
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
        let mut ring = self.lock();
        if let Some(key) = &batch.idempotency_key
            && let Some(receipts) = ring.keys.find(key, now)?
        {
            return Ok(Appended {
                receipts,
                replayed: true,
            });
        }
        self.check_sizes(&batch, &ring)?;

        let mut receipts = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            ring.last += 1;
            let id = EventId::new(ring.epoch, ring.last);
            receipts.push(Receipt {
                event_id: id,
                timestamp: event.timestamp(),
                correlation_id: event.correlation_id().cloned(),
            });
            ring.push(LogEntry::new(event.encode(id), id, now));
            ring.evict(&self.retention, now);
        }
        let receipts: Arc<[Receipt]> = receipts.into();
        if let Some(key) = batch.idempotency_key {
            ring.keys.keep(key, Arc::clone(&receipts), now);
        }
        let last = ring.last;
        drop(ring);
        self.head.advance(last);
        Ok(Appended {
            receipts,
            replayed: false,
        })
    }

    fn check_sizes(&self, batch: &Batch, ring: &Ring) -> Result<(), AppendError> {
        for (index, event) in batch.events.iter().enumerate() {
            let len = event.encoded_len(EventId::new(ring.epoch, ring.last + 1 + index as u64));
            if len > self.max_event {
                return Err(AppendError::TooLarge {
                    index,
                    len,
                    max: self.max_event,
                });
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while the lock is held, and the ring is whole at each step.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a ring that holds nothing older than it should.
    fn lock_fresh(&self) -> MutexGuard<'_, Ring> {
        let mut ring = self.lock();
        ring.evict(&self.retention, (self.clock)());
        ring
    }
}

impl EventLog for MemoryLog {
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        Box::pin(std::future::ready(self.append_now(batch)))
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        let ring = self.lock_fresh();
        let first = ring.first();
        let next = after.saturating_add(1);
        if next < first {
            return ReadStatus::Evicted;
        }
        let mut bytes = 0;
        let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
        for entry in ring.entries.iter().skip(skip).take(limit.events.max(1)) {
            out.push(entry.clone());
            bytes += entry.encoded().ws_frame().len();
            if bytes >= limit.bytes {
                break;
            }
        }
        ReadStatus::Read
    }

    fn bounds(&self) -> LogBounds {
        let mut ring = self.lock_fresh();
        ring.keys.forget_older((self.clock)());
        LogBounds {
            epoch: ring.epoch,
            first: ring.first(),
            last: ring.last,
            bytes: ring.bytes,
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
        self.retention = Retention {
            events: retention.events.max(1),
            ..retention
        };
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
        let ring = Ring {
            epoch: self.epoch.unwrap_or_else(Epoch::random),
            entries: VecDeque::new(),
            last: 0,
            bytes: 0,
            keys: RecentKeys::new(self.idempotency_ttl, MAX_REMEMBERED_RECEIPTS),
        };
        MemoryLog {
            ring: Mutex::new(ring),
            head: Head::new(0),
            retention: self.retention,
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

/// The events `last + 1 - entries.len() ..= last`, contiguous.
struct Ring {
    epoch: Epoch,
    entries: VecDeque<LogEntry>,
    last: u64,
    bytes: u64,
    keys: RecentKeys,
}

impl Ring {
    fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    fn push(&mut self, entry: LogEntry) {
        self.bytes += entry.encoded().ws_frame().len() as u64;
        self.entries.push_back(entry);
    }

    fn evict(&mut self, retention: &Retention, now: Instant) {
        while let Some(oldest) = self.entries.front() {
            let too_old = |age| now.saturating_duration_since(oldest.accepted_at()) >= age;
            let over = self.entries.len() > retention.events
                || (self.bytes > retention.bytes && self.entries.len() > 1)
                || retention.age.is_some_and(too_old);
            if !over {
                break;
            }
            self.bytes -= oldest.encoded().ws_frame().len() as u64;
            self.entries.pop_front();
        }
    }
}

#[cfg(all(test, shuttle))]
#[path = "memory_model.rs"]
mod model;
#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
