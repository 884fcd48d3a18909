//! `/ws` behind the routes; the protocol itself is tested in the hub's crate.

use serde_json::json;

use super::harness::{Client, Running, start};

pub(crate) const UPGRADE: &str = "host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

pub(crate) async fn open(server: &Running, path: &str) -> Client {
    let mut client = server.connect().await;
    client
        .send(&format!("GET {path} HTTP/1.1\r\n{UPGRADE}\r\n"))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 101, "{answer:?}");
    client
}

#[tokio::test]
async fn the_101_carries_id_and_cursor_and_events_follow() {
    let server = start(&[]);
    let published = server.publish(r#"{"type":"a"}"#).await.json();
    let mut client = server.connect().await;
    client
        .send(&format!(
            "GET /ws?last_event_id=earliest HTTP/1.1\r\n{UPGRADE}x-correlation-id: mine\r\n\r\n"
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 101, "{answer:?}");
    assert_eq!(answer.header("x-correlation-id"), Some("mine"));
    assert_eq!(
        answer.header("x-stoat-cursor"),
        published["event_id"].as_str()
    );
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(client.event().await["type"], "a");
    server.publish(r#"{"type":"b","correlation_id":"x"}"#).await;
    let event = client.event().await;
    assert_eq!(
        (&event["type"], &event["correlation_id"]),
        (&json!("b"), &json!("x"))
    );
}

#[tokio::test]
async fn refusals_are_problems() {
    let server = start(&[("MAX_CONNECTIONS_PER_IP", "1")]);
    server.publish(r#"{"type":"a"}"#).await;
    let plain = server.get("/ws").await;
    assert_eq!(plain.problem(426)["reason"], "not_an_upgrade");
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    assert_eq!(plain.header("connection"), Some("upgrade"));
    assert!(plain.header("x-stoat-cursor").is_some());

    let ask = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{UPGRADE}{headers}\r\n");
        let server = &server;
        async move { server.ask(&request).await }
    };
    let foreign = ask("/ws", "origin: https://evil.example\r\n").await;
    foreign.problem(403);
    assert_eq!(foreign.header("x-stoat-cursor"), None);
    ask("/ws?types=A", "").await.problem(400);
    server
        .ask(&format!("POST /ws HTTP/1.1\r\n{UPGRADE}\r\n"))
        .await
        .problem(400);
    let _first = open(&server, "/ws").await;
    let over = ask("/ws", "").await;
    over.problem(429);
    assert!(over.header("retry-after").is_some());
    let metrics = server.get("/metrics").await;
    for line in [
        "stoat_ws_rejected_handshakes_total{reason=\"origin\"} 1",
        "stoat_ws_connected_clients 1",
        "stoat_ws_connects_total 1",
        "http_requests_total{method=\"GET\",route=\"/ws\",status=\"101\"} 1",
    ] {
        assert!(
            metrics.body.contains(&format!("{line}\n")),
            "{line}: {metrics:?}"
        );
    }
}

#[tokio::test]
async fn connections_are_listed_and_closed() {
    let server = start(&[]);
    let mut client = open(&server, "/ws?types=a").await;
    let list = server.get("/api/v1/connections").await.json();
    assert_eq!(list["count"], 1);
    assert_eq!(list["connections"][0]["filters"]["types"], json!(["a"]));
    let id = list["connections"][0]["id"].as_str().unwrap();
    let closed = server
        .ask(&format!(
            "DELETE /api/v1/connections/{id} HTTP/1.1\r\nhost: a\r\n\r\n"
        ))
        .await;
    assert_eq!((closed.status(), &*closed.body), (204, ""));
    let (first, payload) = client.frame().await;
    assert_eq!((first, &payload[..2]), (0x88, &1008_u16.to_be_bytes()[..]));
}
