//! The browser client in a page that sleeps: hidden, frozen, left, or on a machine that is suspended.
#![allow(clippy::expect_used, reason = "a test")]

use std::time::{Duration, Instant};

use serde_json::json;
use stoat_tests::numbers::{has_all, publish};
use stoat_tests::{Browser, Proxy, Server, eventually};

/// A clock of the page that can be heard; hidden pages have one tick a second.
const TICK: &str = "window.ticks = 0; setInterval(() => { ticks += 1; }, 100); null";

/// The client never looks after its connection by itself: only what wakes the page is left.
const NO_LOOKING: &str = "window.setInterval = () => 0; null";

/// Opens a second tab before the first, and gives its number.
async fn hide_first(browser: &mut Browser, url: &str) -> u64 {
    let other = browser.open_tab().await;
    browser.with_client(url).await;
    browser.evaluate(TICK).await;
    browser.connect("{}").await;
    browser.choose_tab(0).await;
    browser.until("document.visibilityState === 'hidden'").await;
    other
}

/// Waits until this many ticks have gone by.
async fn ticks(browser: &mut Browser, count: u64) {
    let now = browser.evaluate("ticks").await.as_u64().expect("a number");
    browser.until(&format!("ticks >= {}", now + count)).await;
}

#[tokio::test]
async fn a_tab_that_is_frozen_has_everything_afterwards() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    browser.with_client(&proxy.url()).await;
    browser.evaluate(TICK).await;
    browser.evaluate(NO_LOOKING).await;
    // So that each wait of the client has to be ended by what happens.
    browser.connect("{ quiet: 1e9, pongWait: 2000 }").await;
    let other = hide_first(&mut browser, &server.url()).await;

    // What becomes of the connection meanwhile: nothing, an end, or silence.
    let mut published = 0;
    for fate in ["kept", "ended", "silent"] {
        publish(&server, published, published + 1).await;
        published += 1;
        has_all(&mut browser, published).await;
        // Its timers run until it is frozen, and then not.
        ticks(&mut browser, 1).await;
        browser.freeze(true).await;
        let stopped = browser.evaluate("ticks").await;
        match fate {
            "ended" => {
                proxy.switch(None);
                proxy.switch(Some(server.address()));
            }
            "silent" => proxy.hang(),
            _ => {}
        }
        publish(&server, published, published + 500).await;
        browser.choose_tab(other).await;
        has_all(&mut browser, published + 500).await;
        // Three seconds, of which the frozen tab knows nothing.
        ticks(&mut browser, 30).await;
        browser.choose_tab(0).await;
        assert_eq!(browser.evaluate("ticks").await, stopped, "{fate}");
        assert_eq!(browser.evaluate("numbers.length").await, published);

        browser.freeze(false).await;
        published += 500;
        has_all(&mut browser, published).await;
    }
}

#[tokio::test]
async fn a_hidden_tab_whose_connection_died_looks_after_it_when_it_is_seen() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    browser.with_client(&proxy.url()).await;
    browser.evaluate(NO_LOOKING).await;
    browser.connect("{ quiet: 300, pongWait: 2000 }").await;
    let other = hide_first(&mut browser, &server.url()).await;
    // A hidden tab has what comes as it comes.
    publish(&server, 0, 100).await;
    has_all(&mut browser, 100).await;

    proxy.hang();
    publish(&server, 100, 200).await;
    browser.choose_tab(other).await;
    has_all(&mut browser, 200).await;
    ticks(&mut browser, 5).await;
    browser.choose_tab(0).await;
    assert_eq!(browser.evaluate("numbers.length").await, 100);
    assert_eq!(browser.evaluate("client.state").await, "open");

    browser.show_tab().await;
    browser
        .until("document.visibilityState === 'visible'")
        .await;
    has_all(&mut browser, 200).await;
}

#[tokio::test]
async fn a_machine_that_was_suspended_has_everything_afterwards() {
    let settings = [
        "--ws-heartbeat-interval",
        "200ms",
        "--ws-ping-interval",
        "300ms",
        "--ws-pong-timeout",
        "1s",
    ];
    let server = Server::start(&settings);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    browser.with_client(&proxy.url()).await;
    for transport in ["websocket", "sse"] {
        let options = format!("{{ transport: '{transport}', quiet: 1000, pongWait: 2000 }}");
        browser.connect(&options).await;
        let mut published = 0;
        // Whether the browser hears that the server has given the connection up.
        for heard in [true, false] {
            publish(&server, published, published + 1).await;
            has_all(&mut browser, published + 1).await;
            browser.suspend().await;
            if !heard {
                proxy.hang();
            }
            // Longer than anybody waits: the server here for a pong, the client for a heartbeat.
            let since = Instant::now();
            eventually("a sleep", async || {
                (since.elapsed() > Duration::from_secs(3)).then_some(())
            })
            .await;
            if transport == "websocket" {
                server.connected(0).await;
            }
            publish(&server, published + 1, published + 500).await;
            browser.resume().await;
            published += 500;
            has_all(&mut browser, published).await;
        }
        browser.evaluate("client.close()").await;
    }
}

#[tokio::test]
async fn a_page_that_is_left_closes_and_resumes_when_it_is_shown_again() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    browser.connect("{}").await;
    browser
        .evaluate("window.addEventListener('pageshow', ({ persisted }) => { window.persisted = persisted; })")
        .await;
    publish(&server, 0, 2).await;
    has_all(&mut browser, 2).await;

    browser.goto(&format!("{}/stoat.js", server.url())).await;
    server.connected(0).await;
    let labels = [("reason", "client_closed")];
    let closed = server
        .metrics()
        .await
        .value("stoat_ws_disconnects_total", &labels);
    assert_eq!(closed, Some(1.0), "it says so");
    publish(&server, 2, 5).await;
    browser
        .page("goBack", json!([{ "waitUntil": "commit" }]))
        .await;
    browser.until("window.persisted === true").await;
    has_all(&mut browser, 5).await;
    let states = browser.evaluate("changes.map(({ state }) => state)").await;
    assert_eq!(
        states,
        json!(["connecting", "open", "paused", "connecting", "open"])
    );
}
