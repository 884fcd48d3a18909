//! Feeds: what a WebSocket would be sent, for a transport that the embedder drives.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use stoat_events::{
    EncodedEvent, Filter, Format, Gap, GapReason, HeadWatch, LogEntry, ReadLimit, ReadStatus,
    Timestamp,
};
use tokio::time::sleep_until;

use crate::close::Close;
use crate::heartbeat::BeatWatch;
use crate::manager::{Attached, Hub};
use crate::registry::{Member, Membership, Order};
use crate::{Admission, ConnectionId, ConnectionManager, DisconnectReason, HandshakeError};
use crate::{handshake, heartbeat::Beat};

/// The most events of one batch.
const MAX_EVENTS: usize = 512;
/// The most events that are looked at in one go when the filter takes none of them.
const MAX_SCANNED: usize = 4096;

impl ConnectionManager {
    /// Opens a feed for a request: what a WebSocket with the same query and headers would be
    /// sent, for another transport, such as Server-Sent Events. The client counts as a
    /// connection in every way, for limits, lists, counters and drains, until the feed, its
    /// batches and every [`FeedPresence`] of it are dropped.
    ///
    /// From the moment of this call on, every event that is published reaches the feed.
    /// `peer` is the client's address; who may connect is the embedder's to decide, before.
    ///
    /// # Errors
    /// [`HandshakeError`]: the request is malformed, comes from a foreign origin, is over a
    /// limit, or the manager is draining.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// ```
    /// use stoat_events::{EventType, build_event, sse};
    /// use stoat_ws_hub::{Admission, ConnectionManager};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = ConnectionManager::in_memory();
    /// let request = http::Request::get("/sse?types=scan_started").header("host", "a").body(())?;
    /// let mut feed = hub.open_feed(&request, ([127, 0, 0, 1], 5000).into(), Admission::default())?;
    /// assert_eq!(hub.active_connections(), 1);
    ///
    /// let payload = serde_json::json!({ "path": "/srv" });
    /// hub.broadcast(build_event(EventType::ScanStarted, &payload, None)?).await?;
    /// let batch = feed.next(16 << 10).await.ok_or("it has ended")?;
    /// let mut piece = Vec::new();
    /// batch.events().for_each(|event| sse::write(event, feed.format(), &mut piece));
    /// // Once the client has taken the piece:
    /// batch.sent(piece.len());
    /// assert_eq!(hub.stats().delivered, 1);
    /// # Ok(()) }
    /// ```
    pub fn open_feed<B>(
        &self,
        request: &Request<B>,
        peer: SocketAddr,
        admission: Admission,
    ) -> Result<Feed, HandshakeError> {
        let checked = handshake::check_page(request, &self.hub.config.allowed_origins);
        let attached = checked.and_then(|()| self.attach(request, peer, admission.scope));
        let Attached {
            membership,
            gap,
            head,
            beats,
            beat_seen,
            format,
        } = attached.inspect_err(|refused| {
            tracing::debug!(%peer, reason = refused.reason().as_str(), "feed refused");
            self.count_rejected(refused.reason());
        })?;
        let member = Arc::clone(&membership.member);
        tracing::debug!(connection = %member.id, "feed opened");
        Ok(Feed {
            filter: member.filter(),
            format,
            cursor: member.cursor.load(Relaxed),
            member,
            presence: FeedPresence(Arc::new(Presence {
                membership: Some(membership),
                reason: Mutex::new(None),
                hub: Arc::clone(&self.hub),
            })),
            hub: Arc::clone(&self.hub),
            gap,
            head,
            beats,
            beat_seen,
            until: admission.until,
            leaving: None,
            retry_after: None,
            ended: false,
        })
    }
}

/// The events for one client, in the order of the log, with the gaps and heartbeats that
/// belong between them.
///
/// It holds a position and no events. Whoever drives it takes the next batch when the client
/// has taken the one before, and so bounds what a slow client costs; one for which the log has
/// moved on gets a `gap` and goes on with what is retained.
pub struct Feed {
    hub: Arc<Hub>,
    member: Arc<Member>,
    presence: FeedPresence,
    filter: Arc<Filter>,
    format: Format,
    head: HeadWatch,
    beats: BeatWatch,
    beat_seen: u64,
    /// Sequence number of the last event that was handed out or passed over.
    cursor: u64,
    gap: Option<Gap>,
    until: Option<Instant>,
    /// Everything up to this position is handed out, then it ends.
    leaving: Option<(Close, u64)>,
    retry_after: Option<Duration>,
    ended: bool,
}

/// Events for one client, to be sent together.
pub struct FeedBatch {
    items: Vec<Item>,
    filter: Arc<Filter>,
    /// Where the client is once it has them.
    to: u64,
    member: Arc<Member>,
    presence: FeedPresence,
}

enum Item {
    Entry(LogEntry),
    /// With the positions that it leads from and to.
    Gap(EncodedEvent, GapReason, (u64, u64)),
    Beat(Arc<EncodedEvent>),
}

impl Item {
    /// Where the client is as long as it does not have this; nothing where that does not move
    /// it.
    fn position(&self) -> Option<u64> {
        match self {
            Self::Entry(entry) => Some(entry.sequence() - 1),
            Self::Gap(_, _, (after, _)) => Some(*after),
            Self::Beat(_) => None,
        }
    }
}

/// What has to happen before there is more to read.
enum Then {
    /// Nothing.
    Again,
    /// The log has to fetch it.
    Fetch,
    /// It has to be published.
    Wait,
}

impl Feed {
    /// The connection's name, as in [`ConnectionManager::list`].
    pub fn id(&self) -> ConnectionId {
        self.member.id
    }

    /// Waits for the next events. The batch ends with the event that reaches `max_bytes` of
    /// JSON, and is never empty. `None` once the feed has ended: by a drain, after everything
    /// that was accepted before; by [`ConnectionManager::disconnect`]; or with its admission.
    ///
    /// # Cancel safety
    /// Safe: what was not returned is returned by the next call.
    pub async fn next(&mut self, max_bytes: usize) -> Option<FeedBatch> {
        // With the position that it follows.
        let mut fetched = (0, Vec::new());
        loop {
            self.obey();
            if self.ended {
                return None;
            }
            let (items, then) = self.read(max_bytes, std::mem::take(&mut fetched));
            let waiting = items.iter().find_map(Item::position);
            let position = waiting.unwrap_or(self.cursor);
            self.member.cursor.store(position, Relaxed);
            if !items.is_empty() {
                return Some(FeedBatch {
                    items,
                    filter: Arc::clone(&self.filter),
                    to: self.cursor,
                    member: Arc::clone(&self.member),
                    presence: self.presence.clone(),
                });
            }
            let (hub, member) = (&self.hub, &self.member);
            match then {
                Then::Again => tokio::task::yield_now().await,
                Then::Fetch => {
                    let limit = limit(MAX_EVENTS, max_bytes);
                    // No order matters here: whatever comes first, all is looked at again.
                    tokio::select! {
                        entries = hub.log.fetch(self.cursor, limit) => fetched = (self.cursor, entries),
                        () = disturbed(member, self.until) => {}
                    }
                }
                Then::Wait if self.leaving.is_some() => self.leave(),
                Then::Wait => {
                    // Likewise.
                    let goes_on = tokio::select! {
                        moved = self.head.changed() => moved.is_ok(),
                        beat = self.beats.changed() => beat.is_ok(),
                        () = disturbed(member, self.until) => true,
                    };
                    if !goes_on {
                        self.end(DisconnectReason::Shutdown);
                    }
                }
            }
        }
    }

    /// The form in which the client asked for its events.
    pub fn format(&self) -> Format {
        self.format
    }

    /// After how long the client is to come back, where a drain has ended the feed; another
    /// time for each client.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What keeps the client among the connections after the feed, such as a last word to it.
    pub fn presence(&self) -> FeedPresence {
        self.presence.clone()
    }

    fn end(&mut self, reason: DisconnectReason) {
        self.ended = true;
        self.presence.ends_by(reason);
    }

    /// Takes orders, and looks at the time.
    fn obey(&mut self) {
        match self.member.take_order() {
            Some(Order::Abort(reason)) => self.end(reason),
            Some(Order::Close(close)) => self.end(close.reason),
            Some(Order::CloseAfter(close, after)) => self.leaving = Some((close, after)),
            None => {}
        }
        if self.until.is_some_and(|until| until <= now()) {
            self.end(DisconnectReason::AuthorizationEnded);
        }
        let leaving = self.leaving.as_ref();
        if leaving.is_some_and(|(_, after)| self.cursor >= *after) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        if let Some((close, _)) = self.leaving.take() {
            self.retry_after = close.retry_ms.map(Duration::from_millis);
            self.end(close.reason);
        }
    }

    /// Reads on from the cursor, as far as memory and the bounds go.
    fn read(
        &mut self,
        max_bytes: usize,
        (mut after, mut entries): (u64, Vec<LogEntry>),
    ) -> (Vec<Item>, Then) {
        let hub = Arc::clone(&self.hub);
        let (mut items, mut bytes, mut scanned) = (Vec::new(), 0, 0);
        let newest = hub.beats.newest();
        self.hand_out_gap(&mut items);
        loop {
            let beat = newest.as_ref().filter(|beat| beat.number > self.beat_seen);
            if let Some(beat) = beat
                && beat.sequence <= self.cursor
            {
                items.push(self.beat(beat));
                continue;
            }
            if items.len() >= MAX_EVENTS || bytes >= max_bytes.max(1) || scanned >= MAX_SCANNED {
                return (items, Then::Again);
            }
            // What was fetched, where it still is what follows.
            let status = if !entries.is_empty() && after == self.cursor {
                ReadStatus::Read
            } else {
                entries.clear();
                after = self.cursor;
                let limit = limit(MAX_EVENTS - items.len(), max_bytes - bytes);
                hub.log.read(self.cursor, limit, &mut entries)
            };
            match status {
                ReadStatus::Evicted => {
                    let reached = hub.log.bounds().id(self.cursor).to_string();
                    self.gap = Some(Gap::new(GapReason::Lagged, &reached));
                    self.hand_out_gap(&mut items);
                }
                ReadStatus::Stored => return (items, Then::Fetch),
                ReadStatus::Read if entries.is_empty() => {
                    let Some(beat) = beat else {
                        return (items, Then::Wait);
                    };
                    // Its position is beyond the last event, where the log leaves numbers out.
                    items.push(self.beat(beat));
                }
                ReadStatus::Read => {
                    // Events after the beat's position wait until the beat is handed out.
                    let last = beat.map_or(u64::MAX, |beat| beat.sequence);
                    for entry in entries.drain(..) {
                        if entry.sequence() > last || bytes >= max_bytes.max(1) {
                            break;
                        }
                        self.cursor = entry.sequence();
                        scanned += 1;
                        let encoded = entry.encoded();
                        if self.filter.matches(encoded.event_type(), encoded.topic()) {
                            bytes += encoded.json().len();
                            items.push(Item::Entry(entry));
                        }
                    }
                }
            }
        }
    }

    fn hand_out_gap(&mut self, items: &mut Vec<Item>) {
        if let Some(gap) = self.gap.take() {
            let bounds = self.hub.log.bounds();
            let after = self.cursor;
            // More may have been evicted since the gap was found.
            self.cursor = self.cursor.max(bounds.before_oldest());
            let event = gap.encode(&bounds, Timestamp::now());
            items.push(Item::Gap(event, gap.reason, (after, self.cursor)));
        }
    }

    /// A beat for a reader at its position or beyond.
    fn beat(&mut self, beat: &Arc<Beat>) -> Item {
        self.beat_seen = beat.number;
        Item::Beat(beat.at(self.cursor, &*self.hub.log))
    }
}

impl FeedBatch {
    /// The events, heartbeats and gaps, in order.
    pub fn events(&self) -> impl Iterator<Item = &EncodedEvent> {
        self.items.iter().map(|item| match item {
            Item::Entry(entry) => entry.encoded(),
            Item::Gap(event, ..) => event,
            Item::Beat(event) => event,
        })
    }

    /// Counts the batch as handed to the kernel, with so many bytes.
    pub fn sent(self, bytes: usize) {
        let counters = &self.presence.0.hub.registry.counters;
        counters.sent_bytes.fetch_add(bytes as u64, Relaxed);
        let now = now();
        let mut deliveries = counters.deliveries.of_one(Some(self.to));
        for item in &self.items {
            match item {
                Item::Entry(entry) => {
                    let age = self.member.age_of(entry, now);
                    counters.delivered(age);
                    deliveries.written(entry.sequence(), age);
                }
                Item::Gap(_, reason, skipped) => {
                    counters.gap(*reason);
                    deliveries.missed(*skipped, &self.filter);
                }
                Item::Beat(_) => {}
            }
        }
        drop(deliveries);
        self.member.bytes_sent.fetch_add(bytes as u64, Relaxed);
        self.member.cursor.store(self.to, Relaxed);
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("id", &self.member.id)
            .field("cursor", &self.cursor)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FeedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.events()).finish()
    }
}

/// A client's presence among the connections; it ends with the last of the feed, its batches,
/// and the clones of this.
#[derive(Clone)]
pub struct FeedPresence(Arc<Presence>);

struct Presence {
    /// Gone only while this is dropped.
    membership: Option<Membership>,
    reason: Mutex<Option<DisconnectReason>>,
    hub: Arc<Hub>,
}

impl FeedPresence {
    /// Says what to count at the end; the first reason stays. Without one, the client has
    /// closed it.
    pub fn ends_by(&self, reason: DisconnectReason) {
        self.0.reason().get_or_insert(reason);
    }
}

impl Presence {
    fn reason(&self) -> MutexGuard<'_, Option<DisconnectReason>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FeedPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FeedPresence").finish_non_exhaustive()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let reason = self.reason().unwrap_or(DisconnectReason::ClientClosed);
        if let Some(membership) = self.membership.take() {
            let (id, why) = (membership.member.id, reason.as_str());
            tracing::debug!(connection = %id, reason = why, "feed closed");
            membership.end(reason);
        }
    }
}

fn limit(events: usize, bytes: usize) -> ReadLimit {
    ReadLimit { events, bytes }
}

/// Ready when there is an order, or the time is up.
async fn disturbed(member: &Member, until: Option<Instant>) {
    let up = async {
        match until {
            Some(until) => sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = std::future::poll_fn(|cx| member.poll_woken(cx)) => {}
        () = up => {}
    }
}

/// tokio's clock, which tests can hold still.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
