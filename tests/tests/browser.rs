//! Chromium sees what the protocol promises: WebSockets over HTTP/1.1 and HTTP/2, and Server-Sent Events.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::json;
use stoat_tests::{Browser, Identity, Server};

/// Opens a page of the server, and in it a WebSocket whose texts `window.texts` collects.
async fn open_socket(browser: &mut Browser, server: &Server) {
    browser.goto(&format!("{}/health/live", server.url())).await;
    browser
        .evaluate(
            "new Promise((opened) => {
               window.texts = [];
               window.socket = new WebSocket(location.origin.replace('http', 'ws') + '/ws', ['stoat.v1']);
               socket.onmessage = ({ data }) => texts.push(data);
               socket.onopen = () => opened(null);
             })",
        )
        .await;
}

async fn publish(server: &Server, n: u64) -> String {
    let body = json!({"type": "a", "payload": {"n": n, "text": "Grüße 🦦"}});
    server.publish(&body.to_string()).await
}

#[tokio::test]
async fn a_page_gets_events_over_http_1() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    open_socket(&mut browser, &server).await;
    for n in 0..3 {
        publish(&server, n).await;
    }
    browser.until("texts.length === 3").await;
    let texts = browser
        .evaluate("texts.map((text) => JSON.parse(text).payload)")
        .await;
    assert_eq!(texts[2], json!({"n": 2, "text": "Grüße 🦦"}));
    assert_eq!(browser.evaluate("socket.protocol").await, "stoat.v1");
    let labels = [("method", "GET"), ("route", "/ws"), ("status", "101")];
    let upgrades = server.metrics().await.value("http_requests_total", &labels);
    assert_eq!(upgrades, Some(1.0));
}

/// Seen with Chromium 148: where it has an HTTP/2 connection to the server, whose settings allow
/// the extended CONNECT, it opens the WebSocket as a stream of that connection (RFC 8441).
#[tokio::test]
async fn over_tls_a_websocket_is_a_stream_of_the_http_2_connection() {
    let identity = Identity::new();
    let server = identity.serve(&[]);
    let mut browser = Browser::start().await;
    open_socket(&mut browser, &server).await;
    let version = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.evaluate(version).await, "h2");

    // The page publishes, over the same connection.
    browser
        .evaluate(
            "fetch('/api/v1/events', { method: 'POST', headers: { 'Content-Type': 'application/json' },
               body: '{\"type\":\"a\",\"payload\":{\"n\":7}}' }).then((answer) => answer.status)",
        )
        .await;
    let payload = browser
        .value("texts.map((text) => JSON.parse(text).payload)[0] ?? null")
        .await;
    assert_eq!(payload, json!({"n": 7}));

    let metrics = "fetch('/metrics').then((answer) => answer.text())";
    let metrics = browser.evaluate(metrics).await;
    let metrics = stoat_tests::Metrics::parse(metrics.as_str().expect("text"));
    let count = |method, status| {
        let labels = [("method", method), ("route", "/ws"), ("status", status)];
        metrics.value("http_requests_total", &labels)
    };
    assert_eq!(
        (count("CONNECT", "200"), count("GET", "101")),
        (Some(1.0), None)
    );
}

#[tokio::test]
async fn an_event_source_resumes_by_itself_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("a path in UTF-8");
    let mut server = Server::start(&["--log-dir", folder]);
    let address = server.address().to_string();
    let mut browser = Browser::start().await;
    browser.goto(&format!("{}/health/live", server.url())).await;
    publish(&server, 0).await;
    browser
        .evaluate(
            "new Promise((opened) => {
               window.numbers = [];
               window.source = new EventSource('/sse?last_event_id=earliest');
               source.addEventListener('a', ({ data, lastEventId }) => {
                 const event = JSON.parse(data);
                 if (event.event_id !== lastEventId) throw new Error(lastEventId);
                 numbers.push(event.payload.n);
               });
               source.addEventListener('gap', () => numbers.push('gap'));
               source.onopen = () => opened(null);
             })",
        )
        .await;
    browser.until("numbers.length === 1").await;
    publish(&server, 1).await;
    browser.until("numbers.length === 2").await;

    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
    let server = Server::start(&["--log-dir", folder, "--listen", &address]);
    publish(&server, 2).await;
    browser.until("numbers.length === 3").await;
    assert_eq!(browser.evaluate("numbers").await, json!([0, 1, 2]));

    browser.evaluate("source.close()").await;
    server.connected(0).await;
}
