//! The kit against a hub, and what it says when a test is to fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stoat_events::{Event, EventType, TypedEvent, build_event};
use stoat_test_kit::TestClient;
use stoat_ws_hub::ConnectionManager;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Paid {
    cents: u64,
}

impl TypedEvent for Paid {
    const TYPE: &'static str = "paid";
}

async fn publish(hub: &ConnectionManager, event_type: &str, n: u64) {
    let event_type = EventType::parse(event_type).unwrap();
    let event = build_event(event_type, &json!({ "cents": n }), None).unwrap();
    hub.broadcast(event).await.unwrap();
}

#[tokio::test]
async fn events_come_in_order_and_by_type() {
    let hub = ConnectionManager::in_memory();
    let mut client = TestClient::connect(&hub, "/ws").await;
    publish(&hub, "a", 1).await;
    publish(&hub, "b", 2).await;
    publish(&hub, "paid", 3).await;
    assert_eq!(client.event().await.event_type.as_str(), "a");
    assert_eq!(client.typed::<Paid>().await, Paid { cents: 3 });
    client.nothing_more().await;
    hub.broadcast(Event::typed(&Paid { cents: 4 }).unwrap())
        .await
        .unwrap();
    assert_eq!(client.typed::<Paid>().await, Paid { cents: 4 });
}

#[tokio::test]
async fn filters_and_replay_are_the_hubs() {
    let hub = ConnectionManager::in_memory();
    publish(&hub, "a", 1).await;
    let mut client = TestClient::connect(&hub, "/ws?types=a&last_event_id=earliest").await;
    publish(&hub, "b", 2).await;
    assert_eq!(client.event().await.event_type.as_str(), "a");
    client.nothing_more().await;
    client.send(r#"{"action":"subscribe","types":["b"]}"#).await;
    client.nothing_more().await;
    publish(&hub, "b", 3).await;
    assert_eq!(client.event().await.event_type.as_str(), "b");
}

#[tokio::test]
#[should_panic(expected = "one event more: {\"type\":\"a\"")]
async fn one_too_many_is_seen() {
    let hub = ConnectionManager::in_memory();
    let mut client = TestClient::connect(&hub, "/ws").await;
    publish(&hub, "a", 1).await;
    client.nothing_more().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "no event within 5s; 1 came before, at last:\n{\"type\":\"a\"")]
async fn one_that_does_not_come_is_told_with_what_came() {
    let hub = ConnectionManager::in_memory();
    let mut client = TestClient::connect(&hub, "/ws").await;
    publish(&hub, "a", 1).await;
    client.event_of("b").await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes() {
    let hub = ConnectionManager::in_memory();
    let client = TestClient::connect(&hub, "/ws").await;
    assert_eq!(hub.active_connections(), 1);
    let (clean, code) = tokio::join!(hub.drain(Duration::from_secs(1)), client.closed());
    assert_eq!((clean, code), (true, Some(1001)));
}
