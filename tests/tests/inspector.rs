//! The inspector, the page at `/`, in Chromium.
#![allow(clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stoat_tests::access::{BOSS, READER, SECRET_PART, setup};
use stoat_tests::{Browser, Proxy, Request, Server, binary};

const ROWS: &str = "document.querySelectorAll('#events > li').length";

async fn publish(server: &Server, event: Value, request: &str) {
    let publish = Request::publish(event.to_string()).header("X-Correlation-ID", request);
    let answer = publish.send(server).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn publish_many(server: &Server, from: u64, to: u64) {
    let events = (from..to).map(|n| json!({"type": "many", "payload": {"n": n}}));
    let body = serde_json::to_vec(&events.collect::<Vec<_>>()).expect("JSON");
    let answer = Request::publish(body).send(server).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn open(url: &str) -> Browser {
    let mut browser = Browser::start().await;
    browser.goto(&format!("{url}/")).await;
    browser.until(&state("open")).await;
    browser
}

fn state(state: &str) -> String {
    format!("document.querySelector('#state').dataset.state === '{state}'")
}

/// The types in the list, newest first.
async fn types(browser: &mut Browser) -> Value {
    let types =
        "[...document.querySelectorAll('#events .name')].map((name) => name.firstChild.data)";
    browser.evaluate(types).await
}

/// Waits until an element has this text in it.
async fn says(browser: &mut Browser, id: &str, text: &str) {
    let text = json!(text);
    browser
        .until(&format!(
            "document.getElementById('{id}').textContent.includes({text})"
        ))
        .await;
}

/// Nothing was refused by the policy or thrown, and nothing else was complained of.
fn is_quiet(browser: &Browser) {
    let complaints = browser.console().iter();
    let complaints: Vec<_> = complaints
        .filter(|said| !said.starts_with("log:"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[tokio::test]
async fn the_page_is_strict_about_what_it_loads() {
    let server = setup().start();
    let page = Request::get("/").send(&server).await;
    assert_eq!(page.status, 200, "it holds no data, so it needs no token");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("access-control-allow-origin"), None);
    let policy = page.header("content-security-policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let text = page.text();
    let places = text.match_indices("=\"/").map(|(at, _)| {
        let place = &text[at + 2..];
        &place[..place.find('"').expect("an end")]
    });
    let mut found = 0;
    for place in places {
        let file = Request::get(place).send(&server).await;
        assert_eq!(file.status, 200, "{place}");
        found += 1;
    }
    assert!(found >= 3, "{text}");
}

#[tokio::test]
async fn events_are_shown_filtered_paused_and_opened() {
    let server = Server::start(&[]);
    let mut browser = open(&server.url()).await;
    let hostile = "<img src=x onerror=alert(1)>";
    for (event_type, topic) in [
        ("scan_started", "p.a"),
        ("scan_completed", "p.b"),
        ("other", "q"),
    ] {
        let event = json!({"type": event_type, "topic": topic, "payload": {"text": hostile}});
        publish(&server, event, "r-1").await;
    }
    browser.until(&format!("{ROWS} === 3")).await;
    assert_eq!(
        types(&mut browser).await,
        json!(["other", "scan_completed", "scan_started"])
    );

    for (field, text, left) in [
        (
            "#filter-type",
            "scan_started, other",
            json!(["other", "scan_started"]),
        ),
        (
            "#filter-type",
            "scan",
            json!(["scan_completed", "scan_started"]),
        ),
        (
            "#filter-type",
            "",
            json!(["other", "scan_completed", "scan_started"]),
        ),
        (
            "#filter-topic",
            "p.*",
            json!(["scan_completed", "scan_started"]),
        ),
        (
            "#filter-topic",
            "",
            json!(["other", "scan_completed", "scan_started"]),
        ),
        ("#filter-text", "P.B", json!(["scan_completed"])),
    ] {
        browser.fill(field, text).await;
        assert_eq!(types(&mut browser).await, left, "{field} {text}");
    }
    publish(&server, json!({"type": "other", "topic": "q"}), "r-2").await;
    says(&mut browser, "shown", "1 shown, 4 kept").await;
    browser.fill("#filter-text", "").await;

    browser.click("role=button[name='Pause']").await;
    publish(&server, json!({"type": "late"}), "r-2").await;
    says(&mut browser, "shown", "Paused. 1 more").await;
    assert_eq!(browser.evaluate(ROWS).await, 4);
    browser.click("role=button[name='Go on']").await;
    browser.until(&format!("{ROWS} === 5")).await;

    // By keyboard alone.
    browser
        .page("focus", json!(["#events li:last-child summary"]))
        .await;
    browser.press("Enter").await;
    let opened = browser
        .value("document.querySelector('#events li:last-child pre')?.textContent ?? null")
        .await;
    let opened: Value = serde_json::from_str(opened.as_str().expect("text")).expect("JSON");
    assert_eq!(opened["payload"]["text"], hostile);
    assert_eq!(
        browser
            .evaluate("document.querySelector('#events img')")
            .await,
        Value::Null
    );
    browser.click("role=button[name='Clear']").await;
    browser.until(&format!("{ROWS} === 0")).await;
    is_quiet(&browser);
}

#[tokio::test]
async fn a_request_shows_all_that_it_caused() {
    let server = Server::start(&[]);
    // Before the page is opened: it has to look into the history.
    publish(&server, json!({"type": "project_created"}), "order-1").await;
    publish(&server, json!({"type": "another"}), "order-2").await;
    let mut browser = open(&server.url()).await;
    publish(&server, json!({"type": "scan_started"}), "order-1").await;
    browser.until(&format!("{ROWS} === 1")).await;
    browser.click("#events summary").await;
    browser.click("role=button[name='Show this request']").await;
    says(&mut browser, "trace-result", "2 events within").await;

    publish(&server, json!({"type": "scan_completed"}), "order-1").await;
    says(&mut browser, "trace-result", "3 events within").await;
    let names =
        "[...document.querySelectorAll('#trace-events .name')].map((name) => name.textContent)";
    let names = browser.evaluate(names).await;
    assert_eq!(
        names,
        json!(["project_created", "scan_started", "scan_completed"])
    );
    let first = "document.querySelector('#trace-events .offset').textContent";
    assert_eq!(browser.evaluate(first).await, "+0 ms");

    browser.fill("#trace-id", "order-2").await;
    browser.press("Enter").await;
    says(&mut browser, "trace-result", "1 event within").await;
    browser.fill("#trace-id", "nobody").await;
    browser.click("role=button[name='Show']").await;
    says(&mut browser, "trace-result", "No event has this ID.").await;
    is_quiet(&browser);
}

#[tokio::test]
async fn events_are_published_by_hand() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let mut browser = open(&server.url()).await;
    browser.click("role=tab[name='Publish']").await;
    browser.fill("#publish-type", "by.hand").await;
    browser.fill("#publish-topic", "x.y").await;
    browser.fill("#publish-correlation", "mine").await;
    let payload = r#"{"large": 12345678901234567890, "text": "ü"}"#;
    browser.fill("#publish-payload", payload).await;
    browser.click("#publish button").await;
    let event = client.event().await;
    assert_eq!(
        event.payload,
        r#"{"large":12345678901234567890,"text":"ü"}"#
    );
    assert_eq!(
        (event.event_type.as_str(), event.topic.as_deref()),
        ("by.hand", Some("x.y"))
    );
    assert_eq!(event.correlation_id.as_deref(), Some("mine"));
    says(&mut browser, "publish-result", &event.id).await;
    browser.until(&format!("{ROWS} === 1")).await;

    browser.fill("#publish-payload", "{").await;
    browser.click("#publish button").await;
    says(&mut browser, "publish-result", "The payload is no JSON").await;
    is_quiet(&browser);
    browser.fill("#publish-payload", "{}").await;
    browser.fill("#publish-type", "Not A Type").await;
    browser.click("#publish button").await;
    says(&mut browser, "publish-result", "422").await;
}

#[tokio::test]
async fn connections_are_listed_and_closed() {
    let server = Server::start(&[]);
    let mut browser = open(&server.url()).await;
    let mut other = stoat_tests::Client::connect(&server, "/ws?types=a,b&topics=x").await;
    browser.click("role=tab[name='Connections']").await;
    says(&mut browser, "connections-result", "2 connections.").await;
    says(&mut browser, "connections-rows", "a, b on x").await;
    browser
        .click("#connections-rows tr:last-child button")
        .await;
    let (_, close) = other.closed().await;
    assert_eq!(close.map(|close| u16::from(close.code)), Some(1008));
    says(&mut browser, "connections-result", "1 connection.").await;
    is_quiet(&browser);
}

#[tokio::test]
async fn a_token_is_asked_for_and_kept_in_the_tab_only() {
    let server = setup().start();
    let mut browser = Browser::start().await;
    browser.goto(&format!("{}/", server.url())).await;
    browser.until(&state("refused")).await;
    browser
        .until("document.querySelector('#token-dialog').open")
        .await;
    browser.fill("#token", READER).await;
    browser.press("Enter").await;
    browser.until(&state("open")).await;
    browser.click("role=tab[name='Connections']").await;
    says(&mut browser, "connections-result", "`admin` is needed").await;

    browser.click("role=button[name='Token…']").await;
    browser.fill("#token", BOSS).await;
    browser.click("role=button[name='Connect']").await;
    says(&mut browser, "connections-result", "1 connection.").await;
    server.publish_as(BOSS, r#"{"type":"a"}"#).await;
    browser.until(&format!("{ROWS} === 1")).await;
    let kept = "[localStorage.length, sessionStorage.length, document.cookie]";
    assert_eq!(browser.evaluate(kept).await, json!([0, 1, ""]));

    browser.click("role=button[name='Token…']").await;
    browser.click("role=button[name='Forget']").await;
    browser.until(&state("refused")).await;
    assert!(!server.log().contains(SECRET_PART));
}

#[tokio::test]
async fn what_becomes_of_its_connection_is_said() {
    let server = Server::start(&["--ws-replay-buffer-size", "5"]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = open(&proxy.url()).await;
    let first = server.publish(r#"{"type":"a"}"#).await;
    browser.until(&format!("{ROWS} === 1")).await;

    proxy.switch(None);
    browser.until(&state("waiting")).await;
    publish_many(&server, 0, 50).await;
    proxy.switch(Some(server.address()));
    browser.until(&state("open")).await;
    says(&mut browser, "log-lines", "Events are missing: evicted.").await;
    says(&mut browser, "log-lines", "lost · again in").await;
    let resumed = format!("open · WebSocket (resumed after {first})");
    says(&mut browser, "log-lines", &resumed).await;
    // One before, the gap, and what is retained.
    browser.until(&format!("{ROWS} === 7")).await;
}

#[tokio::test]
async fn thousands_of_events_leave_it_as_small_as_it_was() {
    let server = Server::start(&[]);
    let mut browser = open(&server.url()).await;
    let count = "document.querySelectorAll('*').length";
    let count_at = async |browser: &mut Browser, seen: u64| {
        let text =
            format!("document.getElementById('seen').textContent.replace(',', '') === '{seen}'");
        browser.until(&text).await;
        browser.until(&format!("{ROWS} === 200")).await;
        browser.evaluate(count).await.as_u64().expect("a number")
    };
    publish_many(&server, 0, 1000).await;
    let first = count_at(&mut browser, 1000).await;
    for thousand in 1..6 {
        publish_many(&server, thousand * 1000, thousand * 1000 + 1000).await;
    }
    let last = count_at(&mut browser, 6000).await;
    assert_eq!(first, last);
    let newest = "document.querySelector('#events .preview').textContent";
    browser.until(&format!("{newest}.includes('5999')")).await;
    let shown = browser
        .evaluate("document.querySelector('#shown').textContent")
        .await;
    assert_eq!(shown, "200 shown, 2000 kept");
    is_quiet(&browser);
}

#[tokio::test]
async fn it_can_be_used_without_eyes_or_a_mouse() {
    let server = Server::start(&[]);
    let mut browser = open(&server.url()).await;
    publish(
        &server,
        json!({"type": "scan_started", "topic": "p.a"}),
        "order-1",
    )
    .await;
    browser.until(&format!("{ROWS} === 1")).await;
    browser.click("#events summary").await;
    browser.click("role=button[name='Show this request']").await;
    says(&mut browser, "trace-result", "1 event").await;

    let axe =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node_modules/axe-core/axe.min.js");
    let axe = fs::read_to_string(axe).expect("axe-core: run `cargo xtask setup`");
    let script = format!("(() => {{ {axe}; }})()");
    browser.evaluate(&script).await;
    for scheme in ["light", "dark"] {
        browser
            .page("emulateMedia", json!([{ "colorScheme": scheme }]))
            .await;
        for tab in ["Request", "Publish", "Connections", "Log"] {
            browser.click(&format!("role=tab[name='{tab}']")).await;
            let faults = "axe.run().then(({ violations, passes }) => passes.length < 20
                ? ['it has not looked'] : violations.map(({ id, nodes }) =>
                `${id}: ${nodes.map(({ html, failureSummary }) => html + failureSummary)}`))";
            assert_eq!(browser.evaluate(faults).await, json!([]), "{scheme} {tab}");
        }
    }

    browser.page("focus", json!(["#tab-log"])).await;
    browser.press("ArrowRight").await;
    let tab = "document.activeElement.textContent";
    assert_eq!(browser.evaluate(tab).await, "Request");
    browser.press("ArrowRight").await;
    assert_eq!(browser.evaluate(tab).await, "Publish");
    browser.press("Tab").await;
    browser.press("Tab").await;
    assert_eq!(
        browser.evaluate("document.activeElement.id").await,
        "publish-type"
    );
}

/// Writes the picture of the README: run it alone, with `--run-ignored only`.
#[tokio::test]
#[ignore = "it changes a file of the repository"]
async fn takes_the_screenshot_of_the_readme() {
    let server = Server::start(&[]);
    let mut browser = open(&server.url()).await;
    let kinds = [
        "project_created",
        "scan_started",
        "scan_completed",
        "invoice.paid",
    ];
    let projects = ["apollo", "gemini", "mercury"];
    let mut clock = tokio::time::interval(std::time::Duration::from_millis(40));
    for n in 0..240_usize {
        // A rate that rises and falls.
        for _ in 0..=(n / 30) % 3 {
            clock.tick().await;
        }
        let mut event = json!({
            "type": kinds[n % 4], "payload": {"path": format!("/srv/data/{n}"), "files": n * 17},
        });
        if n % 4 < 3 {
            event["topic"] = format!("project.{}", projects[(n / 4) % 3]).into();
        }
        publish(&server, event, &format!("order-{}", 4700 + n / 4)).await;
    }
    browser.until(&format!("{ROWS} === 200")).await;
    browser.click("#events li:nth-child(2) summary").await;
    browser.click("role=button[name='Show this request']").await;
    says(&mut browser, "trace-result", "4 events within").await;
    browser.page("hover", json!(["#chart"])).await;
    browser.evaluate("document.activeElement.blur()").await;
    let path = binary::workspace().join("docs/images/inspector.png");
    browser.page("screenshot", json!([{ "path": path }])).await;
}
