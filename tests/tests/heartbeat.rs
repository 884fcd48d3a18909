//! The heartbeat: one event for all connections, kept in no log.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use stoat_tests::event::split_id;
use stoat_tests::{Client, Event, Request, Server};

const EVERY_SECOND: [&str; 2] = ["--ws-heartbeat-interval", "1"];

/// Seconds since midnight.
fn seconds(event: &Event) -> f64 {
    let part = |from: usize, to: usize| event.timestamp[from..to].parse().unwrap_or(f64::NAN);
    part(11, 13) * 3600.0 + part(14, 16) * 60.0 + part(17, 26)
}

/// The first so many heartbeats; nothing else may come.
async fn heartbeats(client: &mut Client, count: usize) -> Vec<Event> {
    let events = client.events(count).await;
    for event in &events {
        assert_eq!(event.event_type, "heartbeat");
        assert_eq!((&event.topic, &event.correlation_id), (&None, &None));
    }
    events
}

#[tokio::test]
async fn ten_clients_see_ten_heartbeats_in_ten_seconds() {
    let server = Server::start(&EVERY_SECOND);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(server.client().await);
    }

    let all = join_all(clients.iter_mut().map(|client| heartbeats(client, 11))).await;

    for heartbeats in &all {
        let first = seconds(&heartbeats[0]);
        let within_ten = heartbeats
            .iter()
            .filter(|event| (seconds(event) - first).rem_euclid(86_400.0) <= 10.0)
            .count();
        assert!((9..=11).contains(&within_ten), "{heartbeats:?}");
        let span = (seconds(&heartbeats[10]) - first).rem_euclid(86_400.0);
        assert!(span > 8.0, "11 heartbeats in {span} s");
    }
    // One event is built for all: who sees the same moment sees the same text.
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for heartbeat in all.iter().flatten() {
        let text = texts.entry(heartbeat.timestamp.clone()).or_default();
        if text.is_empty() {
            text.clone_from(&heartbeat.text);
        }
        assert_eq!(&heartbeat.text, text);
    }
    assert!(texts.len() <= 13, "{} heartbeats for all", texts.len());
}

#[tokio::test]
async fn on_an_empty_log_a_heartbeat_carries_the_position_before_the_first_event() {
    let server = Server::start(&EVERY_SECOND);
    let mut client = server.client().await;

    let heartbeat = heartbeats(&mut client, 1).await.remove(0);

    assert_eq!(split_id(&heartbeat.id).1, 0, "{heartbeat:?}");
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.publish(r#"{"type":"a"}"#).await);
    }
    assert_eq!(split_id(&ids[0]).0, split_id(&heartbeat.id).0);
    let target = format!("/ws?last_event_id={}", heartbeat.id);
    let mut resumed = Client::connect(&server, &target).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = resumed.event().await;
        if event.event_type != "heartbeat" {
            seen.push(event.id);
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_heartbeat_keeps_the_position_of_an_idle_client_fresh() {
    let server = Server::start(&EVERY_SECOND);
    let mut idle = Client::connect(&server, "/ws?types=").await;
    idle.send(r#"{"action":"subscribe","types":[],"topics":[]}"#)
        .await;
    let newest = server.publish(r#"{"type":"a"}"#).await;

    // It passes every filter, and the first one after the publish has the new position.
    let mut heartbeat = heartbeats(&mut idle, 1).await.remove(0);
    while heartbeat.id != newest {
        assert_eq!(split_id(&heartbeat.id).1, 0, "{heartbeat:?}");
        heartbeat = heartbeats(&mut idle, 1).await.remove(0);
    }

    let history = Request::get("/api/v1/events").send(&server).await.json();
    assert_eq!(history["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(history["events"][0]["type"], "a");
    let next = server.publish(r#"{"type":"b"}"#).await;
    assert_eq!(split_id(&next).1, split_id(&newest).1 + 1);
}
