//! Setting up a log on disk.

use std::fmt;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use redb::Database;
use stoat_events::{Retention, Ring};

use crate::shared::{Clock, Shared};
use crate::store::{self, DiskFile, Pending, Rules};
use crate::writer::{Medium, Writer};
use crate::{DiskLog, OpenError, life};

const FILE: &str = "log.redb";

/// How much is retained on disk. The first bound that is reached evicts the oldest events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRetention {
    /// The most events; `None` for no bound.
    pub events: Option<u64>,
    /// The most bytes of frames; the file is larger. The newest event is retained even if it
    /// is longer.
    pub bytes: u64,
    /// The greatest age by the wall clock, looked at once a second; `None` for no bound.
    pub age: Option<Duration>,
}

/// Any number of events, 1 GiB, 7 days.
impl Default for DiskRetention {
    fn default() -> Self {
        Self {
            events: None,
            bytes: 1 << 30,
            age: Some(Duration::from_secs(7 * 24 * 60 * 60)),
        }
    }
}

/// Sets up a [`DiskLog`].
pub struct DiskLogBuilder {
    dir: PathBuf,
    retention: DiskRetention,
    memory: Retention,
    max_event: usize,
    idempotency_ttl: Duration,
    clock: Clock,
}

impl DiskLogBuilder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            retention: DiskRetention::default(),
            memory: Retention::default(),
            max_event: 64 << 10,
            idempotency_ttl: Duration::from_secs(600),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// How much is retained on disk; see [`DiskRetention`] for the default.
    pub fn retention(mut self, retention: DiskRetention) -> Self {
        self.retention = retention;
        self
    }

    /// How much of the newest is held in memory as well, so that most readers need no disk;
    /// see [`Retention`] for the default.
    pub fn memory(mut self, memory: Retention) -> Self {
        self.memory = memory;
        self
    }

    /// The longest JSON text of one event, in bytes; 64 KiB by default.
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// How long an idempotency key is remembered, over restarts too; 600 s by default. At
    /// most 200,000 receipts are kept, then the oldest keys go early.
    pub fn idempotency_ttl(mut self, ttl: Duration) -> Self {
        self.idempotency_ttl = ttl;
        self
    }

    /// The wall clock that ages on disk are taken from; [`SystemTime::now`] by default.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the log, or makes a new one where there is none, the directory included. Reads
    /// and checks all that is there, and starts a thread; blocks as long as that takes.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, damaged, or cannot be written to.
    pub fn open(self) -> Result<DiskLog, OpenError> {
        let dir = self.dir.clone();
        let io = |error| OpenError::io(&dir, error);
        fs::create_dir_all(&dir).map_err(io)?;
        let path = dir.join(FILE);
        // Held over the checks below, so that no other process is in between.
        let file = DiskFile::open(&path).map_err(io)?;
        let number = life::file_number(&path).map_err(io)?;
        File::open(&dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io)?;
        let db = checked(&dir, || store::open(file).map_err(redb::Error::from))?;
        let (at, of) = (path.clone(), dir.clone());
        let medium = Medium {
            open: Box::new(move || Ok(store::open(DiskFile::open(&at)?)?)),
            free: Box::new(move || {
                let disk = rustix::fs::statvfs(&of)?;
                Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
            }),
        };
        self.start(db, number, medium)
    }

    /// Goes on with a store that is open.
    pub(crate) fn start(
        self,
        db: Database,
        file: u64,
        medium: Medium,
    ) -> Result<DiskLog, OpenError> {
        let dir = &self.dir;
        let io = |error| OpenError::io(dir, error);
        let known = checked(dir, || store::read_meta(&db))?;
        let meta = life::begin_run(dir, known, file).map_err(io)?;
        let ring = Ring::new(meta.last, self.memory);
        let rules = Rules {
            retention: self.retention,
            max_event: self.max_event,
            key_ttl: self.idempotency_ttl,
        };
        let shared = Shared::new(db, meta, ring, Arc::clone(&self.clock));
        checked(dir, || {
            let store = shared.store.read();
            let store = store.unwrap_or_else(std::sync::PoisonError::into_inner);
            let db = store.as_ref().ok_or(redb::Error::DatabaseClosed)?;
            Pending::begin(db, meta, shared.now())?.commit()
        })?;
        life::write_mark(dir, meta.run).map_err(io)?;

        let shared = Arc::new(shared);
        let writer = Writer {
            shared: Arc::clone(&shared),
            medium,
            rules,
            failed: None,
        };
        let (sender, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("stoat-log".to_owned())
            .spawn(move || writer.run(&jobs))
            .map_err(io)?;
        Ok(DiskLog::new(shared, sender, thread))
    }
}

/// Calls into a store that is not known to be whole yet, which can make it panic.
fn checked<T>(dir: &Path, call: impl FnOnce() -> store::Result<T>) -> Result<T, OpenError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| OpenError::store(dir, error)),
        Err(_) => Err(OpenError::damaged(dir, "the store is inconsistent")),
    }
}

impl fmt::Debug for DiskLogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLogBuilder")
            .field("dir", &self.dir)
            .field("retention", &self.retention)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
