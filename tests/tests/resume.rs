//! Coming back with `last_event_id`: nothing is missed, nothing comes twice.
#![allow(clippy::expect_used, reason = "a test")]

use std::cell::Cell;

use serde_json::{Value, json};
use stoat_tests::event::split_id;
use stoat_tests::{Client, Connection, Event, Request, Server};

/// Publishes events with the numbers `from..to` and returns their IDs.
async fn publish(server: &Server, from: u64, to: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for n in from..to {
        let body = json!({"type": "a", "payload": {"n": n}});
        ids.push(server.publish(&body.to_string()).await);
    }
    ids
}

async fn resume(server: &Server, id: &str) -> Client {
    Client::connect(server, &format!("/ws?last_event_id={id}")).await
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(Event::n).collect()
}

/// A server that retains the events 5 to 9 of ten, and the IDs of all ten.
async fn five_of_ten() -> (Server, Vec<String>) {
    let server = Server::start(&["--ws-replay-buffer-size", "5"]);
    let ids = publish(&server, 0, 10).await;
    (server, ids)
}

#[tokio::test]
async fn two_hundred_reconnects_under_constant_publishing_lose_and_repeat_nothing() {
    const TRIES: u64 = 200;
    let server = Server::start(&[
        "--ws-replay-buffer-size=10000000",
        "--ws-replay-buffer-bytes=4GiB",
        "--ws-replay-ttl-seconds=0",
    ]);
    let mut last = publish(&server, 0, 1).await.remove(0);
    let published = Cell::new(1);
    let done = Cell::new(false);

    let publisher = async {
        let mut connection = Connection::open(server.address()).await;
        while !done.get() {
            let body = json!({"type": "a", "payload": {"n": published.get()}});
            let response = connection.send(&Request::publish(body.to_string())).await;
            assert_eq!(response.status, 201);
            published.set(published.get() + 1);
        }
    };
    let reader = async {
        let mut next = 1;
        for attempt in 0..TRIES {
            // The seam between what is replayed and what is live is crossed on most tries.
            let beyond = attempt * 7919 % 23;
            let mut client = if attempt % 2 == 0 {
                resume(&server, &last).await
            } else {
                let header = [("Last-Event-ID", last.as_str())];
                Client::connect_with(server.address(), "/ws", &header).await
            };
            let target = match attempt % 5 {
                0 => next,
                _ => published.get() + beyond,
            };
            while next < target {
                let event = client.event().await;
                assert_eq!(event.n(), next, "try {attempt}: {event:?}");
                next += 1;
                last = event.id;
            }
            client.cut();
        }
        done.set(true);
        next
    };
    let ((), next) = tokio::join!(publisher, reader);

    let mut client = resume(&server, &last).await;
    for n in next..published.get() {
        assert_eq!(client.event().await.n(), n);
    }
}

#[tokio::test]
async fn replay_and_live_events_join_without_a_seam() {
    let server = Server::start(&[]);
    let ids = publish(&server, 0, 10).await;

    let mut client = resume(&server, &ids[3]).await;
    publish(&server, 10, 12).await;

    assert_eq!(
        numbers(&client.events(8).await),
        (4..12).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn an_evicted_position_gets_a_gap_and_all_that_is_retained() {
    let (server, ids) = five_of_ten().await;

    for evicted in &ids[..4] {
        let mut client = resume(&server, evicted).await;
        let gap = client.event().await;
        assert_eq!(
            gap.gap("evicted"),
            json!({"reason": "evicted", "requested": evicted, "oldest": ids[5], "newest": ids[9]})
        );
        assert_eq!(gap.id, ids[4], "the position before the next event");
        assert_eq!((&gap.correlation_id, &gap.topic), (&None, &None));
        assert_eq!(numbers(&client.events(5).await), [5, 6, 7, 8, 9]);

        let mut again = resume(&server, &gap.id).await;
        assert_eq!(again.event().await.n(), 5, "safe to resume from");
    }
    let (epoch, _) = split_id(&ids[0]);
    let mut client = resume(&server, &format!("{epoch}-0")).await;
    client.event().await.gap("evicted");
}

#[tokio::test]
async fn the_position_just_before_the_oldest_event_has_missed_nothing() {
    let (server, ids) = five_of_ten().await;

    for (id, next) in [(&ids[4], 5), (&ids[5], 6), (&ids[8], 9)] {
        let mut client = resume(&server, id).await;
        assert_eq!(client.event().await.n(), next);
    }
    let mut newest = resume(&server, &ids[9]).await;
    publish(&server, 10, 11).await;
    assert_eq!(newest.event().await.n(), 10);
}

#[tokio::test]
async fn a_position_of_another_log_gets_a_gap_and_all_that_is_retained() {
    let (server, ids) = five_of_ten().await;
    let (epoch, newest) = split_id(&ids[9]);
    let other = Server::start(&[]);
    let foreign = other.publish(r#"{"type":"a"}"#).await;
    let future = format!("{epoch}-{}", newest + 1);
    let far = format!("{epoch}-{}", u64::MAX);

    for unknown in [foreign.as_str(), &future, &far] {
        let mut client = resume(&server, unknown).await;
        let gap = client.event().await;
        let expected = json!({
            "reason": "unknown_id", "requested": unknown, "oldest": ids[5], "newest": ids[9],
        });
        assert_eq!(gap.gap("unknown_id"), expected);
        assert_eq!(gap.id, ids[4]);
        assert_eq!(numbers(&client.events(5).await), [5, 6, 7, 8, 9]);
    }
}

#[tokio::test]
async fn nonsense_for_a_position_is_not_of_this_log() {
    let (server, ids) = five_of_ten().await;
    let long = "x".repeat(65);

    for (nonsense, decoded) in [
        ("nonsense", "nonsense"),
        ("-", "-"),
        ("%22%3Cb%3E", "\"<b>"),
        ("a%20b", "a b"),
        ("Earliest", "Earliest"),
        ("%C3%BC", "ü"),
        ("7", "7"),
        (&long, &long),
    ] {
        let mut client = resume(&server, nonsense).await;
        let gap = client.event().await;
        let payload = gap.gap("unknown_id");
        assert_eq!(payload["oldest"], ids[5]);
        // Only what can be an ID is echoed.
        if let Value::String(requested) = &payload["requested"] {
            assert_eq!(requested, decoded);
            assert!(decoded.len() <= 64 && decoded.bytes().all(|b| b.is_ascii_graphic()));
        }
        assert_eq!(numbers(&client.events(5).await), [5, 6, 7, 8, 9]);
    }
}

#[tokio::test]
async fn a_gap_on_an_empty_log_leads_to_what_comes() {
    let server = Server::start(&[]);

    let mut client = resume(&server, "0000000000000000-5").await;
    let gap = client.event().await;
    let payload = gap.gap("unknown_id");
    assert_eq!(
        (&payload["oldest"], &payload["newest"]),
        (&json!(null), &json!(null))
    );
    publish(&server, 0, 2).await;
    assert_eq!(client.event().await.n(), 0);

    let mut again = resume(&server, &gap.id).await;
    assert_eq!(again.event().await.n(), 0, "safe to resume from");
}

#[tokio::test]
async fn earliest_replays_what_is_retained_without_a_gap() {
    let (server, _) = five_of_ten().await;

    let mut client = resume(&server, "earliest").await;
    assert_eq!(numbers(&client.events(5).await), [5, 6, 7, 8, 9]);

    let header = [("Last-Event-ID", "earliest")];
    let mut client = Client::connect_with(server.address(), "/ws", &header).await;
    assert_eq!(client.event().await.n(), 5);

    let empty = Server::start(&[]);
    let mut client = resume(&empty, "earliest").await;
    publish(&empty, 0, 1).await;
    assert_eq!(client.event().await.n(), 0);
}

#[tokio::test]
async fn an_empty_position_is_none() {
    let (server, _) = five_of_ten().await;

    let mut in_query = resume(&server, "").await;
    let header = [("Last-Event-ID", "")];
    let mut in_header = Client::connect_with(server.address(), "/ws", &header).await;
    publish(&server, 10, 11).await;

    assert_eq!(in_query.event().await.n(), 10);
    assert_eq!(in_header.event().await.n(), 10);
}

#[tokio::test]
async fn the_header_wins_over_the_query() {
    let (server, ids) = five_of_ten().await;
    let target = format!("/ws?last_event_id={}", ids[5]);

    let header = [("Last-Event-ID", ids[7].as_str())];
    let mut client = Client::connect_with(server.address(), &target, &header).await;
    assert_eq!(client.event().await.n(), 8);

    let header = [("Last-Event-ID", "")];
    let mut client = Client::connect_with(server.address(), &target, &header).await;
    assert_eq!(client.event().await.n(), 6, "an empty header is none");
}

#[tokio::test]
async fn filters_apply_to_what_is_replayed_but_not_to_a_gap() {
    let server = Server::start(&["--ws-replay-buffer-size", "6"]);
    let mut ids = Vec::new();
    for n in 0..12 {
        let (event_type, topic) = [("a", "x"), ("b", "x"), ("a", "y")][n % 3];
        let body = json!({"type": event_type, "topic": topic, "payload": {"n": n}});
        ids.push(server.publish(&body.to_string()).await);
    }

    let target = |id: &str| format!("/ws?types=a&topics=x&last_event_id={id}");
    let mut client = Client::connect(&server, &target("earliest")).await;
    assert_eq!(numbers(&client.events(2).await), [6, 9]);
    let mut client = Client::connect(&server, &target(&ids[0])).await;
    client.event().await.gap("evicted");
    assert_eq!(numbers(&client.events(2).await), [6, 9]);
    server
        .publish(r#"{"type":"b","topic":"x","payload":{"n":12}}"#)
        .await;
    server
        .publish(r#"{"type":"a","topic":"x","payload":{"n":13}}"#)
        .await;
    assert_eq!(client.event().await.n(), 13);
}

#[tokio::test]
async fn each_reason_for_a_gap_is_counted() {
    let (server, ids) = five_of_ten().await;

    resume(&server, &ids[0]).await.event().await.gap("evicted");
    resume(&server, &ids[1]).await.event().await.gap("evicted");
    resume(&server, "other")
        .await
        .event()
        .await
        .gap("unknown_id");

    let metrics = server.metrics().await;
    let count = |reason| metrics.value("stoat_ws_gaps_total", &[("reason", reason)]);
    assert_eq!(count("evicted"), Some(2.0));
    assert_eq!(count("unknown_id"), Some(1.0));
}
