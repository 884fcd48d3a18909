//! The one thread that writes: it gathers what waits, and shares one sync among all of it.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;
use stoat_events::{AppendError, Batch, EventType, LogEntry};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::shared::{Condition, Shared};
use crate::store::{self, Meta, Outcome, Pending, Result, Rules};

/// How often old events are let go, and a full disk is looked at again, without a publish.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// The most events and bytes of one commit; a batch is never divided.
const MAX_GROUP: usize = 4096;
const MAX_GROUP_BYTES: usize = 4 << 20;
/// As many as the last group had are waited for, for this part of the time that it took: those
/// who were just answered are about to publish again, and would else wait for a group of their
/// own, so that each waits for two syncs.
const PATIENCE: u32 = 8;
const MOST_PATIENCE: Duration = Duration::from_millis(2);
/// What is left free on the disk, so that evicting and telling of the full disk still work.
const RESERVE: u64 = 2 << 20;
/// What one byte of events takes on disk at most, until what it replaces is free again.
const WRITTEN_PER_BYTE: u64 = 3;
/// When a publish to a full disk may be tried again.
const RETRY_FULL: Duration = Duration::from_secs(5);
/// The same for one that failed, which only a restart ends.
const RETRY_FAILED: Duration = Duration::from_secs(30);

/// A batch that waits to be written.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Outcome>,
    /// Its share of the memory for what waits.
    pub(crate) room: OwnedSemaphorePermit,
}

/// Where the store is.
pub(crate) struct Medium {
    /// Opens it, again where it was closed.
    pub(crate) open: Box<dyn Fn() -> Result<Database> + Send>,
    /// Bytes that are free on the disk.
    pub(crate) free: Box<dyn Fn() -> io::Result<u64> + Send>,
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) medium: Medium,
    pub(crate) rules: Rules,
    pub(crate) failed: Option<String>,
}

/// How the next group is gathered.
#[derive(Default)]
struct Pace {
    /// How many jobs the last one had.
    jobs: usize,
    /// How long the next one waits for as many.
    patience: Duration,
}

/// What one commit changed.
struct Done {
    outcomes: Vec<Outcome>,
    entries: Vec<LogEntry>,
    meta: Meta,
    /// There is more to evict.
    more: bool,
}

impl Writer {
    /// Writes until all senders are gone, then closes the store.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut house_due = Instant::now() + HOUSEKEEPING;
        let mut pace = Pace::default();
        loop {
            let wait = house_due.saturating_duration_since(Instant::now());
            let mut more = false;
            match jobs.recv_timeout(wait) {
                Ok(first) => {
                    let group = gather(first, jobs, &pace);
                    let (jobs, begun) = (group.len(), Instant::now());
                    more = self.write(group);
                    pace = Pace {
                        jobs,
                        patience: (begun.elapsed() / PATIENCE).min(MOST_PATIENCE),
                    };
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if more {
                house_due = now;
            }
            if house_due <= now {
                let more = self.keep_house();
                house_due = now + if more { Duration::ZERO } else { HOUSEKEEPING };
            }
        }
        if let Some(Err(error)) = self.close() {
            tracing::warn!(%error, "the log was not closed cleanly; it will be checked when it is opened");
        }
    }

    /// Writes a group with one sync and answers. Says whether there is more to evict.
    fn write(&mut self, group: Vec<Job>) -> bool {
        let bytes: usize = group.iter().map(|job| job.bytes).sum();
        let is_status = |job: &Job| {
            let mut events = job.batch.events.iter();
            events.all(|event| *event.event_type() == EventType::HealthStatus)
        };
        // Clients are to learn that the disk is full.
        let reserve = match group.iter().all(is_status) {
            true => RESERVE / 2,
            false => RESERVE,
        };
        let room = self.has_room(reserve + WRITTEN_PER_BYTE * bytes as u64);
        if room.is_err() && group.len() > 1 {
            // One by one some of them may fit.
            let each = group.into_iter().map(|job| self.write(vec![job]));
            return each.fold(false, |more, also| more | also);
        }
        let mut waiting = Vec::with_capacity(group.len());
        let mut batches = Vec::with_capacity(group.len());
        for job in group {
            batches.push(job.batch);
            waiting.push((job.answer, job.room));
        }
        let done = room.and_then(|()| self.commit(batches));
        let (outcomes, more) = match done {
            Ok(done) => {
                self.shared.committed(done.meta, done.entries);
                (done.outcomes, done.more)
            }
            Err(refusal) => (vec![Err(refusal); waiting.len()], false),
        };
        for ((answer, room), outcome) in waiting.into_iter().zip(outcomes) {
            // Who asked may have gone away.
            let _ = answer.send(outcome);
            drop(room);
        }
        more
    }

    /// Lets go of what has become too old. Says whether there is more of it.
    fn keep_house(&mut self) -> bool {
        // With room for publishes again, the disk counts as full no more.
        let has_room = self.has_room(RESERVE).is_ok();
        if !has_room && self.has_room(RESERVE / 4).is_err() {
            return false;
        }
        match self.commit(Vec::new()) {
            Ok(done) => {
                self.shared.committed(done.meta, done.entries);
                done.more
            }
            Err(_) => false,
        }
    }

    /// Puts batches on disk, and evicts.
    fn commit(&mut self, batches: Vec<Batch>) -> Result<Done, AppendError> {
        let (shared, rules) = (&self.shared, &self.rules);
        let attempt = || -> Result<Done> {
            let store = shared.store.read().unwrap_or_else(PoisonError::into_inner);
            let db = store.as_ref().ok_or(redb::Error::DatabaseClosed)?;
            let before = shared.meta();
            let mut pending = Pending::begin(db, before, shared.now())?;
            let outcomes = pending.append(batches, rules)?;
            let more = pending.evict(rules)?;
            let (meta, entries) = (pending.meta, std::mem::take(&mut pending.entries));
            if pending.is_empty(&before) {
                pending.abort()?;
            } else {
                shared.will_evict(meta.first);
                pending.commit()?;
            }
            Ok(Done {
                outcomes,
                entries,
                meta,
                more,
            })
        };
        // A page that is damaged can make the store panic.
        match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.fall(error)),
            Err(_) => Err(self.fail("the store is inconsistent".to_owned())),
        }
    }

    /// Makes sure that there is a store, and so much room on its disk.
    fn has_room(&mut self, bytes: u64) -> Result<(), AppendError> {
        if let Some(reason) = &self.failed {
            return Err(unavailable(reason));
        }
        // What cannot be told is tried.
        if (self.medium.free)().is_ok_and(|free| free < bytes) {
            return Err(self.fill());
        }
        if self.shared.is_away() {
            self.reopen()?;
        }
        if bytes >= RESERVE {
            self.shared.set_trouble(Condition::Good);
        }
        Ok(())
    }

    /// A commit failed. A store that has seen an error is of no use any more.
    fn fall(&mut self, error: redb::Error) -> AppendError {
        self.shared.set_away(true);
        if !is_full(&error) {
            return self.fail(error.to_string());
        }
        let refusal = self.fill();
        match self.reopen() {
            Ok(()) => refusal,
            Err(error) => error,
        }
    }

    /// Replaces the store, which has to be where readers were told that it is.
    fn reopen(&mut self) -> Result<(), AppendError> {
        if let Some(Err(error)) = self.close() {
            tracing::debug!(%error, "closing a store that failed");
        }
        let shown = self.shared.meta();
        let open = || -> Result<(Database, Option<Meta>)> {
            let db = (self.medium.open)()?;
            let meta = store::read_meta(&db)?;
            Ok((db, meta))
        };
        let (db, meta) = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) if is_full(&error) => return Err(self.fill()),
            Ok(Err(error)) => return Err(self.fail(error.to_string())),
            Err(_) => return Err(self.fail("the store is inconsistent".to_owned())),
        };
        match meta {
            Some(meta) if meta.last == shown.last && meta.epoch == shown.epoch => {
                // What was shown as evicted stays so; the next commit evicts it again.
                let first = meta.first.max(shown.first);
                self.shared.committed(Meta { first, ..meta }, Vec::new());
                *self.store_mut() = Some(db);
                self.shared.set_away(false);
                Ok(())
            }
            _ => Err(self.fail("the store does not end where it should".to_owned())),
        }
    }

    fn close(&self) -> Option<Result<(), redb::DatabaseError>> {
        let db = self.store_mut().take()?;
        catch_unwind(AssertUnwindSafe(|| db.close())).ok()
    }

    fn store_mut(&self) -> std::sync::RwLockWriteGuard<'_, Option<Database>> {
        let store = &self.shared.store;
        store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self) -> AppendError {
        if *self.shared.condition.borrow() != Condition::Full {
            tracing::error!(
                "the disk of the log is full; publishes are refused until there is room"
            );
        }
        self.shared.set_trouble(Condition::Full);
        AppendError::StorageFull {
            retry_after: RETRY_FULL,
        }
    }

    fn fail(&mut self, reason: String) -> AppendError {
        tracing::error!(%reason, "the log has failed; it takes no events until a restart");
        self.shared.set_away(true);
        self.shared.set_trouble(Condition::Failed(reason.clone()));
        let refusal = unavailable(&reason);
        self.failed = Some(reason);
        refusal
    }
}

/// The first job and those that wait behind it, or are about to, as many as one commit takes.
fn gather(first: Job, jobs: &Receiver<Job>, pace: &Pace) -> Vec<Job> {
    let (mut events, mut bytes) = (first.batch.events.len(), first.bytes);
    let mut group = vec![first];
    let until = Instant::now() + pace.patience;
    while events < MAX_GROUP && bytes < MAX_GROUP_BYTES {
        let wait = match group.len() < pace.jobs {
            true => until.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        };
        let next = jobs.try_recv().or_else(|_| jobs.recv_timeout(wait));
        let Ok(job) = next else { break };
        events += job.batch.events.len();
        bytes += job.bytes;
        group.push(job);
    }
    group
}

fn is_full(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    ))
}

pub(crate) fn unavailable(reason: &str) -> AppendError {
    AppendError::Unavailable {
        reason: reason.to_owned(),
        retry_after: RETRY_FAILED,
    }
}
