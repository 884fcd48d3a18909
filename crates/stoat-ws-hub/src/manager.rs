//! The connection manager: the hub's front.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use stoat_correlation::CorrelationId;
use stoat_events::{
    AppendError, Appended, Batch, EventId, EventLog, Format, Gap, HeadWatch, MemoryLog, Scope,
    Timestamp,
};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

use crate::close::Close;
use crate::connection::{self, Beginning, Started};
use crate::delivery::Deliveries;
use crate::fan_out::FanOut;
use crate::handshake::Pending;
use crate::heartbeat::{BeatWatch, Beats, number};
use crate::registry::{Membership, Newcomer, Order, Registry};
use crate::stats::Counters;
use crate::{
    Admission, ConnectionId, ConnectionInfo, DeliveryReport, DisconnectReason, HandshakeError,
    HubConfig, HubStats, NoDeliveryReport, RejectReason, Round, Subscription, handshake,
};

/// The header that tells a page from where to subscribe.
pub const CURSOR_HEADER: HeaderName = HeaderName::from_static("x-stoat-cursor");

/// How often events that have become too old are let go while nothing else happens.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long aborted connections get to leave at the end of a drain.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Accepts WebSocket connections and sends each the events of one log, in order.
///
/// Cheap to clone; all clones are one manager. It needs a tokio runtime with time
/// and I/O enabled.
///
/// ```
/// use serde_json::json;
/// use stoat_events::{EventType, build_event};
/// use stoat_ws_hub::ConnectionManager;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = ConnectionManager::in_memory();
/// // In the handler of `GET /ws`: `hub.accept(&mut request, peer)`.
/// let event = build_event(EventType::ScanStarted, &json!({ "path": "/srv" }), None)?;
/// hub.broadcast(event).await?;
/// assert_eq!(hub.active_connections(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ConnectionManager {
    pub(crate) hub: Arc<Hub>,
}

/// What the manager, its connections and its housekeeping share.
pub(crate) struct Hub {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) config: HubConfig,
    pub(crate) registry: Arc<Registry>,
    pub(crate) beats: Beats,
    pub(crate) fan_out: FanOut,
    draining: AtomicBool,
    keeps_house: AtomicBool,
}

/// A new member, and what it follows.
pub(crate) struct Attached {
    pub(crate) membership: Membership,
    pub(crate) gap: Option<Gap>,
    pub(crate) head: HeadWatch,
    pub(crate) beats: BeatWatch,
    /// The number of the last beat before.
    pub(crate) beat_seen: u64,
    pub(crate) format: Format,
}

impl ConnectionManager {
    /// A manager over a log.
    pub fn new(log: Arc<dyn EventLog>, config: HubConfig) -> Self {
        let config = config.bounded();
        let deliveries = Deliveries::new(&log, config.delivery_reports);
        let hub = Hub {
            log,
            config,
            registry: Arc::new(Registry::new(Counters::new(deliveries))),
            beats: Beats::new(),
            fan_out: FanOut::default(),
            draining: AtomicBool::new(false),
            keeps_house: AtomicBool::new(false),
        };
        Self { hub: Arc::new(hub) }
    }

    /// A manager over a new [`MemoryLog`], all with the default settings.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(MemoryLog::default()), HubConfig::default())
    }

    /// Answers a request for a WebSocket with a 101 (over HTTP/2, with the feature `http2`, an
    /// extended CONNECT with a 200), or says why not. The response has no body and must be
    /// sent as it is; the connection then lives in a task of its own.
    ///
    /// From the moment of this call on, every event that is published reaches the
    /// client. Query parameters and headers are read as [`Subscription`] says.
    /// `peer` is the client's address for limits and lists.
    ///
    /// Over a log that others append to as well, wait for [`EventLog::prepare`] before.
    ///
    /// Who may connect is the embedder's to decide, before this call; a client that may see
    /// only a part, or only for some time, is let in by [`accept_with`](Self::accept_with).
    ///
    /// # Errors
    /// [`HandshakeError`] says with which answer the request is to be refused: it
    /// is no valid handshake (RFC 6455 section 4.2.1), comes from a foreign origin,
    /// is over a limit, or the manager is draining.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn accept<B>(
        &self,
        request: &mut Request<B>,
        peer: SocketAddr,
    ) -> Result<Response<()>, HandshakeError> {
        self.accept_with(request, peer, Admission::default())
    }

    /// As [`accept`](Self::accept), on the terms of an [`Admission`].
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn accept_with<B>(
        &self,
        request: &mut Request<B>,
        peer: SocketAddr,
        admission: Admission,
    ) -> Result<Response<()>, HandshakeError> {
        let answer = self.try_accept(request, peer, admission);
        answer.inspect_err(|refused| {
            tracing::debug!(%peer, reason = refused.reason().as_str(), "handshake refused");
            self.count_rejected(refused.reason());
        })
    }

    /// Counts a handshake that the embedder refused itself, before [`accept`](Self::accept).
    pub fn count_rejected(&self, reason: RejectReason) {
        self.hub.registry.counters.rejected(reason);
    }

    fn try_accept<B>(
        &self,
        request: &mut Request<B>,
        peer: SocketAddr,
        admission: Admission,
    ) -> Result<Response<()>, HandshakeError> {
        let hub = &self.hub;
        let (response, pending) = handshake::upgrade(request, &hub.config.allowed_origins)?;
        let attached = self.attach(request, peer, admission.scope)?;
        let Attached {
            membership,
            gap,
            head,
            beats,
            beat_seen,
            format,
        } = attached;
        let member = Arc::clone(&membership.member);
        let beginning = Beginning {
            member,
            gap,
            head,
            beats,
            beat_seen,
            take_tcp: request.extensions_mut().remove(),
            held: request.extensions_mut().remove(),
            until: admission.until,
            format,
        };
        // Only for its lines in the log; a connection may live for days.
        let request = if tracing::enabled!(tracing::Level::DEBUG) {
            stoat_correlation::current()
        } else {
            None
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a connection outlives its request, whose span would take memory as long; its lines name the ID"
        )]
        tokio::spawn(live(
            Arc::clone(hub),
            pending,
            beginning,
            membership,
            request,
        ));
        Ok(response)
    }

    /// Makes the client of a request a member, at its place in the log.
    pub(crate) fn attach<B>(
        &self,
        request: &Request<B>,
        peer: SocketAddr,
        scope: Scope,
    ) -> Result<Attached, HandshakeError> {
        let hub = &self.hub;
        if self.is_draining() {
            return Err(HandshakeError::draining());
        }
        let subscription = Subscription::from_request(request.uri(), request.headers())
            .map_err(|error| HandshakeError::query(&error))?;
        let place = hub.registry.admit(peer, &hub.config)?;
        self.keep_house();

        // Watch first, look second: what comes in between is seen.
        let (head, mut beats) = (hub.log.head(), hub.beats.watch());
        let beat_seen = number(beats.borrow_and_update().as_ref());
        let newest = hub.log.bounds().last;
        let attachment = hub.log.attach(&subscription.resume);
        let membership = place.register(Newcomer {
            remote_addr: peer,
            user_agent: user_agent(request.headers()),
            filter: subscription.filter.within(scope),
            newest,
            cursor: attachment.cursor,
        });
        if self.is_draining() {
            // The drain began since the look above and may not have seen this one.
            membership.member.give(self.farewell(0));
        }
        Ok(Attached {
            membership,
            gap: attachment.gap,
            head,
            beats,
            beat_seen,
            format: subscription.format,
        })
    }

    /// Appends events to the log, which sends them to every connection whose
    /// filters take them. Ready once the log has accepted them.
    ///
    /// # Errors
    /// [`AppendError`]; then nobody gets any of them.
    ///
    /// # Cancel safety
    /// As [`EventLog::append`].
    pub async fn broadcast(&self, events: impl Into<Batch>) -> Result<Appended, AppendError> {
        self.hub.log.append(events.into()).await
    }

    /// How many connections there are, those included whose 101 is on its way.
    pub fn active_connections(&self) -> usize {
        self.hub.registry.active()
    }

    /// The connections in the order in which they came.
    pub fn list(&self) -> Vec<ConnectionInfo> {
        self.hub.fan_out.report();
        let log = &self.hub.log;
        let last = log.bounds().last;
        self.hub.registry.list(|cursor| log.distance(cursor, last))
    }

    /// Tells whom an event of the log was for and who has it, as
    /// [`DeliveryReport`] defines it. Looks at every connection, as [`list`](Self::list) does.
    ///
    /// Reports are kept of the newest [`HubConfig::delivery_reports`] events.
    ///
    /// # Errors
    /// [`NoDeliveryReport`]: the event is not of this log, or has no report any more.
    ///
    /// ```
    /// use serde_json::json;
    /// use stoat_events::{EventType, build_event};
    /// use stoat_ws_hub::{Admission, ConnectionManager};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = ConnectionManager::in_memory();
    /// let request = http::Request::get("/sse").header("host", "a").body(())?;
    /// let mut feed = hub.open_feed(&request, ([127, 0, 0, 1], 5000).into(), Admission::default())?;
    /// let event = build_event(EventType::ScanStarted, &json!({}), None)?;
    /// let id = hub.broadcast(event).await?.receipts[0].event_id;
    /// assert_eq!(hub.delivery(id)?.behind, 1);
    ///
    /// feed.next(16 << 10).await.ok_or("it has ended")?.sent(100);
    /// let report = hub.delivery(id)?;
    /// assert_eq!((report.matched, report.written, report.behind), (1, 1, 0));
    /// # Ok(()) }
    /// ```
    pub fn delivery(&self, id: EventId) -> Result<DeliveryReport, NoDeliveryReport> {
        self.hub.fan_out.report();
        self.hub.registry.delivery(id)
    }

    /// Closes a connection with 1008; `false` if there is none of this name.
    pub fn disconnect(&self, id: ConnectionId) -> bool {
        let member = self.hub.registry.find(id);
        if let Some(member) = &member {
            member.give(Order::Close(Close::by_operator()));
        }
        member.is_some()
    }

    /// The log that feeds the connections.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.hub.log
    }

    /// The position of the newest event, or the one before the first; a reader that
    /// resumes from it gets everything that is published from now on.
    pub fn position(&self) -> EventId {
        let bounds = self.hub.log.bounds();
        bounds.id(bounds.last)
    }

    /// [`CURSOR_HEADER`] with the ID of the newest event, for the responses from
    /// which a page loads its data: subscribing from there leaves no hole. `None`
    /// while the log is empty.
    pub fn cursor_header(&self) -> Option<(HeaderName, HeaderValue)> {
        let newest = self.hub.log.bounds().newest()?.to_string();
        Some((CURSOR_HEADER, HeaderValue::try_from(newest).ok()?))
    }

    /// The counters now.
    pub fn stats(&self) -> HubStats {
        self.hub
            .registry
            .counters
            .snapshot(self.active_connections())
    }

    /// Calls `observer` after each round of the fan-out, which serves the connections over plain
    /// TCP; the others follow the log in tasks of their own. It holds up the round's task, so it
    /// must be quick. Only the first observer of a hub is called.
    pub fn observe_rounds(&self, observer: impl Fn(&Round) + Send + Sync + 'static) {
        self.hub.fan_out.observe(observer);
    }

    /// Whether a [`drain`](Self::drain) has begun.
    pub fn is_draining(&self) -> bool {
        self.hub.draining.load(Ordering::SeqCst)
    }

    /// Ends all connections: refuses new ones, sends each client what the log had
    /// accepted when this was called, then a Close 1001 whose reason
    /// `retry_ms=N` spreads the clients' return over `within`. Returns whether all
    /// had left by then; those that had not are let go.
    ///
    /// # Cancel safety
    /// The clients stay told when the future is dropped; new ones stay refused.
    pub async fn drain(&self, within: Duration) -> bool {
        self.hub.draining.store(true, Ordering::SeqCst);
        let registry = &self.hub.registry;
        let members = registry.members();
        let spread = u64::try_from(within.as_millis())
            .unwrap_or(u64::MAX)
            .max(members.len() as u64);
        for (n, member) in (0u64..).zip(&members) {
            let share = u128::from(spread) * u128::from(n) / members.len().max(1) as u128;
            member.give(self.farewell(u64::try_from(share).unwrap_or(u64::MAX)));
            if n % 256 == 255 {
                tokio::task::yield_now().await;
            }
        }
        drop(members);
        if timeout(within, registry.wait_until_empty()).await.is_ok() {
            return true;
        }
        for member in registry.members() {
            member.give(Order::Abort(DisconnectReason::Shutdown));
        }
        // Their tasks only need a turn each.
        let _ = timeout(LAST_CALL, registry.wait_until_empty()).await;
        false
    }

    fn farewell(&self, retry_ms: u64) -> Order {
        Order::CloseAfter(Close::shutdown(retry_ms), self.hub.log.bounds().last)
    }

    /// Starts the housekeeping with the first connection; it ends with the hub.
    fn keep_house(&self) {
        if !self.hub.keeps_house.swap(true, Ordering::Relaxed) {
            let hub = Arc::downgrade(&self.hub);
            let beat = self.hub.config.heartbeat_interval;
            #[expect(
                clippy::disallowed_methods,
                reason = "the hub's own task, behind it is no request"
            )]
            tokio::spawn(keep_house(hub, beat));
        }
    }
}

impl fmt::Debug for ConnectionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionManager")
            .field("active_connections", &self.active_connections())
            .field("config", &self.hub.config)
            .finish_non_exhaustive()
    }
}

/// The life of a connection, from its 101 on.
///
/// No `async fn`, which keeps its arguments twice: this is what each connection holds.
fn live(
    hub: Arc<Hub>,
    pending: Pending,
    beginning: Beginning,
    membership: Membership,
    correlation_id: Option<CorrelationId>,
) -> impl Future<Output = ()> {
    // Boxed, so that its state goes with it.
    let mut started = Box::pin(begin(Arc::clone(&hub), pending, beginning));
    async move {
        let (id, request) = (membership.member.id, as_text(&correlation_id));
        tracing::debug!(connection = %id, correlation_id = request, "connected");
        let reason = match started.as_mut().await {
            Some(Started::Line(seat)) => {
                drop(started);
                connection::serve(seat, &membership.member, &hub).await
            }
            Some(Started::Stream(served)) => served.await,
            None => DisconnectReason::HandshakeFailed,
        };
        let (id, request) = (membership.member.id, as_text(&correlation_id));
        let why = reason.as_str();
        tracing::debug!(connection = %id, correlation_id = request, reason = why, "disconnected");
        membership.end(reason);
    }
}

fn as_text(correlation_id: &Option<CorrelationId>) -> Option<&str> {
    correlation_id.as_ref().map(CorrelationId::as_str)
}

/// Waits for the upgrade and makes the session.
async fn begin(hub: Arc<Hub>, pending: Pending, beginning: Beginning) -> Option<Started> {
    let upgraded = handshake::complete(pending);
    let upgraded = timeout(hub.config.handshake_timeout, upgraded)
        .await
        .ok()??;
    connection::start(upgraded, beginning, &hub)
}

/// Sends the heartbeats, and lets the log forget what is too old.
async fn keep_house(hub: Weak<Hub>, beat: Option<Duration>) {
    let mut house = interval(HOUSEKEEPING);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Without heartbeats the second clock never strikes.
    let every = beat.unwrap_or(HOUSEKEEPING).max(Duration::from_millis(1));
    let mut beats = interval_at(Instant::now() + every, every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let strikes = tokio::select! {
            _ = beats.tick(), if beat.is_some() => true,
            _ = house.tick() => false,
        };
        let Some(hub) = hub.upgrade() else { return };
        let bounds = hub.log.bounds();
        if strikes {
            hub.beats.beat(&bounds, Timestamp::now());
        }
    }
}

/// The `User-Agent`, cut, and without what is not visible ASCII: other text can hide
/// or turn around what stands beside it.
fn user_agent(headers: &HeaderMap) -> Option<Box<str>> {
    const MAX_CHARS: usize = 256;
    let text = String::from_utf8_lossy(headers.get(USER_AGENT)?.as_bytes());
    let shown = |c: &char| c.is_ascii_graphic() || *c == ' ';
    let visible = text.chars().filter(shown).take(MAX_CHARS);
    Some(visible.collect::<String>().into())
}
