//! The list of connections, and closing one of them.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::event::is_timestamp;
use stoat_tests::{Client, Request, Server, eventually};

async fn list(server: &Server) -> Vec<Value> {
    let response = Request::get("/api/v1/connections").send(server).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = response.json();
    body["connections"].as_array().expect("connections").clone()
}

async fn named(server: &Server, target: &str, agent: &str) -> Client {
    Client::connect_with(server.address(), target, &[("User-Agent", agent)]).await
}

fn id(connection: &Value) -> String {
    match &connection["id"] {
        Value::String(id) => id.clone(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn the_list_shows_each_connection() {
    let server = Server::start(&[]);
    assert!(list(&server).await.is_empty());
    let mut plain = named(&server, "/ws", "plain/1").await;
    let mut picky = named(&server, "/ws?types=a,b&topics=x.*", "picky/2").await;
    let id = server.publish(r#"{"type":"a","topic":"x.y"}"#).await;
    let frame = plain.event().await.text;
    picky.event().await;

    // The counters follow the bytes, not the other way round.
    let connections = eventually("both connections are up to date", async || {
        let connections = list(&server).await;
        let idle = |c: &Value| c["lag_events"] == 0 && c["bytes_sent"] != 0;
        (connections.iter().all(idle)).then_some(connections)
    })
    .await;

    assert_eq!(connections.len(), 2, "{id}");
    let by_agent = |agent: &str| {
        let found = connections.iter().find(|c| c["user_agent"] == agent);
        found.unwrap_or_else(|| panic!("{agent} in {connections:?}"))
    };
    for connection in [by_agent("plain/1"), by_agent("picky/2")] {
        let remote = connection["remote_addr"].as_str().expect("an address");
        assert!(remote.starts_with("127.0.0.1:"), "{connection}");
        let since = connection["connected_since"].as_str().expect("a time");
        assert!(is_timestamp(since), "{connection}");
        // The header of this frame is of 4 bytes.
        assert_eq!(connection["bytes_sent"], frame.len() + 4, "{connection}");
    }
    let all = json!({"types": null, "topics": null});
    assert_eq!(by_agent("plain/1")["filters"], all);
    let some = json!({"types": ["a", "b"], "topics": ["x.*"]});
    assert_eq!(by_agent("picky/2")["filters"], some);
    assert_ne!(by_agent("plain/1")["id"], by_agent("picky/2")["id"]);

    picky.send(r#"{"action":"subscribe","types":[]}"#).await;
    picky.ping().await;
    let connections = list(&server).await;
    let picky = connections.iter().find(|c| c["user_agent"] == "picky/2");
    assert_eq!(
        picky.expect("it")["filters"],
        json!({"types": [], "topics": null})
    );
}

#[tokio::test]
async fn a_connection_that_ends_leaves_the_list() {
    let server = Server::start(&[]);
    let closed = named(&server, "/ws", "closed").await;
    let cut = named(&server, "/ws", "cut").await;
    let _stays = named(&server, "/ws", "stays").await;
    assert_eq!(list(&server).await.len(), 3);

    closed.close().await;
    cut.cut();

    eventually("one connection is left", async || {
        let connections = list(&server).await;
        let agents: Vec<&Value> = connections.iter().map(|c| &c["user_agent"]).collect();
        (agents == [&json!("stays")]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_operator_can_close_a_connection() {
    let server = Server::start(&[]);
    let mut victim = named(&server, "/ws", "victim").await;
    let mut other = named(&server, "/ws", "other").await;
    let connections = list(&server).await;
    let found = connections.iter().find(|c| c["user_agent"] == "victim");
    let path = format!("/api/v1/connections/{}", id(found.expect("the victim")));

    let response = Request::new("DELETE", &path).send(&server).await;

    assert!(matches!(response.status, 200 | 202 | 204), "{response:?}");
    let (events, close) = victim.closed().await;
    let close = close.expect("a Close");
    assert_eq!(u16::from(close.code), 1008, "{close:?}");
    assert!(!close.reason.is_empty(), "a reason: {close:?}");
    assert!(events.is_empty());
    server.connected(1).await;
    Request::new("DELETE", &path)
        .send(&server)
        .await
        .problem(404);
    server.publish(r#"{"type":"a"}"#).await;
    assert_eq!(other.event().await.event_type, "a");
}

#[tokio::test]
async fn an_unknown_connection_cannot_be_closed() {
    let server = Server::start(&[]);
    let _client = server.client().await;

    for unknown in [
        "0",
        "999999",
        "nonsense",
        "-1",
        "18446744073709551616",
        "%20",
    ] {
        let path = format!("/api/v1/connections/{unknown}");
        Request::new("DELETE", &path)
            .send(&server)
            .await
            .problem(404);
    }
    assert_eq!(list(&server).await.len(), 1);
}
