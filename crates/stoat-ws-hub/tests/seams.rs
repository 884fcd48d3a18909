//! Where two that run at once meet: each scenario with one and with several workers.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stoat_events::{Event, EventType, MemoryLog, Retention, Topic};
use stoat_ws_hub::{ConnectionManager, HubConfig};
use support::{Client, numbered, serve, until, within};
use tokio::task::{JoinHandle, yield_now};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

fn with_workers<F: Future>(scenario: impl Fn() -> F) {
    for workers in [1, 4] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build();
        runtime.unwrap().block_on(scenario());
    }
}

/// Publishes 0, 1, 2 and so on until it is aborted, `n` to the topic `t` and its last digit.
fn publish_on(hub: &ConnectionManager) -> JoinHandle<()> {
    let hub = hub.clone();
    tokio::spawn(async move {
        for n in 0u64.. {
            let topic = Topic::parse(&format!("t{}", n % 10)).unwrap();
            let event = Event::builder(EventType::ScanStarted).topic(Some(topic));
            let event = event.payload(&serde_json::json!({ "n": n })).unwrap();
            hub.broadcast(event.build()).await.unwrap();
            yield_now().await;
        }
    })
}

#[test]
fn resuming_under_constant_publishing_loses_and_repeats_nothing() {
    with_workers(|| async {
        let hub = roomy_hub();
        let address = serve(&hub).await;
        let publisher = publish_on(&hub);
        let mut last = String::from("earliest");
        let mut expected = 0;
        for round in 0..50 {
            let mut client = Client::connect(address, &format!("?last_event_id={last}")).await;
            for _ in 0..=round {
                let event = client.json().await;
                assert_eq!(event["payload"]["n"], expected, "round {round}: {event}");
                expected += 1;
                last = event["event_id"].as_str().unwrap().to_owned();
            }
        }
        publisher.abort();
    });
}

#[test]
fn a_topic_that_is_taken_up_under_constant_publishing_is_whole_from_there_on() {
    with_workers(|| async {
        let hub = roomy_hub();
        let address = serve(&hub).await;
        let publisher = publish_on(&hub);
        let clients = (0..10).map(|first| tokio::spawn(change_topics(address, first)));
        for client in clients.collect::<Vec<_>>() {
            within(client).await.unwrap();
        }
        publisher.abort();
    });
}

/// Follows one topic after the other, and checks that each is whole while it does.
async fn change_topics(address: SocketAddr, first: u64) {
    let mut client = Client::connect(address, &format!("?topics=t{first}")).await;
    let mut topic = first;
    let mut last = None;
    for change in 0..30 {
        for _ in 0..change % 4 {
            follow(&mut client, topic, &mut last).await;
        }
        let next = (topic + 1 + change % 8) % 10;
        let subscribe = format!(r#"{{"action":"subscribe","topics":["t{next}"]}}"#);
        client.send(Message::text(subscribe)).await;
        client.send(Message::text(r#"{"action":"ping"}"#)).await;
        // What was on its way still comes.
        while follow(&mut client, topic, &mut last).await == Some(topic) {}
        topic = next;
    }
}

/// Takes the next message, which is no pong, or one of `topic`, or the first of another.
/// Returns its topic.
async fn follow(client: &mut Client, topic: u64, last: &mut Option<u64>) -> Option<u64> {
    let message = client.json().await;
    let Some(n) = message["payload"]["n"].as_u64() else {
        assert_eq!(message["action"], "pong", "{message}");
        return None;
    };
    if n % 10 == topic
        && let Some(last) = *last
        && last % 10 == topic
    {
        assert_eq!(n, last + 10);
    }
    assert!(Some(n) > *last, "{n} after {last:?}");
    *last = Some(n);
    Some(n % 10)
}

#[test]
fn who_reads_late_gets_all_and_delays_nobody() {
    with_workers(|| async {
        let hub = roomy_hub();
        let address = serve(&hub).await;
        let mut late = Vec::new();
        for _ in 0..5 {
            late.push(Client::connect(address, "").await);
        }
        let mut prompt = Client::connect(address, "").await;
        let filler = "x".repeat(16 << 10);
        let mut sent = 0;
        while hub.stats().slow < late.len() {
            let payload = serde_json::json!({ "n": sent, "filler": filler });
            let event = Event::builder(EventType::ScanStarted).payload(&payload);
            hub.broadcast(event.unwrap().build()).await.unwrap();
            assert_eq!(prompt.number().await, sent);
            sent += 1;
        }
        for mut client in late {
            for n in 0..sent {
                assert_eq!(client.number().await, n);
            }
        }
        until(|| hub.stats().slow == 0).await;
    });
}

#[test]
fn a_drain_under_constant_publishing_sends_what_was_there_and_leaves_no_hole() {
    with_workers(|| async {
        let hub = roomy_hub();
        let address = serve(&hub).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(Client::connect(address, "").await);
        }
        hub.broadcast((0..50).map(numbered).collect::<Vec<_>>())
            .await
            .unwrap();
        let publisher = publish_on(&hub);
        let drain = tokio::spawn({
            let hub = hub.clone();
            async move { hub.drain(Duration::from_secs(30)).await }
        });
        for client in &mut clients {
            for n in 0..50 {
                assert_eq!(client.number().await, n);
            }
            let mut expected = 0;
            let frame = loop {
                match within(futures_util::StreamExt::next(&mut client.0)).await {
                    Some(Ok(Message::Text(text))) => {
                        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
                        assert_eq!(event["payload"]["n"], expected);
                        expected += 1;
                    }
                    Some(Ok(Message::Close(Some(frame)))) => break frame,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(frame.code, CloseCode::Away);
            let _ = within(futures_util::StreamExt::next(&mut client.0)).await;
        }
        assert!(within(drain).await.unwrap());
        publisher.abort();
    });
}

/// Holds all that a scenario publishes.
fn roomy_hub() -> ConnectionManager {
    let retention = Retention {
        events: 1 << 20,
        bytes: 1 << 30,
        age: None,
    };
    let log = MemoryLog::builder().retention(retention).build();
    ConnectionManager::new(Arc::new(log), HubConfig::default())
}
