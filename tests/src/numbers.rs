//! Numbered events, from which a page can tell a loss, a repeat and another order.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::http::Request;
use crate::server::Server;

/// Publishes events with the numbers `from..to`, as one batch.
pub async fn publish(server: &Server, from: u64, to: u64) {
    let events: Vec<Value> = (from..to)
        .map(|n| json!({"type": "a", "payload": {"n": n}}))
        .collect();
    let body = serde_json::to_vec(&events).expect("JSON");
    let answer = Request::publish(body).send(server).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// Waits until the page has the events `0..count`, each once and in order, and no gap; see
/// [`Browser::connect`].
pub async fn has_all(browser: &mut Browser, count: u64) {
    browser.until(&format!("numbers.length >= {count}")).await;
    let expected: Vec<u64> = (0..count).collect();
    assert_eq!(browser.evaluate("numbers").await, json!(expected));
    assert_eq!(browser.evaluate("gaps").await, json!([]));
}
