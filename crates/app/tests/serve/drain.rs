//! A clean end: nothing that was acknowledged is lost, nobody waits for what does not come.

use std::time::{Duration, Instant};

use super::harness::{Running, post, start};
use super::websocket::open;

/// Waits until the server says that it drains.
async fn draining(server: &Running) {
    while server.get("/health/ready").await.status() == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_is_finished_and_clients_are_told() {
    let mut server = start(&[]);
    let mut reader = open(&server, "/ws").await;
    let mut publisher = server.connect().await;
    let body = r#"{"type":"begun"}"#;
    let whole = post("application/json", "", body);
    let (head, rest) = whole.split_at(whole.len() - 5);
    publisher.send(head).await;
    // So that the head is there before the end begins.
    while !server
        .get("/metrics")
        .await
        .body
        .contains("stoat_ws_connected_clients 1\n")
    {}
    tokio::time::sleep(Duration::from_millis(100)).await;

    server.stop();
    draining(&server).await;
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json()["status"], "draining");
    assert!(ready.header("retry-after").is_some());
    assert_eq!(server.get("/health/live").await.status(), 200);
    let refused = server.publish(r#"{"type":"late"}"#).await;
    refused.problem(503);
    assert!(refused.header("retry-after").is_some());

    publisher.send(rest).await;
    assert_eq!(publisher.answer().await.status(), 201);
    let health = reader.event().await;
    assert_eq!(health["type"], "health_status");
    assert_eq!(health["payload"]["status"], "draining");
    assert_eq!(health["correlation_id"], serde_json::Value::Null);
    assert_eq!(reader.event().await["type"], "begun");
    let (first, payload) = reader.frame().await;
    assert_eq!((first, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
    assert!(payload[2..].starts_with(b"retry_ms="));
    drop(reader);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_does_not_come_is_refused_in_time() {
    let mut server = start(&[("DRAIN_TIMEOUT", "1s")]);
    let mut publisher = server.connect().await;
    publisher
        .send(&post("application/json", "", "").replace("length: 0", "length: 12"))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    server.stop();
    publisher.answer().await.problem(503);
    server.stopped().await;
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(400) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_and_silent_clients_delay_nothing() {
    let mut server = start(&[("DRAIN_TIMEOUT", "10s")]);
    let mut idle = server.connect().await;
    idle.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    idle.answer().await;
    let _silent = server.connect().await;
    let began = Instant::now();
    server.stop();
    assert!(idle.is_closed().await);
    server.stopped().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_leave_is_cut_off() {
    let mut server = start(&[("DRAIN_TIMEOUT", "500ms")]);
    // It never answers the Close.
    let mut stuck = open(&server, "/ws").await;
    let began = Instant::now();
    server.stop();
    server.stopped().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(stuck.event().await["type"], "health_status");
    assert_eq!(stuck.frame().await.0, 0x88);
    assert!(stuck.is_closed().await);
}
