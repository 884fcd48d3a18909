//! The log on JetStream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::response::Response;
use stoat_events::{
    AppendError, AppendFuture, Appended, Attachment, Batch, Event, EventLog, EventType,
    FetchFuture, HeadWatch, LogBounds, LogEntry, NotReady, PrepareFuture, ReadLimit, ReadStatus,
    Resume,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::builder::Rules;
use crate::condition::Condition;
use crate::keeper::{Inner, keep, longest_id};
use crate::publish::{publish, unavailable};
use crate::{NatsLogBuilder, NatsStats, Servers, fetch};

/// The most bytes of events that wait for their acknowledgement; more publishers wait for room.
const MAX_WAITING: usize = 64 << 20;
/// How long a reader waits for messages that another server has shown it already.
const PREPARE: Duration = Duration::from_secs(2);
/// Between two looks whether such messages exist.
const LOOK: Duration = Duration::from_millis(250);

/// The log on NATS JetStream: any number of servers share one log, with the same IDs.
///
/// An append is acknowledged once JetStream has acknowledged it and it has come back to this
/// server. Each server follows the stream into its memory; older events are
/// [fetched](EventLog::fetch) from the stream. What others publish to the stream's subjects is
/// in the log too; what is no event is passed over and [counted](Self::stats).
///
/// A batch of nothing but `health_status` is of this server: it goes to its own readers only,
/// and is never sent to the broker.
///
/// Dropping the log ends its tasks. Readers begin with [`prepare`](EventLog::prepare).
pub struct NatsLog {
    inner: Arc<Inner>,
    room: Semaphore,
    keeper: AbortHandle,
}

impl NatsLog {
    /// Begins with the default settings.
    pub fn builder(servers: Servers) -> NatsLogBuilder {
        NatsLogBuilder::new(servers)
    }

    pub(crate) fn start(rules: Rules, servers: Servers, options: ConnectOptions) -> Self {
        let inner = Arc::new(Inner::new(rules));
        #[expect(
            clippy::disallowed_methods,
            reason = "the log's own task, behind it is no request"
        )]
        let keeper = tokio::spawn(keep(Arc::clone(&inner), servers, options));
        Self {
            inner,
            room: Semaphore::new(MAX_WAITING),
            keeper: keeper.abort_handle(),
        }
    }

    /// Waits until the stream was found or created, and read into memory.
    ///
    /// # Errors
    /// Why that will never be, as a line for the operator.
    ///
    /// # Cancel safety
    /// The opening goes on when the future is dropped.
    pub async fn opened(&self) -> Result<(), Condition> {
        let mut opened = self.inner.shared.opened.subscribe();
        let mut condition = self.condition();
        tokio::select! {
            biased;
            // Neither ends before the log does.
            _ = opened.wait_for(|opened| *opened) => Ok(()),
            ended = condition.wait_for(Condition::is_final) => match ended {
                Ok(ended) => Err(ended.clone()),
                Err(_) => Ok(()),
            },
        }
    }

    /// Follows how the log is doing.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.inner.shared.condition.subscribe()
    }

    /// What was counted so far.
    pub fn stats(&self) -> NatsStats {
        self.inner.shared.stats()
    }

    async fn append_batch(&self, batch: Batch) -> Result<Appended, AppendError> {
        let is_status = |event: &Event| *event.event_type() == EventType::HealthStatus;
        if !batch.events.is_empty() && batch.events.iter().all(is_status) {
            return self.append_locally(batch);
        }
        let id = longest_id(&self.inner);
        let bytes: usize = batch.events.iter().map(|event| event.encoded_len(id)).sum();
        let share = u32::try_from(bytes.min(MAX_WAITING)).unwrap_or(u32::MAX);
        let deadline = Instant::now() + self.inner.rules.publish_timeout;
        let room = timeout_at(deadline, self.room.acquire_many(share)).await;
        let Ok(Ok(_room)) = room else {
            return Err(unavailable("too much waits for the broker"));
        };
        let published = publish(&self.inner, batch).await;
        if let Err(AppendError::Unconfirmed { .. }) = published {
            self.inner.shared.unconfirmed.fetch_add(1, Relaxed);
        }
        published
    }

    fn append_locally(&self, batch: Batch) -> Result<Appended, AppendError> {
        let shared = &self.inner.shared;
        if !*shared.opened.borrow() {
            return Err(unavailable("the log is not open yet"));
        }
        let show = |event| shared.show_local(event);
        let receipts: Option<Vec<_>> = batch.events.into_iter().map(show).collect();
        let full = || unavailable("too many events of this server since the last of others");
        Ok(Appended {
            receipts: receipts.ok_or_else(full)?.into(),
            replayed: false,
        })
    }

    async fn prepare_for(&self, resume: &Resume) -> Result<(), NotReady> {
        let shared = &self.inner.shared;
        let deadline = Instant::now() + PREPARE;
        let mut opened = shared.opened.subscribe();
        let opening = timeout_at(deadline, opened.wait_for(|opened| *opened));
        if opening.await.is_err() {
            return Err(NotReady::new("it is not open yet"));
        }
        let Some(needed) = shared.needed_for(resume) else {
            return Ok(());
        };
        let mut reached = shared.reached.subscribe();
        let reached = reached.wait_for(|reached| *reached >= needed);
        tokio::select! {
            biased;
            _ = reached => Ok(()),
            // Then the ID is unknown, and the reader will be told.
            () = self.does_not_exist(needed) => Ok(()),
            () = tokio::time::sleep_until(deadline) => {
                Err(NotReady::new("it has not read that far yet"))
            }
        }
    }

    /// Ready once the stream has said that it never had this message.
    async fn does_not_exist(&self, message: u64) {
        loop {
            sleep(LOOK).await;
            if let Some(link) = self.inner.link()
                && let Ok(Response::Ok(info)) = self.inner.look(link).await
                && info.state.last_sequence < message
            {
                return;
            }
        }
    }
}

impl EventLog for NatsLog {
    /// Appends, and is ready once JetStream has acknowledged the events and readers here can
    /// see them; at the latest after the builder's `publish_timeout`.
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        Box::pin(self.append_batch(batch))
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        self.inner.shared.read(after, limit, out)
    }

    /// Waits as long as the broker is away.
    fn fetch(&self, after: u64, limit: ReadLimit) -> FetchFuture<'_> {
        Box::pin(fetch::fetch(&self.inner, after, limit))
    }

    fn prepare<'a>(&'a self, resume: &'a Resume) -> PrepareFuture<'a> {
        Box::pin(self.prepare_for(resume))
    }

    fn attach(&self, resume: &Resume) -> Attachment {
        self.inner.shared.attach(resume)
    }

    fn distance(&self, after: u64, to: u64) -> u64 {
        self.inner.shared.distance(after, to)
    }

    fn bounds(&self) -> LogBounds {
        self.inner.shared.bounds()
    }

    fn head(&self) -> HeadWatch {
        self.inner.shared.head.watch()
    }
}

impl Drop for NatsLog {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for NatsLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsLog")
            .field("stream", &self.inner.rules.stream.name)
            .field("bounds", &self.bounds())
            .field("condition", &*self.inner.shared.condition.borrow())
            .finish_non_exhaustive()
    }
}
