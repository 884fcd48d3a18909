//! The log on disk.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use stoat_events::{
    AppendFuture, Batch, Epoch, EventId, EventLog, FetchFuture, HeadWatch, LogBounds, LogEntry,
    ReadLimit, ReadStatus,
};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::shared::{Condition, Shared};
use crate::writer::{Job, unavailable};
use crate::{DiskLogBuilder, OpenError};

/// The most bytes of events that wait to be written; more publishers wait for room.
const MAX_WAITING: usize = 64 << 20;

/// The log on disk: an append is acknowledged once it is synced, and what was acknowledged is
/// there after a crash, at the same position.
///
/// One thread writes. What is appended while it syncs goes to disk with the next sync, all
/// together. The newest events are in memory as well, where [`read`](EventLog::read) finds
/// them without the disk; older ones are [fetched](EventLog::fetch) by the runtime's threads
/// for blocking work, four at a time.
///
/// Dropping the log writes what was appended, and closes it; that waits for the disk.
pub struct DiskLog {
    shared: Arc<Shared>,
    /// Nothing only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    room: Arc<Semaphore>,
}

impl DiskLog {
    /// Opens the log in a directory with the default settings.
    ///
    /// # Errors
    /// As [`DiskLogBuilder::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder(dir).open()
    }

    /// Begins with other than the default settings.
    pub fn builder(dir: impl AsRef<Path>) -> DiskLogBuilder {
        DiskLogBuilder::new(dir.as_ref())
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        jobs: mpsc::Sender<Job>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self {
            shared,
            jobs: Some(jobs),
            thread: Some(thread),
            room: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    /// Follows how the log is doing.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.shared.condition.subscribe()
    }

    async fn append_batch(&self, batch: Batch) -> crate::store::Outcome {
        let gone = || unavailable("the thread that writes is gone");
        let bytes = length(&batch);
        let share = u32::try_from(bytes.min(MAX_WAITING)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(share).await;
        let (answer, answered) = oneshot::channel();
        let job = Job {
            batch,
            bytes,
            answer,
            room: room.map_err(|_| gone())?,
        };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The length of all events as JSON, as long as an ID can be.
fn length(batch: &Batch) -> usize {
    let id = EventId::new(Epoch::from_u64(0), u64::MAX);
    let events = batch.events.iter();
    events.map(|event| event.encoded_len(id)).sum()
}

impl EventLog for DiskLog {
    /// Appends, and is ready once the events are on disk. A publish that was not acknowledged
    /// since the process ended may be in the log or not.
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        Box::pin(self.append_batch(batch))
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        self.shared.read(after, limit, out)
    }

    /// # Panics
    /// Outside of a tokio runtime.
    fn fetch(&self, after: u64, limit: ReadLimit) -> FetchFuture<'_> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let Ok(turn) = Arc::clone(&shared.readers).acquire_owned().await else {
                return Vec::new();
            };
            let read = move || {
                let entries = shared.read_store(after, limit);
                drop(turn);
                entries
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "what is read belongs to no request"
            )]
            let reading = tokio::task::spawn_blocking(read);
            // It does not panic; it is cancelled where the runtime ends.
            reading.await.unwrap_or_default()
        })
    }

    fn bounds(&self) -> LogBounds {
        self.shared.bounds()
    }

    fn head(&self) -> HeadWatch {
        self.shared.head.watch()
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has caught whatever panicked.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog")
            .field("bounds", &self.bounds())
            .field("condition", &*self.shared.condition.borrow())
            .finish_non_exhaustive()
    }
}
