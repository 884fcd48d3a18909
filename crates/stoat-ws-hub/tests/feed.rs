//! A feed hands out what a WebSocket would be sent, and counts as one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use stoat_events::{Event, EventType, MemoryLog, Retention, Scope, TopicPattern};
use stoat_ws_hub::{Admission, ConnectionManager, DisconnectReason, Feed, HubConfig, RejectReason};

const MAX_BYTES: usize = 16 << 10;

fn hub_with(change: impl FnOnce(&mut HubConfig)) -> ConnectionManager {
    let mut config = HubConfig::default();
    config.heartbeat_interval = None;
    change(&mut config);
    let retention = Retention {
        events: 10,
        ..Retention::default()
    };
    let log = MemoryLog::builder().retention(retention).build();
    ConnectionManager::new(Arc::new(log), config)
}

fn hub() -> ConnectionManager {
    hub_with(|_| {})
}

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 5000).into()
}

fn request(target: &str) -> Request<()> {
    Request::get(target).header("host", "a").body(()).unwrap()
}

fn open(hub: &ConnectionManager, target: &str) -> Feed {
    hub.open_feed(&request(target), peer(), Admission::default())
        .unwrap()
}

async fn publish(hub: &ConnectionManager, event_type: &str) -> String {
    let event = Event::builder(EventType::parse(event_type).unwrap()).build();
    let done = hub.broadcast(event).await.unwrap();
    done.receipts[0].event_id.to_string()
}

/// The types of the next batch, and the ID of its last event.
async fn types(feed: &mut Feed) -> (Vec<String>, String) {
    let batch = feed.next(MAX_BYTES).await.unwrap();
    let events = batch
        .events()
        .map(|event| (event.event_type().to_owned(), event.id().to_owned()));
    let (types, ids): (Vec<_>, Vec<_>) = events.unzip();
    batch.sent(1);
    (types, ids.last().unwrap().clone())
}

fn is_waiting(feed: &mut Feed) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(feed.next(MAX_BYTES)).poll(&mut context), Poll::Pending)
}

fn ended(hub: &ConnectionManager, wanted: DisconnectReason) -> u64 {
    let ended = hub.stats().disconnects;
    ended.iter().find(|(r, _)| *r == wanted).unwrap().1
}

#[tokio::test]
async fn what_is_retained_and_what_is_new_come_in_one_row() {
    let hub = hub();
    let first = publish(&hub, "a").await;
    publish(&hub, "b").await;
    let mut feed = open(&hub, &format!("/sse?last_event_id={first}&types=b,c"));
    publish(&hub, "a").await;
    publish(&hub, "c").await;

    assert_eq!(types(&mut feed).await.0, ["b", "c"]);
    assert!(is_waiting(&mut feed));
    let last = publish(&hub, "b").await;
    assert_eq!(types(&mut feed).await, (vec!["b".to_owned()], last));
    assert_eq!(hub.stats().delivered, 3);
    assert_eq!(hub.list()[0].bytes_sent, 2);
    assert_eq!(hub.list()[0].lag_events, 0);
}

#[tokio::test]
async fn a_batch_ends_with_the_event_that_reaches_the_bound() {
    let hub = hub();
    let mut feed = open(&hub, "/sse");
    for _ in 0..3 {
        publish(&hub, "a").await;
    }
    for _ in 0..3 {
        assert_eq!(feed.next(0).await.unwrap().events().count(), 1);
    }
    assert!(is_waiting(&mut feed));
}

#[tokio::test]
async fn who_is_too_slow_is_told_and_goes_on() {
    let hub = hub();
    let mut feed = open(&hub, "/sse");
    for _ in 0..25 {
        publish(&hub, "a").await;
    }
    let (types, _) = types(&mut feed).await;
    assert_eq!((types[0].as_str(), types.len()), ("gap", 11));
    let gaps = hub.stats().gaps;
    assert_eq!(gaps.iter().map(|(_, count)| count).sum::<u64>(), 1);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_stand_at_their_position() {
    let hub = hub_with(|config| config.heartbeat_interval = Some(Duration::from_secs(1)));
    let mut feed = open(&hub, "/sse?types=a");
    assert!(types(&mut feed).await.1.ends_with("-0"));
    publish(&hub, "b").await;
    let (beat, id) = types(&mut feed).await;
    assert_eq!(beat, ["heartbeat"]);
    assert!(id.ends_with("-1"), "{id}");
}

#[tokio::test]
async fn a_drain_hands_out_what_was_accepted_and_then_ends() {
    let hub = hub();
    let (mut one, mut two) = (open(&hub, "/sse"), open(&hub, "/sse"));
    publish(&hub, "a").await;
    let drain = hub.drain(Duration::from_secs(60));
    let clients = async {
        assert_eq!(types(&mut one).await.0, ["a"]);
        let batch = two.next(MAX_BYTES).await.unwrap();
        assert!(one.next(MAX_BYTES).await.is_none());
        assert!(two.next(MAX_BYTES).await.is_none());
        let again = [one.retry_after(), two.retry_after()];
        let expected = [0, 30].map(|seconds| Some(Duration::from_secs(seconds)));
        assert_eq!(again, expected);
        drop((one, two));
        assert_eq!(hub.active_connections(), 1, "a batch is on its way");
        drop(batch);
    };
    assert!(tokio::join!(drain, clients).0);
    assert_eq!(ended(&hub, DisconnectReason::Shutdown), 2);
    let refused = hub.open_feed(&request("/sse"), peer(), Admission::default());
    assert_eq!(refused.unwrap_err().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn it_ends_by_the_operator_with_its_admission_and_with_its_client() {
    let hub = hub();
    let mut feed = open(&hub, "/sse");
    assert!(is_waiting(&mut feed));
    assert!(hub.disconnect(feed.id()));
    assert!(feed.next(MAX_BYTES).await.is_none());
    drop(feed);

    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    let admission = Admission::default()
        .scope(Scope::topics([TopicPattern::parse("x").unwrap()]))
        .until(until.into_std());
    let mut feed = hub.open_feed(&request("/sse"), peer(), admission).unwrap();
    publish(&hub, "a").await;
    assert!(is_waiting(&mut feed), "the event is out of its scope");
    assert!(feed.next(MAX_BYTES).await.is_none());
    assert_eq!(tokio::time::Instant::now(), until);
    drop(feed);

    drop(open(&hub, "/sse"));
    for reason in [
        DisconnectReason::Operator,
        DisconnectReason::AuthorizationEnded,
        DisconnectReason::ClientClosed,
    ] {
        assert_eq!(ended(&hub, reason), 1, "{reason:?}");
    }
    assert_eq!(hub.active_connections(), 0);
}

#[tokio::test]
async fn it_is_refused_as_a_websocket_is() {
    let hub = hub_with(|config| config.max_connections = 1);
    let refused = |request: Request<()>| {
        let refused = hub.open_feed(&request, peer(), Admission::default());
        refused.unwrap_err().reason()
    };
    assert_eq!(refused(request("/sse?types=A")), RejectReason::Query);
    let mut foreign = request("/sse");
    let origin = http::HeaderValue::from_static("https://b");
    foreign.headers_mut().insert("origin", origin);
    assert_eq!(refused(foreign), RejectReason::Origin);
    let _only = open(&hub, "/sse");
    assert_eq!(refused(request("/sse")), RejectReason::Capacity);
}
