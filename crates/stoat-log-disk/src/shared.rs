//! What the log, its writer and its readers share.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use redb::Database;
use stoat_events::{Head, LogBounds, LogEntry, ReadLimit, ReadStatus, Ring};
use tokio::sync::{Semaphore, watch};

use crate::store::{self, Found, Meta, Now};

/// Reads from disk at a time; what they bring is the most that readers hold beside the ring.
const READERS: usize = 4;

/// How the log is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// All is well.
    Good,
    /// The disk is full; the log takes events again when there is room.
    Full,
    /// Events could not be read as they were written. They are not served: their readers
    /// are told of a gap. The log goes on.
    Damaged,
    /// A write or a sync failed, for this reason. The log takes no events until it is
    /// opened again, and serves those in memory only.
    Failed(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("ok"),
            Self::Full => f.write_str("the disk is full"),
            Self::Damaged => f.write_str("events on disk are damaged"),
            Self::Failed(reason) => write!(f, "failed until a restart: {reason}"),
        }
    }
}

pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

pub(crate) struct Shared {
    recent: Mutex<Recent>,
    /// Nothing while it cannot be used. Locked by readers, and by the writer to replace it.
    pub(crate) store: RwLock<Option<Database>>,
    pub(crate) head: Head,
    pub(crate) condition: watch::Sender<Condition>,
    pub(crate) readers: Arc<Semaphore>,
    clock: Clock,
}

/// What readers see.
struct Recent {
    ring: Ring,
    /// As of the last commit, but for `first`, which is ahead of a commit that evicts.
    meta: Meta,
    /// Events before this one cannot be read.
    floor: u64,
    /// Nothing can be read from disk.
    is_away: bool,
    /// Of the writer.
    trouble: Condition,
}

impl Recent {
    fn first(&self) -> u64 {
        match self.is_away {
            true => self.ring.first(),
            false => self.meta.first.max(self.floor),
        }
    }
}

impl Shared {
    pub(crate) fn new(store: Database, meta: Meta, ring: Ring, clock: Clock) -> Self {
        Self {
            recent: Mutex::new(Recent {
                ring,
                meta,
                floor: 0,
                is_away: false,
                trouble: Condition::Good,
            }),
            store: RwLock::new(Some(store)),
            head: Head::new(meta.last),
            condition: watch::Sender::new(Condition::Good),
            readers: Arc::new(Semaphore::new(READERS)),
            clock,
        }
    }

    pub(crate) fn now(&self) -> Now {
        let since = (self.clock)().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        Now {
            wall: u64::try_from(millis).unwrap_or(u64::MAX),
            instant: Instant::now(),
        }
    }

    pub(crate) fn meta(&self) -> Meta {
        self.lock().meta
    }

    /// Before a commit that evicts: who looks into the store and finds nothing there must
    /// find here that it is gone.
    pub(crate) fn will_evict(&self, first: u64) {
        let mut recent = self.lock();
        recent.meta.first = recent.meta.first.max(first);
    }

    /// After a commit: shows what is on disk now.
    pub(crate) fn committed(&self, meta: Meta, entries: Vec<LogEntry>) {
        let now = Instant::now();
        let mut recent = self.lock();
        for entry in entries {
            recent.ring.push(entry, now);
        }
        recent.meta = meta;
        drop(recent);
        self.head.advance(meta.last);
    }

    /// From now on nothing is read from disk, or again.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    pub(crate) fn is_away(&self) -> bool {
        self.lock().is_away
    }

    /// Notes how the writer is doing.
    pub(crate) fn set_trouble(&self, trouble: Condition) {
        let mut recent = self.lock();
        recent.trouble = trouble;
        self.tell(&recent);
    }

    fn tell(&self, recent: &Recent) {
        let condition = match &recent.trouble {
            Condition::Good if recent.floor > 0 => Condition::Damaged,
            trouble => trouble.clone(),
        };
        self.condition.send_if_modified(|told| {
            let is_new = *told != condition;
            *told = condition;
            is_new
        });
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        let mut recent = self.lock();
        recent.ring.evict(Instant::now());
        LogBounds {
            epoch: recent.meta.epoch,
            first: recent.first(),
            last: recent.meta.last,
            bytes: match recent.is_away {
                true => recent.ring.bytes(),
                false => recent.meta.bytes,
            },
        }
    }

    pub(crate) fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        let mut recent = self.lock();
        recent.ring.evict(Instant::now());
        let next = after.saturating_add(1);
        if next < recent.first() {
            ReadStatus::Evicted
        } else if next < recent.ring.first() {
            ReadStatus::Stored
        } else {
            recent.ring.read(after, limit, out)
        }
    }

    /// Reads from disk; nothing where [`read`](Self::read) now says that it is gone, and while
    /// the store is being replaced.
    pub(crate) fn read_store(&self, after: u64, limit: ReadLimit) -> Vec<LogEntry> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = &*store else {
            return Vec::new();
        };
        let (meta, now) = (self.meta(), self.now());
        // A page that is damaged can make the store panic.
        let read = || store::read(db, &meta, after, limit, now);
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(Found::Entries(entries))) => return entries,
            Ok(Ok(Found::Damaged(next))) => self.is_damaged(after, next, &"a checksum is wrong"),
            // The writer is about to say so.
            Ok(Err(redb::Error::PreviousIo | redb::Error::DatabaseClosed)) => {}
            Ok(Err(error)) => self.is_damaged(after, u64::MAX, &error),
            Err(_) => self.is_damaged(after, u64::MAX, &"the store is inconsistent"),
        }
        Vec::new()
    }

    /// What follows `after` cannot be read; `next` may be good, or is in memory.
    fn is_damaged(&self, after: u64, next: u64, cause: &dyn fmt::Display) {
        let mut recent = self.lock();
        if after + 1 < recent.first() {
            // It was evicted meanwhile.
            return;
        }
        let next = next.min(recent.ring.first());
        tracing::error!(
            from = after + 1,
            to = next - 1,
            %cause,
            "events on disk are damaged; their readers, and those of older ones, get a gap"
        );
        recent.floor = recent.floor.max(next);
        self.tell(&recent);
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        // Nothing panics while the lock is held.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
