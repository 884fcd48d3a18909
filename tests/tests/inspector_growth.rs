//! The inspector is as small after very many events as it was after some, in Chromium.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::{Browser, Request, Server};

/// Some seconds' worth. `STOAT_INSPECTOR_EVENTS` has another number, 360,000 are an hour's.
const EVENTS: u64 = 20_000;
/// The page has to have all of so many before the next are published.
const ROUND: u64 = 2_000;
const BATCH: u64 = 100;
const SAMPLES: u64 = 10;

/// What the page holds once the garbage is collected.
#[derive(Debug)]
struct Size {
    heap: f64,
    nodes: f64,
    listeners: f64,
}

async fn size(browser: &mut Browser) -> Size {
    // Once more for what the first time let go of.
    for _ in 0..2 {
        browser.cdp("HeapProfiler.collectGarbage", json!({})).await;
    }
    let heap = browser.cdp("Runtime.getHeapUsage", json!({})).await;
    let dom = browser.cdp("Memory.getDOMCounters", json!({})).await;
    let number = |value: &Value| value.as_f64().expect("a number");
    Size {
        heap: number(&heap["usedSize"]),
        nodes: number(&dom["nodes"]),
        listeners: number(&dom["jsEventListeners"]),
    }
}

/// Events as a service has them; those of one request go on and on.
fn batch(from: u64) -> Vec<u8> {
    let kinds = ["scan_started", "scan_completed", "invoice.paid"];
    let events = (from..from + BATCH).map(|n| {
        let request = if n % 3 == 0 { 0 } else { 1 + n / 3 };
        json!({
            "type": kinds[n as usize % kinds.len()],
            "topic": format!("project.p{}", n % 40),
            "correlation_id": format!("order-{request}"),
            "payload": {"n": n, "path": format!("/srv/data/{n}"), "text": "Grüße 🦦".repeat(10)},
        })
    });
    serde_json::to_vec(&events.collect::<Vec<_>>()).expect("JSON")
}

/// Sets the filter, as a script does: of what is typed Chromium keeps what was there before, so that
/// it can be undone, and with it a node for every second change, up to a thousand steps.
async fn filter(browser: &mut Browser, text: &str) {
    let set = format!(
        "(() => {{
           const field = document.querySelector('#filter-type');
           field.value = '{text}';
           field.dispatchEvent(new Event('input'));
         }})()"
    );
    browser.evaluate(&set).await;
}

#[tokio::test]
async fn the_page_does_not_grow() {
    let events = std::env::var("STOAT_INSPECTOR_EVENTS").ok();
    let events = events.map_or(EVENTS, |text| text.parse().expect("a number"));
    let events = events.next_multiple_of(ROUND * SAMPLES);
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    browser.goto(&format!("{}/", server.url())).await;
    browser
        .until("document.querySelector('#state').dataset.state === 'open'")
        .await;
    browser.fill("#trace-id", "order-0").await;
    browser.press("Enter").await;

    let mut sizes = Vec::new();
    for round in 1..=events / ROUND {
        for n in ((round - 1) * ROUND..round * ROUND).step_by(BATCH as usize) {
            let answer = Request::publish(batch(n)).send(&server).await;
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        let seen = "document.querySelector('#seen').textContent.replaceAll(',', '')";
        browser
            .until(&format!("{seen} === '{}'", round * ROUND))
            .await;
        // What a person does now and then.
        browser.click("#events li:nth-child(3) summary").await;
        let types = if round % 2 == 0 { "" } else { "scan" };
        filter(&mut browser, types).await;
        if round % (events / ROUND / SAMPLES) == 0 {
            let size = size(&mut browser).await;
            let of_request = browser
                .evaluate("document.querySelectorAll('#trace-events li').length")
                .await;
            eprintln!(
                "{:>7} events: {size:?}, {of_request} of one request",
                round * ROUND
            );
            sizes.push(size);
        }
    }
    let (first, rest) = sizes.split_at(sizes.len() / 2);
    let middle = first.last().expect("a sample");
    for size in rest {
        // An open row has thirty: one for each sample would be too many.
        assert!(size.nodes <= middle.nodes + 30.0, "{sizes:#?}");
        assert!(size.listeners <= middle.listeners + 3.0, "{sizes:#?}");
        // Ten bytes for each event of the second half of an hour.
        assert!(size.heap < middle.heap + 2e6, "{sizes:#?}");
    }
    let thrown = browser.console().iter();
    let thrown: Vec<_> = thrown.filter(|said| said.starts_with("thrown")).collect();
    assert!(thrown.is_empty(), "{thrown:?}");
}
