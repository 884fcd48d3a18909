//! The inspector as people use it: without a mouse, by ear, in a narrow window, on a bad day.
#![allow(clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stoat_tests::{Browser, Client, Proxy, Request, Server};

const ROWS: &str = "document.querySelectorAll('#events > li').length";

async fn open(browser: &mut Browser, url: &str) {
    browser.goto(&format!("{url}/")).await;
    browser
        .until("document.querySelector('#state').dataset.state === 'open'")
        .await;
}

async fn publish(server: &Server, events: &Value) {
    let answer = Request::publish(events.to_string()).send(server).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn says(browser: &mut Browser, id: &str, text: &str) {
    let text = json!(text);
    let is_said = format!("document.getElementById('{id}').textContent.includes({text})");
    browser.until(&is_said).await;
}

/// Presses Tab until the focus is on what this selector finds.
async fn tab_to(browser: &mut Browser, selector: &str) {
    for _ in 0..60 {
        let is_there = format!("document.activeElement.matches({})", json!(selector));
        if browser.evaluate(&is_there).await == true {
            // Whoever sees it knows where the focus is.
            let outline = "getComputedStyle(document.activeElement).outlineStyle";
            assert_eq!(browser.evaluate(outline).await, "solid", "{selector}");
            return;
        }
        browser.press("Tab").await;
    }
    panic!("{selector} cannot be reached by Tab");
}

async fn write(browser: &mut Browser, text: &str) {
    for key in text.chars() {
        browser.press(&key.to_string()).await;
    }
}

#[tokio::test]
async fn everything_is_done_without_a_mouse() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    open(&mut browser, &server.url()).await;
    let live = "document.querySelector('#shown').getAttribute('aria-live')";
    for event_type in ["scan_started", "other"] {
        publish(
            &server,
            &json!({"type": event_type, "correlation_id": "order-1"}),
        )
        .await;
    }
    browser.until(&format!("{ROWS} === 2")).await;
    assert_eq!(browser.evaluate(live).await, "off", "not with each event");

    tab_to(&mut browser, "#token-button").await;
    browser.press("Enter").await;
    browser.until("document.activeElement.id === 'token'").await;
    browser.press("Escape").await;
    browser
        .until("document.activeElement.id === 'token-button'")
        .await;

    tab_to(&mut browser, "#filter-type").await;
    write(&mut browser, "scan").await;
    says(&mut browser, "shown", "1 shown, 2 kept").await;
    assert_eq!(
        browser.evaluate(live).await,
        "polite",
        "who filters hears it"
    );
    tab_to(&mut browser, "#pause").await;
    browser.press("Enter").await;
    says(&mut browser, "shown", "Paused").await;
    browser.press("Enter").await;
    says(&mut browser, "shown", "1 shown").await;

    tab_to(&mut browser, "#events summary").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('#events .detail') !== null")
        .await;
    // The one after `Copy JSON`.
    tab_to(&mut browser, "#events .detail button").await;
    browser.press("Tab").await;
    browser.press("Enter").await;
    says(&mut browser, "trace-result", "2 events within").await;

    tab_to(&mut browser, "#tab-trace").await;
    browser.press("ArrowRight").await;
    tab_to(&mut browser, "#publish-type").await;
    browser.press("Control+a").await;
    write(&mut browser, "by.hand").await;
    browser.press("Enter").await;
    says(&mut browser, "publish-result", "Published as").await;

    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(server.client().await);
    }
    browser.press("Shift+Tab").await;
    tab_to(&mut browser, "#tab-publish, #tab-connections").await;
    browser.press("ArrowRight").await;
    says(&mut browser, "connections-result", "4 connections.").await;
    // Of two that go, one by itself: the focus stays where it is, and moves up with it.
    tab_to(&mut browser, "#connections-rows tr:nth-child(3) button").await;
    let focused = "document.activeElement.dataset.close";
    let second = browser.evaluate(focused).await;
    others.remove(0).close().await;
    says(&mut browser, "connections-result", "3 connections.").await;
    assert_eq!(browser.evaluate(focused).await, second);
    others.push(server.client().await);
    says(&mut browser, "connections-result", "4 connections.").await;
    for left in ["3 connections.", "2 connections."] {
        browser.press("Enter").await;
        says(&mut browser, "connections-result", left).await;
        // The focus is on the next one, and not nowhere.
        let row = "#connections-rows tr:nth-child(2) button";
        let there = format!("document.activeElement.matches({})", json!(row));
        browser.until(&there).await;
    }
}

#[tokio::test]
async fn it_fits_a_narrow_window_and_has_no_barriers() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    open(&mut browser, &server.url()).await;
    let long_type = "t".repeat(64);
    let topic = format!("{}.{}", "a".repeat(60), "b".repeat(60));
    publish(
        &server,
        &json!([
            {"type": long_type, "topic": topic, "correlation_id": "c".repeat(128)},
            {"type": "large", "payload": {"text": "x".repeat(20_000)}},
            {"type": "rtl", "payload": {"text": "שלום", "list": ["مرحبا", "a\u{202e}txt.exe"]}},
        ]),
    )
    .await;
    browser.until(&format!("{ROWS} === 3")).await;
    let mut others = Vec::new();
    for n in 0..50 {
        let target = format!("/ws?topics={topic}{n},x");
        others.push(Client::connect(&server, &target).await);
    }
    for row in ["3", "1"] {
        browser
            .click(&format!("#events li:nth-child({row}) summary"))
            .await;
    }
    browser
        .click("#events li:nth-child(3) button:nth-child(2)")
        .await;
    // Nothing in a text turns round what comes after it.
    let text = browser
        .evaluate("document.querySelector('#events li:first-child pre').textContent")
        .await;
    let text = text.as_str().expect("text");
    assert!(
        text.contains("a\\u202etxt.exe") && text.contains("שלום"),
        "{text}"
    );

    let axe =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node_modules/axe-core/axe.min.js");
    let axe = fs::read_to_string(axe).expect("axe-core: run `cargo xtask setup`");
    browser.evaluate(&format!("(() => {{ {axe}; }})()")).await;
    // 640 and less is what 1280 are at twice the size and more.
    for (width, scheme) in [
        (1280, "light"),
        (640, "dark"),
        (400, "light"),
        (320, "dark"),
    ] {
        browser
            .page("emulateMedia", json!([{ "colorScheme": scheme }]))
            .await;
        let size = json!([{ "width": width, "height": 700 }]);
        browser.page("setViewportSize", size).await;
        for tab in ["trace", "publish", "connections", "log"] {
            browser.click(&format!("#tab-{tab}")).await;
            if tab == "connections" {
                says(&mut browser, "connections-result", "51 connections.").await;
            }
            let too_wide =
                "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.evaluate(too_wide).await, 0, "{width} {tab}");
            let faults = "axe.run().then(({ violations, passes }) => passes.length < 20
                ? ['it has not looked'] : violations.map(({ id, nodes }) =>
                `${id}: ${nodes.map(({ html, failureSummary }) => html.slice(0, 200) + failureSummary)}`))";
            let faults = browser.evaluate(faults).await;
            assert_eq!(faults, json!([]), "{width} {scheme} {tab}");
        }
    }
    browser
        .page("setViewportSize", json!([{ "width": 1280, "height": 800 }]))
        .await;
    browser.click("#tab-connections").await;
    let table = "(() => { const { scrollWidth, clientWidth } = document.querySelector('.scroll');
                          return scrollWidth - clientWidth; })()";
    assert_eq!(browser.evaluate(table).await, 0, "no button is cut off");
    browser.click("#token-button").await;
    let faults = "axe.run().then(({ violations }) => violations.map(({ id }) => id))";
    assert_eq!(browser.evaluate(faults).await, json!([]));
}

#[tokio::test]
async fn a_row_that_is_read_stays() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    open(&mut browser, &server.url()).await;
    let batch = |name: &str, count: usize| Value::from(vec![json!({"type": name}); count]);
    publish(&server, &batch("first", 2)).await;
    browser.until(&format!("{ROWS} === 2")).await;
    browser.click("#events li:last-child summary").await;
    browser
        .page("focus", json!(["#events li:first-child summary"]))
        .await;
    publish(&server, &batch("later", 500)).await;
    says(&mut browser, "seen", "502").await;
    browser.until(&format!("{ROWS} === 200")).await;
    let first = "[...document.querySelectorAll('#events li')]
        .filter((row) => row.textContent.includes('first'))
        .map((row) => [row.firstElementChild.open, row.contains(document.activeElement)])";
    let read = json!([[false, true], [true, false]]);
    assert_eq!(browser.evaluate(first).await, read);

    // What is not read any more goes.
    browser.click("#events li:last-child summary").await;
    browser.page("focus", json!(["#pause"])).await;
    publish(&server, &batch("later", 10)).await;
    says(&mut browser, "seen", "512").await;
    browser.until(&format!("{first}.length === 0")).await;
}

#[tokio::test]
async fn a_server_that_is_away_or_a_browser_that_keeps_nothing_is_told_or_borne() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    let nothing = "Object.defineProperty(window, 'sessionStorage', {
        get() { throw new DOMException('no', 'SecurityError'); },
    })";
    browser
        .page("addInitScript", json!([{ "content": nothing }]))
        .await;
    open(&mut browser, &proxy.url()).await;
    browser.click("#token-button").await;
    browser.fill("#token", "not-asked-for-here").await;
    browser.press("Enter").await;
    publish(&server, &json!({"type": "a", "correlation_id": "order-1"})).await;
    browser.until(&format!("{ROWS} === 1")).await;
    browser.click("#tab-connections").await;
    says(&mut browser, "connections-result", "1 connection.").await;

    proxy.switch(None);
    browser.click("#connections-rows button").await;
    says(&mut browser, "connections-result", "cannot be reached").await;
    browser.click("#tab-trace").await;
    browser.fill("#trace-id", "order-1").await;
    browser.press("Enter").await;
    says(
        &mut browser,
        "trace-result",
        "1 event within 0 ms. The server cannot be reached",
    )
    .await;
    let thrown = browser.console().iter();
    let thrown: Vec<_> = thrown.filter(|said| said.starts_with("thrown")).collect();
    assert!(thrown.is_empty(), "{thrown:?}");
}
