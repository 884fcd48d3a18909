//! The ordered log of events, and what its readers and engines agree on.

mod batch;
mod bounds;
mod head;
mod idempotency;
mod memory;
mod ring;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

pub use batch::{AppendError, Appended, Batch, Receipt};
pub use bounds::{Attachment, LogBounds, NotReady, Resume};
pub use head::{Head, HeadWatch, LogClosed};
pub use idempotency::{IdempotencyKey, InvalidIdempotencyKey};
pub use memory::{MemoryLog, MemoryLogBuilder};
pub use ring::{Retention, Ring};

use crate::{EncodedEvent, EventId};

/// What [`EventLog::append`] returns; boxed, so that a hub can hold any log.
pub type AppendFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send + 'a>>;

/// What [`EventLog::fetch`] returns.
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Vec<LogEntry>> + Send + 'a>>;

/// What [`EventLog::prepare`] returns.
pub type PrepareFuture<'a> = Pin<Box<dyn Future<Output = Result<(), NotReady>> + Send + 'a>>;

/// An ordered log of encoded events that any number of readers follow, each with
/// a cursor of its own: the sequence number of the last event it has had.
///
/// What every engine guarantees:
/// - sequence numbers rise, from 1 on, and an engine may leave numbers out; all
///   readers see one order, the order in which appends were acknowledged;
/// - a batch is appended whole and contiguous, or not at all;
/// - an event is readable before its append is acknowledged, and the
///   [head](Self::head) moves after it became readable;
/// - a reader that is behind the oldest retained event is told so
///   ([`ReadStatus::Evicted`]), never silently moved;
/// - no reader waits for a disk in [`read`](Self::read).
///
/// [`MemoryLog`] is the engine in this crate.
pub trait EventLog: Send + Sync + 'static {
    /// Appends a batch: numbers it, stores it and makes it visible in one step.
    ///
    /// # Errors
    /// [`AppendError`]; then nothing of the batch is in the log, but for
    /// [`AppendError::Unconfirmed`].
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves the batch whole in the log
    /// or not in it at all. Repeat with the same [`IdempotencyKey`] to find out.
    fn append(&self, batch: Batch) -> AppendFuture<'_>;

    /// Copies references to the events after sequence `after` to the end of
    /// `out`, oldest first, as many as `limit` allows and at least one if there
    /// is one. Never blocks for long.
    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus;

    /// As [`read`](Self::read), of events that are not in memory, which takes as long as
    /// the disk does. It may bring fewer events than there are, and brings none only
    /// where `read` now has another answer than [`ReadStatus::Stored`].
    ///
    /// A log in memory has no use for it, and needs not implement it.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    fn fetch(&self, after: u64, limit: ReadLimit) -> FetchFuture<'_> {
        Box::pin(async move {
            let mut entries = Vec::new();
            let _ = self.read(after, limit, &mut entries);
            entries
        })
    }

    /// Waits until the log can tell where a reader of this kind begins. A log that others
    /// append to as well may not have got so far yet. To be called before
    /// [`attach`](Self::attach) by whoever can wait; bounded in time.
    ///
    /// # Errors
    /// [`NotReady`]: the log cannot tell at present.
    fn prepare<'a>(&'a self, resume: &'a Resume) -> PrepareFuture<'a> {
        let _ = resume;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Finds where a reader begins.
    fn attach(&self, resume: &Resume) -> Attachment {
        self.bounds().attach(resume)
    }

    /// How many events there are after the position `after` up to `to`; an estimate, where
    /// an engine leaves numbers out.
    fn distance(&self, after: u64, to: u64) -> u64 {
        to.saturating_sub(after)
    }

    /// What is retained now.
    fn bounds(&self) -> LogBounds;

    /// Follows the newest sequence number.
    fn head(&self) -> HeadWatch;
}

/// Bounds one [`EventLog::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// The most events.
    pub events: usize,
    /// Stop after the event that reaches this many bytes of frames.
    pub bytes: usize,
}

/// How an [`EventLog::read`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ReadStatus {
    /// Everything that follows the cursor, up to the limit, is in `out`; nothing
    /// if the reader has caught up.
    Read,
    /// The log has moved past the cursor; nothing was read. The events from the
    /// oldest retained one on are there.
    Evicted,
    /// What follows the cursor is retained, but not in memory; nothing was read.
    /// [`EventLog::fetch`] gets it.
    Stored,
}

/// One event of a log; a reference to shared bytes, cheap to clone.
#[derive(Clone)]
pub struct LogEntry(Arc<Entry>);

struct Entry {
    encoded: EncodedEvent,
    id: EventId,
    accepted_at: Instant,
}

impl LogEntry {
    /// An entry for an event at its position; for implementors of a log.
    pub fn new(encoded: EncodedEvent, id: EventId, accepted_at: Instant) -> Self {
        Self(Arc::new(Entry {
            encoded,
            id,
            accepted_at,
        }))
    }

    /// The event's ID.
    pub fn id(&self) -> EventId {
        self.0.id
    }

    /// The event's position.
    pub fn sequence(&self) -> u64 {
        self.0.id.sequence()
    }

    /// The event's bytes.
    pub fn encoded(&self) -> &EncodedEvent {
        &self.0.encoded
    }

    /// When the log accepted the event.
    pub fn accepted_at(&self) -> Instant {
        self.0.accepted_at
    }
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEntry")
            .field("id", &self.0.id)
            .field("encoded", &self.0.encoded)
            .finish()
    }
}
