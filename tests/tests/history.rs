//! Retained events over HTTP, and the cursor that every response carries.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::HashMap;

use serde_json::json;
use serde_json::value::RawValue;
use stoat_tests::event::split_id;
use stoat_tests::{Client, Connection, Event, Raw, Request, Server, eventually};

/// One page: its events, `next` and `gap`.
struct Page {
    events: Vec<Event>,
    next: Option<String>,
    gap: bool,
}

async fn page(server: &Server, query: &str) -> Page {
    let response = Request::get(&format!("/api/v1/events{query}"))
        .send(server)
        .await;
    assert_eq!(response.status, 200, "{query}: {}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = response.text();
    let fields: HashMap<&str, &RawValue> = serde_json::from_str(&body).expect("an object");
    assert_eq!(fields.len(), 3, "{body}");
    let events: Vec<&RawValue> = serde_json::from_str(fields["events"].get()).expect("an array");
    Page {
        events: events
            .iter()
            .map(|event| Event::parse(event.get()))
            .collect(),
        next: serde_json::from_str(fields["next"].get()).expect("an ID or null"),
        gap: serde_json::from_str(fields["gap"].get()).expect("a boolean"),
    }
}

async fn publish(server: &Server, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let (event_type, topic) = [("a", "x"), ("b", "y.z"), ("a", "y")][n % 3];
        let body = json!({"type": event_type, "topic": topic, "payload": {"n": n}});
        ids.push(server.publish(&body.to_string()).await);
    }
    ids
}

fn numbers(page: &Page) -> Vec<u64> {
    page.events.iter().map(Event::n).collect()
}

#[tokio::test]
async fn history_holds_what_the_clients_got() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    server
        .publish(r#"{"type":"a","payload":{"big":1e400,"a":1,"a":2}}"#)
        .await;
    publish(&server, 5).await;

    let page = page(&server, "").await;

    assert_eq!(page.events, client.events(6).await);
    assert!(!page.gap);
}

#[tokio::test]
async fn an_empty_log_has_an_empty_history() {
    let server = Server::start(&[]);

    let page = page(&server, "?limit=5").await;

    assert!(page.events.is_empty() && !page.gap && page.next.is_none());
}

#[tokio::test]
async fn paging_gives_everything_once() {
    let server = Server::start(&[]);
    let ids = publish(&server, 10).await;

    let first = page(&server, "?limit=3").await;
    assert_eq!(numbers(&first), [0, 1, 2]);
    let mut seen = numbers(&first);
    let mut next = first.next;
    while let Some(after) = next {
        let page = page(&server, &format!("?limit=3&after={after}")).await;
        assert!(page.events.len() <= 3 && !page.gap);
        seen.extend(numbers(&page));
        next = page.next.filter(|_| !page.events.is_empty());
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    let rest = page(&server, &format!("?after={}", ids[6])).await;
    assert_eq!(numbers(&rest), [7, 8, 9]);
    let nothing = page(&server, &format!("?after={}", ids[9])).await;
    assert!(nothing.events.is_empty() && !nothing.gap);
    assert_eq!(page(&server, "?after=").await.events.len(), 10);
}

#[tokio::test]
async fn a_page_has_a_hundred_events_and_at_most_a_thousand() {
    let server = Server::start(&[]);
    let batch = format!("[{}]", vec![r#"{"type":"a"}"#; 600].join(","));
    for _ in 0..2 {
        assert_eq!(
            Request::publish(batch.as_str()).send(&server).await.status,
            201
        );
    }

    for (query, events) in [
        ("", 100),
        ("?limit=1", 1),
        ("?limit=1000", 1000),
        ("?limit=5000", 1000),
    ] {
        let page = page(&server, query).await;
        assert_eq!(page.events.len(), events, "{query}");
        assert!(page.next.is_some(), "{query}");
    }
}

#[tokio::test]
async fn filters_hold_and_paging_goes_on_behind_what_they_leave_out() {
    let server = Server::start(&[]);
    publish(&server, 12).await;

    assert_eq!(numbers(&page(&server, "?types=b").await), [1, 4, 7, 10]);
    assert_eq!(numbers(&page(&server, "?topics=y.*").await), [1, 4, 7, 10]);
    assert_eq!(
        numbers(&page(&server, "?topics=y,y.*&types=a").await),
        [2, 5, 8, 11]
    );
    assert!(page(&server, "?types=no_such").await.events.is_empty());
    let first = page(&server, "?types=b&limit=2").await;
    assert_eq!(numbers(&first), [1, 4]);
    let after = first.next.expect("more to come");
    let second = page(&server, &format!("?types=b&limit=2&after={after}")).await;
    assert_eq!(numbers(&second), [7, 10]);
}

#[tokio::test]
async fn history_says_when_something_is_missing() {
    let server = Server::start(&["--ws-replay-buffer-size", "5"]);
    let ids = publish(&server, 10).await;

    for (after, first, gap) in [
        (ids[0].as_str(), 5, true),
        (&ids[3], 5, true),
        (&ids[4], 5, false),
        (&ids[6], 7, false),
        ("0000000000000000-7", 5, true),
        ("nonsense", 5, true),
    ] {
        let page = page(&server, &format!("?after={after}")).await;
        assert_eq!((page.events[0].n(), page.gap), (first, gap), "{after}");
    }
    assert!(!page(&server, "").await.gap, "nobody asked for more");
}

#[tokio::test]
async fn the_log_keeps_no_more_bytes_than_it_may() {
    let server = Server::start(&["--ws-replay-buffer-bytes", "20KiB"]);
    let filler = "x".repeat(900);
    for n in 0..50 {
        let body = json!({"type": "a", "payload": {"n": n, "x": filler}});
        server.publish(&body.to_string()).await;
    }

    let page = page(&server, "").await;

    let bytes: usize = page.events.iter().map(|event| event.text.len()).sum();
    assert!((10 * 1024..=20 * 1024).contains(&bytes), "{bytes}");
    assert_eq!(page.events.last().map(Event::n), Some(49));
    let metrics = server.metrics().await;
    let retained = metrics.value("stoat_ws_buffer_size", &[]);
    assert_eq!(retained, Some(page.events.len() as f64));
}

#[tokio::test]
async fn the_log_keeps_nothing_longer_than_it_may() {
    let server = Server::start(&["--ws-replay-ttl-seconds", "1"]);
    let ids = publish(&server, 2).await;

    eventually("both events are evicted by age", async || {
        page(&server, "").await.events.is_empty().then_some(())
    })
    .await;

    assert!(page(&server, &format!("?after={}", ids[0])).await.gap);
    assert!(!page(&server, &format!("?after={}", ids[1])).await.gap);
    let target = format!("/ws?last_event_id={}", ids[0]);
    let mut client = Client::connect(&server, &target).await;
    let gap = client.event().await;
    assert_eq!(gap.gap("evicted")["oldest"], json!(null));
    assert_eq!(gap.id, ids[1]);
}

#[tokio::test]
async fn every_response_carries_the_newest_position() {
    let server = Server::start(&[]);
    let live = Request::get("/health/live");
    assert_eq!(live.send(&server).await.header("x-stoat-cursor"), None);

    let published = Request::publish(r#"{"type":"a"}"#).send(&server).await;
    let id = published.json()["event_id"]
        .as_str()
        .expect("an ID")
        .to_owned();
    let requests = [
        live,
        Request::get("/health/ready"),
        Request::get("/metrics"),
        Request::get("/api/v1/events"),
        Request::get("/api/v1/connections"),
        Request::get("/no/such/page"),
        Request::get("/ws"),
        Request::new("DELETE", "/api/v1/events"),
        Request::publish("{"),
    ];
    for request in requests {
        let response = request.send(&server).await;
        assert_eq!(
            response.header("x-stoat-cursor"),
            Some(id.as_str()),
            "{request:?}"
        );
    }
    let connection = Connection::open(server.address()).await;
    let (_, response) = Raw::upgrade(connection, &Raw::handshake(&server, "/ws", "")).await;
    assert_eq!(response.header("x-stoat-cursor"), Some(id.as_str()));
    let next = Request::publish(r#"{"type":"a"}"#).send(&server).await;
    let newest = next.header("x-stoat-cursor").expect("a cursor");
    assert_eq!(split_id(newest).1, split_id(&id).1 + 1);
}

#[tokio::test]
async fn a_page_that_loads_and_then_subscribes_misses_nothing() {
    let server = Server::start(&[]);
    publish(&server, 5).await;

    let response = Request::get("/api/v1/events?limit=1000")
        .send(&server)
        .await;
    let cursor = response
        .header("x-stoat-cursor")
        .expect("a cursor")
        .to_owned();
    let loaded = response.json()["events"].as_array().map(Vec::len);
    publish(&server, 3).await;
    let target = format!("/ws?last_event_id={cursor}");
    let mut client = Client::connect(&server, &target).await;
    publish(&server, 1).await;

    assert_eq!(loaded, Some(5));
    let events = client.events(4).await;
    let numbers: Vec<u64> = events.iter().map(Event::n).collect();
    assert_eq!(numbers, [0, 1, 2, 0]);
}
