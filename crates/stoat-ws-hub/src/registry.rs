//! Who is connected: the map of connections, admission to it, and orders to its members.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
#[cfg(not(shuttle))]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use dashmap::DashMap;
use serde::{Serialize, Serializer};
// The model tests try out in which order threads get at it.
#[cfg(shuttle)]
use shuttle::sync::atomic::AtomicUsize;
use stoat_events::{EventId, Filter, LogEntry, Timestamp};
use tokio::sync::Notify;

use crate::close::Close;
use crate::stats::Counters;
use crate::{DeliveryReport, DisconnectReason, HandshakeError, HubConfig, NoDeliveryReport};

/// Names a connection for as long as the manager lives; never used twice.
///
/// ```
/// use stoat_ws_hub::ConnectionId;
///
/// let id: ConnectionId = "17".parse().unwrap();
/// assert_eq!(id.to_string(), "17");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ConnectionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// As a string, since JavaScript reads large numbers inexactly.
impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known of one connection; see [`ConnectionManager::list`](crate::ConnectionManager::list).
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(description = "One live connection."))]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub id: ConnectionId,
    /// Where it comes from.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub remote_addr: SocketAddr,
    /// When its handshake was accepted.
    pub connected_since: Timestamp,
    /// The `User-Agent` of its handshake, at most 256 characters of it.
    pub user_agent: Option<Box<str>>,
    /// What it wants to see.
    pub filters: Filter,
    /// Events of the log that it has not got past yet.
    pub lag_events: u64,
    /// Bytes handed to the kernel for it after its handshake.
    pub bytes_sent: u64,
}

/// What the hub tells a connection's task to do.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Close now, at the next frame boundary.
    Close(Close),
    /// Send everything up to this position of the log, then close.
    CloseAfter(Close, u64),
    /// Let go of the socket at once.
    Abort(DisconnectReason),
}

/// The part of a connection that others than its task can see.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: ConnectionId,
    remote_addr: SocketAddr,
    connected_since: Timestamp,
    user_agent: Option<Box<str>>,
    filter: Mutex<Arc<Filter>>,
    /// The newest event when it came: up to here is a replay to it.
    live_after: u64,
    pub(crate) cursor: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    order: Mutex<Option<Order>>,
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Member {
    pub(crate) fn filter(&self) -> Arc<Filter> {
        Arc::clone(&lock(&self.filter))
    }

    pub(crate) fn set_filter(&self, filter: Arc<Filter>) {
        *lock(&self.filter) = filter;
    }

    /// Gives an order; a later one replaces one that was not yet taken, but for an
    /// abort, which is the last word.
    pub(crate) fn give(&self, order: Order) {
        {
            let mut waiting = lock(&self.order);
            if !matches!(*waiting, Some(Order::Abort(_))) {
                *waiting = Some(order);
            }
        }
        self.wake();
    }

    /// Takes the order that waits.
    pub(crate) fn take_order(&self) -> Option<Order> {
        lock(&self.order).take()
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Ready when the task was woken: by an order, or because something was left to it. A
    /// wake stays until it is taken. For the connection's task alone.
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.task.register(cx.waker());
        if self.is_woken.swap(false, Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The age of an event at this time, unless it was there before the connection was: what
    /// is replayed tells of the client's absence, not of the hub's speed.
    pub(crate) fn age_of(&self, entry: &LogEntry, now: Instant) -> Option<Duration> {
        let is_live = entry.sequence() > self.live_after;
        is_live.then(|| now.saturating_duration_since(entry.accepted_at()))
    }

    /// Every event up to here that is for it was handed to the kernel, or is gone.
    pub(crate) fn position(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    fn info(&self, lag: impl Fn(u64) -> u64) -> ConnectionInfo {
        ConnectionInfo {
            id: self.id,
            remote_addr: self.remote_addr,
            connected_since: self.connected_since,
            user_agent: self.user_agent.clone(),
            filters: (*self.filter()).clone(),
            lag_events: lag(self.position()),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
        }
    }
}

/// A newcomer, before it has a name.
pub(crate) struct Newcomer {
    pub(crate) remote_addr: SocketAddr,
    pub(crate) user_agent: Option<Box<str>>,
    pub(crate) filter: Filter,
    /// The newest event of the log.
    pub(crate) newest: u64,
    pub(crate) cursor: u64,
}

/// All connections, from before their 101 until their task has ended.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    members: DashMap<ConnectionId, Arc<Member>>,
    /// Counted only where a limit is set.
    per_address: DashMap<IpAddr, usize>,
    active: AtomicUsize,
    next_id: AtomicU64,
    emptied: Notify,
    pub(crate) counters: Counters,
}

impl Registry {
    pub(crate) fn new(counters: Counters) -> Self {
        Self {
            counters,
            ..Self::default()
        }
    }

    /// Takes a place within the limits.
    pub(crate) fn admit(
        self: &Arc<Self>,
        remote_addr: SocketAddr,
        config: &HubConfig,
    ) -> Result<Place, HandshakeError> {
        let below = |active: usize| (active < config.max_connections).then_some(active + 1);
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, below)
            .map_err(|_| HandshakeError::capacity())?;
        let mut place = Place {
            registry: Arc::clone(self),
            address: None,
        };
        if let Some(limit) = config.max_connections_per_ip {
            let address = remote_addr.ip().to_canonical();
            let mut count = self.per_address.entry(address).or_insert(0);
            if *count >= limit {
                return Err(HandshakeError::capacity_per_address());
            }
            *count += 1;
            place.address = Some(address);
        }
        Ok(place)
    }

    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn find(&self, id: ConnectionId) -> Option<Arc<Member>> {
        self.members.get(&id).map(|member| Arc::clone(&member))
    }

    /// A copy of the members, in the order in which they came.
    pub(crate) fn members(&self) -> Vec<Arc<Member>> {
        let mut members: Vec<_> = self
            .members
            .iter()
            .map(|entry| Arc::clone(&entry))
            .collect();
        members.sort_unstable_by_key(|member| member.id);
        members
    }

    /// What there is to tell of each; `lag` says how far behind a cursor is.
    pub(crate) fn list(&self, lag: impl Fn(u64) -> u64) -> Vec<ConnectionInfo> {
        self.members()
            .iter()
            .map(|member| member.info(&lag))
            .collect()
    }

    /// Whom an event was for, and who has it.
    pub(crate) fn delivery(&self, id: EventId) -> Result<DeliveryReport, NoDeliveryReport> {
        let deliveries = &self.counters.deliveries;
        let kind = deliveries.kind(id)?;
        let is_behind = |member: &&Arc<Member>| {
            member.position() < id.sequence() && kind.passes(&member.filter())
        };
        // Counted first: who gets it in between counts twice for a moment, and not never.
        let behind = self.members().iter().filter(is_behind).count();
        deliveries.report(id, behind as u64)
    }

    /// Waits until nobody is connected.
    pub(crate) async fn wait_until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Before the look at the count, so that no departure is missed.
            emptied.as_mut().enable();
            if self.active() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// A place that a connection may take; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    address: Option<IpAddr>,
}

impl Place {
    /// Makes the newcomer a member. O(1).
    pub(crate) fn register(self, newcomer: Newcomer) -> Membership {
        let registry = &self.registry;
        let id = ConnectionId(registry.next_id.fetch_add(1, Ordering::Relaxed) + 1);
        let member = Arc::new(Member {
            id,
            remote_addr: newcomer.remote_addr,
            connected_since: Timestamp::now(),
            user_agent: newcomer.user_agent,
            filter: Mutex::new(shared(newcomer.filter)),
            live_after: newcomer.newest,
            cursor: AtomicU64::new(newcomer.cursor),
            bytes_sent: AtomicU64::new(0),
            order: Mutex::new(None),
            is_woken: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        registry.members.insert(id, Arc::clone(&member));
        registry.counters.connects.fetch_add(1, Ordering::Relaxed);
        Membership {
            member,
            reason: DisconnectReason::Panic,
            place: self,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.registry
                .per_address
                .remove_if_mut(&address, |_, count| {
                    *count -= 1;
                    *count == 0
                });
        }
        if self.registry.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.registry.emptied.notify_waiters();
        }
    }
}

/// A member's presence in the registry; it ends when this is dropped, whatever
/// became of its task.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) member: Arc<Member>,
    /// What is counted at the end.
    reason: DisconnectReason,
    place: Place,
}

impl Membership {
    /// Ends the membership with a reason other than a panic.
    pub(crate) fn end(mut self, reason: DisconnectReason) {
        self.reason = reason;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let registry = &self.place.registry;
        registry.members.remove(&self.member.id);
        let position = self.member.position();
        let deliveries = &registry.counters.deliveries;
        deliveries.left(position, &self.member.filter());
        registry.counters.disconnected(self.reason);
    }
}

/// Most clients want to see everything; they share one filter.
fn shared(filter: Filter) -> Arc<Filter> {
    static ALL: LazyLock<Arc<Filter>> = LazyLock::new(|| Arc::new(Filter::all()));
    if filter.is_all() {
        Arc::clone(&ALL)
    } else {
        Arc::new(filter)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, shuttle))]
#[path = "registry_model.rs"]
mod model;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectReason;

    fn newcomer() -> Newcomer {
        Newcomer {
            remote_addr: ([127, 0, 0, 1], 1).into(),
            user_agent: None,
            filter: Filter::all(),
            newest: 3,
            cursor: 3,
        }
    }

    fn count(registry: &Registry, wanted: DisconnectReason) -> u64 {
        let stats = registry.counters.snapshot(0);
        stats
            .disconnects
            .into_iter()
            .find(|(reason, _)| *reason == wanted)
            .unwrap()
            .1
    }

    #[test]
    fn members_come_and_go() {
        let registry = Arc::new(Registry::default());
        let config = HubConfig::default();
        let join = || {
            registry
                .admit(newcomer().remote_addr, &config)
                .unwrap()
                .register(newcomer())
        };
        let (first, second) = (join(), join());
        assert_eq!((registry.active(), registry.members().len()), (2, 2));
        let infos = registry.list(|cursor| 10 - cursor);
        assert!(infos[0].id < infos[1].id);
        assert_eq!(infos[0].lag_events, 7);

        let id = first.member.id;
        first.end(DisconnectReason::Operator);
        assert!(registry.find(id).is_none());
        drop(second);
        assert_eq!((registry.active(), registry.members().len()), (0, 0));
        assert_eq!(count(&registry, DisconnectReason::Operator), 1);
        assert_eq!(count(&registry, DisconnectReason::Panic), 1);
    }

    #[test]
    fn limits_hold_and_places_come_back() {
        let registry = Arc::new(Registry::default());
        let config = HubConfig {
            max_connections: 2,
            max_connections_per_ip: Some(1),
            ..HubConfig::default()
        };
        let address = |last| SocketAddr::from(([10, 0, 0, last], 1));
        let reason = |result: Result<Place, HandshakeError>| result.unwrap_err().reason();

        let first = registry.admit(address(1), &config).unwrap();
        assert_eq!(
            reason(registry.admit(address(1), &config)),
            RejectReason::CapacityPerAddress
        );
        let mapped = SocketAddr::new(IpAddr::V6([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1].into()), 1);
        assert_eq!(
            reason(registry.admit(mapped, &config)),
            RejectReason::CapacityPerAddress
        );
        let second = registry.admit(address(2), &config).unwrap();
        assert_eq!(
            reason(registry.admit(address(3), &config)),
            RejectReason::Capacity
        );
        drop((first, second));
        assert_eq!(registry.active(), 0);
        assert!(registry.per_address.is_empty());
        assert!(registry.admit(address(1), &config).is_ok());
    }

    #[tokio::test]
    async fn waiting_for_the_last_to_leave() {
        let registry = Arc::new(Registry::default());
        registry.wait_until_empty().await;
        let place = registry
            .admit(newcomer().remote_addr, &HubConfig::default())
            .unwrap();
        let membership = place.register(newcomer());
        let leave = async { membership.end(DisconnectReason::ClientClosed) };
        tokio::join!(biased; registry.wait_until_empty(), leave);
        assert_eq!(registry.active(), 0);
    }

    #[tokio::test]
    async fn orders_wake_and_an_abort_is_the_last_word() {
        let registry = Arc::new(Registry::default());
        let place = registry
            .admit(newcomer().remote_addr, &HubConfig::default())
            .unwrap();
        let membership = place.register(newcomer());
        let member = &membership.member;
        assert!(member.take_order().is_none());
        member.give(Order::Close(Close::by_operator()));
        member.give(Order::Abort(DisconnectReason::Shutdown));
        member.give(Order::Close(Close::by_operator()));
        std::future::poll_fn(|cx| member.poll_woken(cx)).await;
        assert!(matches!(member.take_order(), Some(Order::Abort(_))));
        assert!(member.take_order().is_none());
    }
}
