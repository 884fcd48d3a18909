//! A publisher that repeats a request under its key until it has an answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::ledger::{Acknowledged, TOPICS};
use super::random::Random;
use super::{Scene, Tally};
use crate::event::split_id;
use crate::http::{Connection, Request};

/// Publishes until the scene ends.
pub(super) async fn publish(scene: Arc<Scene>, number: u64) -> Tally {
    let mut random = Random::new(scene.seed, number);
    let mut tally = Tally::default();
    let mut connection = None;
    for request in 0.. {
        if scene.is_ending() {
            break;
        }
        let count = if random.one_in(20) {
            40
        } else {
            random.of(1..6)
        };
        let topics: Vec<usize> = (0..count)
            .map(|_| random.of(0..TOPICS.len() as u64) as usize)
            .collect();
        let first = number * 1_000_000_000 + request * 1_000;
        let filler = "x".repeat(if random.one_in(10) { 4096 } else { 40 });
        let events: Vec<Value> = topics
            .iter()
            .zip(first..)
            .map(|(topic, n)| json!({"type": "soak", "topic": TOPICS[*topic], "payload": {"n": n, "x": filler}}))
            .collect();
        let body = json!(events).to_string();
        let publish = Request::publish(body).header("Idempotency-Key", &first.to_string());
        let response = loop {
            if random.one_in(30) {
                // The answer is never seen; whether it was published is not known.
                let mut cut = Connection::open(scene.address).await;
                cut.start(&publish).await;
                let (stream, _) = cut.into_parts();
                let _ = stream.set_zero_linger();
                tally.repeated_publishes += 1;
                continue;
            }
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(scene.address).await,
            };
            if let Some(response) = open.try_send(&publish).await {
                if !random.one_in(50) {
                    connection = Some(open);
                }
                break response;
            }
        };
        assert_eq!(response.status, 201, "{}", response.text());
        let answer = response.json();
        let receipts = answer["events"].as_array().expect("receipts");
        assert_eq!(receipts.len(), topics.len());
        for ((receipt, topic), n) in receipts.iter().zip(topics).zip(first..) {
            let id = receipt["event_id"].as_str().expect("an event ID");
            scene
                .ledger
                .record(split_id(id).1, Acknowledged { n, topic });
            tally.acknowledged += 1;
        }
        sleep(Duration::from_millis(random.of(0..60))).await;
    }
    tally
}
