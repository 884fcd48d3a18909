//! Clients that do not read: they hurt only themselves.
#![allow(clippy::expect_used, reason = "a test")]

use futures_util::future::join_all;
use serde_json::json;
use stoat_tests::{Client, Connection, Event, Raw, Request, Server, eventually};

/// With the size below, more than the system keeps for a connection on both sides.
const EVENTS: u64 = 2_000;

async fn publish_all(server: &Server) {
    let mut connection = Connection::open(server.address()).await;
    let filler = "x".repeat(6 * 1024);
    for n in 0..EVENTS {
        let body = json!({"type": "a", "payload": {"n": n, "x": filler}});
        let response = connection.send(&Request::publish(body.to_string())).await;
        assert_eq!(response.status, 201, "event {n}");
    }
}

async fn read_all(client: &mut Client) {
    for n in 0..EVENTS {
        assert_eq!(client.event().await.n(), n);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody_and_is_dropped() {
    let server = Server::start(&["--ws-write-timeout", "2"]);
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(server.client().await);
    }
    let stuck = Raw::open_narrow(&server, "/ws").await;
    server.connected(5).await;
    let before = server.metrics().await.sum("stoat_ws_disconnects_total");

    tokio::join!(
        publish_all(&server),
        join_all(readers.iter_mut().map(read_all))
    );

    server.connected(4).await;
    let after = server.metrics().await.sum("stoat_ws_disconnects_total");
    assert_eq!(after - before, 1.0);
    drop(stuck);
    server.publish(r#"{"type":"a","payload":{"n":2000}}"#).await;
    for reader in &mut readers {
        assert_eq!(reader.event().await.n(), 2000);
    }
}

#[tokio::test]
async fn a_client_that_reads_again_gets_a_gap_and_goes_on_in_order() {
    let server = Server::start(&["--ws-replay-buffer-size", "100"]);
    let mut slow = Raw::open_narrow(&server, "/ws").await;
    server.connected(1).await;

    publish_all(&server).await;
    eventually("the slow client is known to be slow", async || {
        let slow = server.metrics().await.value("stoat_ws_slow_clients", &[]);
        (slow == Some(1.0)).then_some(())
    })
    .await;

    let mut next = 0;
    let gap = loop {
        let frame = slow.frame().await.expect("an open connection");
        assert_eq!(frame.head, 0x81);
        let event = Event::parse(frame.text());
        if event.event_type == "gap" {
            break event;
        }
        assert_eq!(event.n(), next);
        next += 1;
    };
    let payload = gap.gap("lagged");
    assert!(next < EVENTS - 100, "it was not behind: {next}");
    let mut events = Vec::new();
    while events.len() < 100 {
        let frame = slow.frame().await.expect("an open connection");
        events.push(Event::parse(frame.text()));
    }
    for (n, event) in (EVENTS - 100..).zip(&events) {
        assert_eq!(event.n(), n);
    }
    assert_eq!(payload["oldest"], events[0].id);
    assert_eq!(payload["newest"], events[99].id);

    server.publish(r#"{"type":"a","payload":{"n":7}}"#).await;
    let frame = slow.frame().await.expect("an open connection");
    assert_eq!(Event::parse(frame.text()).n(), 7);
    let target = format!("/ws?last_event_id={}", gap.id);
    let mut resumed = Client::connect(&server, &target).await;
    let first = resumed.event().await;
    // One more event has moved the log past the position of the gap by one.
    assert_eq!(first.gap("evicted")["oldest"], events[1].id);
    let lagged = [("reason", "lagged")];
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("stoat_ws_gaps_total", &lagged), Some(1.0));
}

#[tokio::test]
async fn many_stuck_clients_cost_the_server_little_memory() {
    const STUCK: usize = 50;
    let server = Server::start(&["--ws-replay-buffer-size", "100"]);
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(Raw::open_narrow(&server, "/ws").await);
    }
    server.connected(STUCK).await;
    let memory = async || {
        let metrics = server.metrics().await;
        metrics
            .value("process_resident_memory_bytes", &[])
            .expect("a process metric")
    };
    let before = memory().await;

    publish_all(&server).await;

    let grown = memory().await - before;
    // Each may cost 64 KiB; the retained events are 100 of 6 KiB; the rest is slack.
    let allowed = (STUCK * 64 * 1024 + 100 * 8 * 1024 + 8 * 1024 * 1024) as f64;
    assert!(grown < allowed, "{grown} bytes more, {allowed} allowed");
    drop(stuck);
}
