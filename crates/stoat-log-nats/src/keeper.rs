//! The background of a log: it connects, opens the stream, has it followed, and looks after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, RequestError};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{self};
use async_nats::{Client, ClientError, ConnectOptions, Event};
use stoat_events::{EventId, LogEntry};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::builder::Rules;
use crate::condition::Condition;
use crate::follow;
use crate::pack::Packer;
use crate::shared::Shared;
use crate::stream::{NoStream, epoch, is_not_found, told};
use crate::{Servers, position};

/// For one question to JetStream.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);
/// Between two looks at the stream.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to open the stream.
const ATTEMPT: Duration = Duration::from_millis(250);
/// Between two attempts to connect, at most.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// A connection over which nothing comes for some two of these is dropped.
const PING: Duration = Duration::from_secs(2);
/// What is final is believed after so many looks: a cluster that has just begun may not know
/// its streams yet, and a new leader not its last messages.
const LOOKS: u32 = 5;

/// What the tasks and the users of a log share.
pub(crate) struct Inner {
    pub(crate) rules: Rules,
    pub(crate) shared: Shared,
    link: OnceLock<Link>,
    /// The consumer of the follower is alive.
    pub(crate) is_followed: AtomicBool,
    /// How often a connection was made.
    pub(crate) connects: watch::Sender<u64>,
    /// There is something to look at.
    pub(crate) changed: Notify,
    trouble: Mutex<String>,
    pub(crate) packer: Packer,
}

/// The connection to the broker.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) context: Context,
}

impl Link {
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

impl Inner {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            shared: Shared::new(rules.memory),
            rules,
            link: OnceLock::new(),
            is_followed: AtomicBool::new(false),
            connects: watch::Sender::new(0),
            changed: Notify::new(),
            trouble: Mutex::default(),
            packer: Packer::default(),
        }
    }

    /// The connection, while it is up.
    pub(crate) fn link(&self) -> Option<&Link> {
        self.link.get().filter(|link| link.is_connected())
    }

    /// What there is to know of the stream now.
    pub(crate) async fn look(&self, link: &Link) -> Result<Response<Info>, RequestError> {
        let subject = format!("STREAM.INFO.{}", self.rules.stream.name);
        link.context.request(subject, &()).await
    }

    fn heard(&self, event: &Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to the broker");
                self.connects.send_modify(|connects| *connects += 1);
                self.note(String::new());
            }
            Event::Disconnected => tracing::warn!("the broker cannot be reached"),
            Event::ServerError(error) => tracing::warn!(%error, "the broker says"),
            Event::ClientError(ClientError::Other(error)) => self.note(error.clone()),
            event => tracing::debug!(%event, "of the connection to the broker"),
        }
        self.changed.notify_one();
    }

    /// Notes why there is no connection; told once as long as it stays the same.
    fn note(&self, trouble: String) {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != trouble && !trouble.is_empty() {
            tracing::warn!(error = %trouble, "the broker cannot be reached");
        }
        *noted = trouble;
    }

    fn unreachable(&self) -> Condition {
        Condition::Away("the broker cannot be reached".to_owned())
    }
}

/// Runs until the log is dropped, or has ended.
pub(crate) async fn keep(inner: Arc<Inner>, servers: Servers, options: ConnectOptions) {
    let listener = Arc::downgrade(&inner);
    let options = options
        .name("stoat")
        .retry_on_initial_connect()
        .connection_timeout(ANSWER)
        .ping_interval(PING)
        .request_timeout(None)
        .reconnect_delay_callback(|attempts| {
            let doubled = Duration::from_millis(10) * (1 << attempts.min(6)) as u32;
            doubled.min(LONGEST_DELAY)
        })
        .event_callback(move |event| {
            if let Some(inner) = listener.upgrade() {
                inner.heard(&event);
            }
            std::future::ready(())
        });
    let client = match options.connect(servers.addresses()).await {
        Ok(client) => client,
        Err(error) => {
            let reason = format!("the broker cannot be connected to: {error}");
            inner.shared.set_condition(Condition::Ended(reason));
            return;
        }
    };
    let context = jetstream::ContextBuilder::new()
        .timeout(ANSWER)
        .build(client.clone());
    let link = inner.link.get_or_init(|| Link { client, context });
    let Some(info) = open(&inner, link).await else {
        return;
    };
    let goal = info.state.last_sequence;
    let after = begin(&inner, &info);
    let reading = async {
        let mut reached = inner.shared.reached.subscribe();
        // Ends with the log.
        let _ = reached.wait_for(|reached| *reached >= goal).await;
        inner.changed.notify_one();
        std::future::pending().await
    };
    tokio::select! {
        () = reading => {}
        () = follow::follow(&inner, link, after) => {}
        () = watch(&inner, link, goal) => {}
    }
}

/// Finds or creates the stream, however long it takes. Nothing where it cannot be used.
async fn open(inner: &Inner, link: &Link) -> Option<Info> {
    // Told once as long as it stays the same.
    let mut told = String::new();
    loop {
        let condition = if !link.is_connected() {
            inner.unreachable()
        } else {
            match timeout(2 * ANSWER, inner.rules.stream.open(&link.context)).await {
                Ok(Ok(info)) => return Some(info),
                Ok(Err(NoStream::Ever(reason))) => {
                    tracing::error!("{reason}");
                    inner.shared.set_condition(Condition::Ended(reason));
                    return None;
                }
                Ok(Err(NoStream::Yet(reason))) => {
                    if reason != told {
                        tracing::warn!(%reason, "the stream cannot be opened yet");
                        told = reason;
                    }
                    Condition::Away("the stream cannot be opened yet".to_owned())
                }
                Err(_) => Condition::Away("the stream does not answer".to_owned()),
            }
        };
        inner.shared.set_condition(condition);
        tokio::select! {
            () = sleep(ATTEMPT) => {}
            () = inner.changed.notified() => {}
        }
    }
}

/// Decides with which message the memory of this server begins: as many of the newest as it
/// is likely to hold. Returns the one before.
fn begin(inner: &Inner, info: &Info) -> u64 {
    let (state, memory) = (&info.state, inner.rules.memory);
    let oldest = oldest(info);
    let each = state.bytes / state.messages.max(1);
    let fits = (memory.events as u64).min(memory.bytes / each.max(1));
    let after = state.last_sequence.saturating_sub(fits).max(oldest - 1);
    inner.shared.begin(epoch(info), oldest, after);
    after
}

/// The oldest message that the stream has, or will have.
pub(crate) fn oldest(info: &Info) -> u64 {
    match info.state.messages {
        0 => info.state.last_sequence + 1,
        _ => info.state.first_sequence.max(1),
    }
}

/// Looks at the stream again and again; the log is open when it was read up to the message
/// `goal`, and all is well. Ends where the log has.
async fn watch(inner: &Inner, link: &Link, goal: u64) {
    let mut odd_looks = 0;
    let mut last_before = goal;
    loop {
        let reached = *inner.shared.reached.borrow();
        let mut is_odd = None;
        let condition = if !link.is_connected() {
            inner.unreachable()
        } else {
            match inner.look(link).await {
                Ok(Response::Ok(info)) if epoch(&info) != inner.shared.epoch() => {
                    Condition::Ended("the stream was deleted, and created again".to_owned())
                }
                Ok(Response::Ok(info)) if info.state.last_sequence < reached => {
                    is_odd = Some(Condition::Failed(
                        "the stream has lost messages that it had acknowledged".to_owned(),
                    ));
                    Condition::Away("the stream is behind".to_owned())
                }
                Ok(Response::Ok(info)) => {
                    inner.shared.set_oldest(oldest(&info));
                    let seen_before = std::mem::replace(&mut last_before, info.state.last_sequence);
                    judge(inner, seen_before)
                }
                Ok(Response::Err { error }) if is_not_found(&error) => {
                    is_odd = Some(Condition::Ended("the stream was deleted".to_owned()));
                    Condition::Away("the stream is not there".to_owned())
                }
                Ok(Response::Err { .. }) => {
                    Condition::Away("the stream cannot be looked at".to_owned())
                }
                Err(error) => Condition::Away(told(error.kind()).to_owned()),
            }
        };
        odd_looks = if is_odd.is_some() { odd_looks + 1 } else { 0 };
        let condition = is_odd.filter(|_| odd_looks >= LOOKS).unwrap_or(condition);
        let is_final = condition.is_final();
        if is_final {
            tracing::error!(stream = %inner.rules.stream.name, reason = %condition, "the log has ended");
        }
        let is_good = condition == Condition::Good;
        inner.shared.set_condition(condition);
        if is_final {
            return;
        }
        // After its condition: who waits for this finds all well.
        if is_good && !inner.shared.opened.send_replace(true) {
            let epoch = inner.shared.epoch();
            tracing::info!(stream = %inner.rules.stream.name, %epoch, last = last_before, "the log is open");
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = inner.changed.notified(), if odd_looks == 0 => {}
        }
    }
}

/// How the log is doing, where the stream is as it should be.
fn judge(inner: &Inner, seen_before: u64) -> Condition {
    let away = |reason: &str| Condition::Away(reason.to_owned());
    if !inner.is_followed.load(Ordering::Relaxed) {
        away("the stream is not being followed")
    } else if *inner.shared.reached.borrow() < seen_before {
        away("the stream is being read")
    } else {
        Condition::Good
    }
}

/// The events of a message that was fetched, after a position.
pub(crate) fn entries_after(
    after: u64,
    entries: impl Iterator<Item = LogEntry>,
) -> impl Iterator<Item = LogEntry> {
    entries.filter(move |entry| entry.sequence() > after)
}

/// The first ID of a batch whose IDs are as long as any can be.
pub(crate) fn longest_id(inner: &Inner) -> EventId {
    let room = position::MAX_EVENTS as u64;
    EventId::new(inner.shared.epoch(), u64::MAX - room)
}
