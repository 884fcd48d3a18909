//! Clients that others wrote see what the protocol promises: Python's `websockets` and Node's `ws`.

use serde_json::json;
use stoat_tests::{Foreign, Server};

async fn publish(server: &Server, n: u64) -> String {
    let text = "Grüße 🦦 \u{0000}";
    let body = json!({"type": "scan_started", "payload": {"n": n, "text": text}});
    server.publish(&body.to_string()).await
}

async fn both(server: &Server, target: &str, count: usize) -> [Foreign; 2] {
    let (python, node) = tokio::join!(
        Foreign::python(server, target, count),
        Foreign::node(server, target, count)
    );
    [python, node]
}

#[tokio::test]
async fn they_get_events_of_every_size() {
    let server = Server::start(&[]);
    let mut rust = server.client().await;
    let mut foreign = both(&server, "/ws", 2).await;

    for size in [0, 60, 126, 1000, 60_000] {
        let body = json!({"type": "a", "payload": {"x": "ü".repeat(size / 2)}});
        server.publish(&body.to_string()).await;
    }

    let expected = rust.events(5).await;
    for clients in &mut foreign {
        for client in clients.texts(5).await {
            assert_eq!(client.events(), expected);
        }
    }
}

#[tokio::test]
async fn they_resume_and_are_told_of_gaps() {
    let server = Server::start(&["--ws-replay-buffer-size", "3"]);
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(publish(&server, n).await);
    }

    let evicted = format!("/ws?last_event_id={}", ids[0]);
    for clients in &mut both(&server, &evicted, 1).await {
        let client = clients.texts(4).await[0].events();
        client[0].gap("evicted");
        assert_eq!([client[1].n(), client[2].n(), client[3].n()], [3, 4, 5]);
    }
    let retained = format!("/ws?last_event_id={}", ids[4]);
    for clients in &mut both(&server, &retained, 1).await {
        assert_eq!(clients.texts(1).await[0].events()[0].n(), 5);
    }
}

#[tokio::test]
async fn they_ping_and_subscribe() {
    let server = Server::start(&[]);

    for python in [true, false] {
        let mut clients = if python {
            Foreign::python(&server, "/ws", 1).await
        } else {
            Foreign::node(&server, "/ws", 1).await
        };
        clients.send(0, "garbage").await;
        clients
            .send(0, r#"{"action":"subscribe","types":["b"]}"#)
            .await;
        clients.send(0, r#"{"action":"ping"}"#).await;
        let texts = &clients.texts(1).await[0].texts;
        assert_eq!(texts[..], [r#"{"action":"pong"}"#.to_owned()]);
        server.publish(r#"{"type":"a"}"#).await;
        server.publish(r#"{"type":"b"}"#).await;
        let last = clients.texts(2).await[0].texts[1].clone();
        assert_eq!(stoat_tests::Event::parse(&last).event_type, "b");
    }
}

#[tokio::test]
async fn they_are_told_when_they_say_too_much() {
    let server = Server::start(&[]);

    for clients in &mut both(&server, "/ws", 1).await {
        clients.send(0, &"x".repeat(17 * 1024)).await;
        let close = clients.closed().await[0].close.clone();
        assert_eq!(close.map(|(code, _)| code), Some(1009));
    }
    server.connected(0).await;
}

#[tokio::test]
async fn they_are_told_when_the_server_ends() {
    let mut server = Server::start(&[]);
    let mut foreign = both(&server, "/ws", 3).await;
    for n in 0..20 {
        publish(&server, n).await;
    }

    server.terminate();

    for clients in &mut foreign {
        for client in clients.closed().await {
            let events = client.events();
            assert!(events.len() >= 20, "all that was acknowledged: {events:?}");
            for (n, event) in (0..20).zip(&events) {
                assert_eq!(event.n(), n);
            }
            let (code, reason) = client.close.clone().unwrap_or_default();
            assert_eq!(code, 1001, "{reason}");
            assert!(reason.starts_with("retry_ms="), "{reason}");
        }
    }
    assert_eq!(server.exit().await.code(), Some(0));
}
