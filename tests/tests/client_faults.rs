//! The browser client where the page, the server or the machine does what it should not.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::numbers::{has_all, publish};
use stoat_tests::{Browser, Proxy, Server, eventually};

/// Chance says always the same, so that waits can be told.
const NO_CHANCE: &str = "Math.random = () => 1 / 64; null";

/// A WebSocket that opens, says `says`, and ends with `ends`.
fn socket(says: Option<&str>, ends: &Value) -> String {
    let says = json!(says);
    format!(
        "window.attempts = 0;
         window.WebSocket = class {{
           constructor() {{
             attempts += 1;
             setTimeout(() => {{
               this.onopen();
               if ({says}) this.onmessage({{ data: {says} }});
               this.onclose({ends});
             }});
           }}
           close() {{}}
           send() {{}}
         }};
         null"
    )
}

/// Connects without waiting for more; `changes` collects what becomes of it.
async fn begin(browser: &mut Browser, options: &str) {
    browser
        .evaluate(&format!(
            "window.changes = [];
             window.client = stoat.connect({options});
             client.onState((change) => changes.push(change));
             null"
        ))
        .await;
}

/// The first so many waits, in milliseconds.
async fn waits(browser: &mut Browser, count: usize) -> Vec<f64> {
    let waits = "changes.filter(({ state }) => state === 'waiting').map(({ delay }) => delay)";
    browser.until(&format!("{waits}.length >= {count}")).await;
    let waits = browser.evaluate(waits).await;
    let waits = waits.as_array().expect("a list").iter().take(count);
    waits.map(|wait| wait.as_f64().expect("a number")).collect()
}

async fn with_client(server: &Server) -> Browser {
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    browser
}

#[tokio::test]
async fn who_lets_in_and_hangs_up_is_returned_to_ever_later() {
    let server = Server::start(&[]);
    let event = r#"{"type":"a","payload":{},"event_id":"x-1"}"#;
    for (says, code) in [(None, 1011), (Some(event), 1009), (Some(event), 4000)] {
        let mut browser = with_client(&server).await;
        browser.evaluate(NO_CHANCE).await;
        let socket = socket(says, &json!({"code": code, "reason": ""}));
        browser.evaluate(&socket).await;
        begin(&mut browser, "{ transport: 'websocket' }").await;
        let waits = waits(&mut browser, 6).await;
        assert_eq!(
            waits,
            [1.0, 2.0, 4.0, 8.0, 16.0, 30.0].map(|n| n * 1000.0 / 64.0)
        );
    }
}

#[tokio::test]
async fn a_token_that_ends_at_once_is_not_asked_for_without_a_pause() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    browser.evaluate(NO_CHANCE).await;
    let socket = socket(
        None,
        &json!({"code": 1008, "reason": "authorization ended"}),
    );
    browser.evaluate(&socket).await;
    begin(&mut browser, "{ token: () => 'short' }").await;
    let waits = waits(&mut browser, 3).await;
    assert!(waits.iter().all(|wait| *wait > 0.0), "{waits:?}");
}

#[tokio::test]
async fn a_time_that_cannot_be_is_no_reason_to_come_at_once_or_never() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    browser.evaluate(NO_CHANCE).await;
    // More than a timer of a browser can take.
    let ends = json!({"code": 1001, "reason": "retry_ms=99999999999"});
    browser.evaluate(&socket(None, &ends)).await;
    begin(&mut browser, "{}").await;
    let told = waits(&mut browser, 1).await;
    assert_eq!(told, [600_000.0]);
    browser.evaluate("client.close()").await;

    let sse = "{ transport: 'sse' }";
    for (answer, expected) in [
        ("new Response('retry: soon\\n\\n')", 1000.0 / 64.0),
        ("new Response('retry: 1234\\n\\n')", 1234.0),
        // All that are refused are told the same, so each adds some of its own.
        (
            "new Response('', { status: 503, headers: { 'Retry-After': '2' } })",
            2000.0 + 1000.0 / 64.0,
        ),
    ] {
        browser
            .evaluate(&format!(
                "window.ask ??= fetch;
                 window.fetch = async (url, options) =>
                   String(url).includes('/sse') ? {answer} : ask(url, options);
                 null"
            ))
            .await;
        begin(&mut browser, sse).await;
        assert_eq!(waits(&mut browser, 1).await, [expected], "{answer}");
        browser.evaluate("client.close()").await;
    }
}

#[tokio::test]
async fn a_token_that_never_comes_is_asked_for_again() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    // An hour is over in some seconds.
    browser
        .evaluate(
            "const real = setTimeout;
             window.setTimeout = (what, time) => real(what, time / 100);
             window.asked = 0;
             null",
        )
        .await;
    let options = "{ token: () => (asked++ ? null : new Promise(() => {})), pongWait: 1e6 }";
    browser.connect(options).await;
    assert_eq!(browser.evaluate("asked").await, 2);
    let why = browser.evaluate("String(changes.find(({ state }) => state === 'waiting').error)");
    let why = why.await;
    assert_eq!(why, "Error: no connection could be begun in time");
}

#[tokio::test]
async fn clocks_that_jump_hide_no_dead_connection() {
    let server = Server::start(&["--ws-heartbeat-interval", "100ms"]);
    // Set back: the silence is noticed all the same. Set forward, as after a sleep: it is a reason to ask.
    for (hours, quiet) in [(-1, "1000"), (1, "1e9")] {
        let proxy = Proxy::start(server.address()).await;
        let mut browser = Browser::start().await;
        browser.with_client(&proxy.url()).await;
        browser
            .connect(&format!("{{ quiet: {quiet}, pongWait: 2000 }}"))
            .await;
        publish(&server, 0, 2).await;
        has_all(&mut browser, 2).await;
        proxy.hang();
        publish(&server, 2, 4).await;
        let jump = format!("const now = Date.now; Date.now = () => now() + {hours} * 3600e3; null");
        browser.evaluate(&jump).await;
        has_all(&mut browser, 4).await;
        let why = "changes.find(({ state }) => state === 'waiting').reason";
        assert_eq!(browser.evaluate(why).await, "silent");
    }
}

#[tokio::test]
async fn a_page_that_may_keep_nothing_misses_nothing() {
    let server = Server::start(&[]);
    for fault in [
        // As where cookies are blocked.
        "Object.defineProperty(window, 'sessionStorage', {
           get() { throw new DOMException('no', 'SecurityError'); },
         })",
        // As where the page has filled it.
        "(() => {
           for (let size = 2 ** 23; size >= 1; size /= 2) {
             try { for (let n = 0; ; n += 1) sessionStorage.setItem(`${size}-${n}`, 'x'.repeat(size)); } catch {}
           }
         })()",
    ] {
        let mut browser = with_client(&server).await;
        browser.evaluate(&format!("{fault}; null")).await;
        for transport in ["websocket", "sse"] {
            let options = format!("{{ resume: 'session', transport: '{transport}' }}");
            browser.connect(&options).await;
            publish(&server, 0, 5).await;
            has_all(&mut browser, 5).await;
            let opened = "changes.filter(({ state }) => state === 'open').length";
            assert_eq!(browser.evaluate(opened).await, 1, "{fault}");
            browser.evaluate("client.close()").await;
        }
        let thrown = browser.console().iter();
        let thrown: Vec<_> = thrown.filter(|said| said.starts_with("thrown")).collect();
        assert!(thrown.is_empty(), "{thrown:?}");
    }
}

#[tokio::test]
async fn what_can_never_be_had_is_not_asked_for_again_and_again() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    for transport in ["websocket", "sse", "auto"] {
        let options = format!("{{ types: ['Not A Type'], transport: '{transport}' }}");
        begin(&mut browser, &options).await;
        browser.until("client.state === 'refused'").await;
        assert_eq!(browser.evaluate("changes.at(-1).status").await, 400);
        // Another wish is another matter.
        browser.evaluate("client.subscribe({ types: ['a'] })").await;
        browser.until("client.state === 'open'").await;
        browser.evaluate("client.close()").await;
    }

    // More than the server takes in a message (1009), or as an address.
    browser.connect("{}").await;
    publish(&server, 0, 2).await;
    has_all(&mut browser, 2).await;
    let many = "Array.from({ length: 1000 }, (_, n) => `a.rather.long.topic${n}`)";
    browser
        .evaluate(&format!("client.subscribe({{ topics: {many} }})"))
        .await;
    browser.until("client.state === 'refused'").await;
    assert_eq!(browser.evaluate("changes.at(-1).status").await, 431);
    let codes = "changes.filter(({ code }) => code).map(({ code }) => code)";
    assert_eq!(browser.evaluate(codes).await, json!([1009]));
    publish(&server, 2, 4).await;
    browser.evaluate("client.subscribe()").await;
    has_all(&mut browser, 4).await;
}

#[tokio::test]
async fn what_was_closed_or_taken_away_is_not_called() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    browser.connect("{}").await;
    browser
        .evaluate(
            "window.other = stoat.connect();
             window.called = [];
             const gone = { off: null };
             other.onEvent('a', () => { called.push('first'); gone.off(); });
             gone.off = other.onEvent('a', () => called.push('taken away'));
             window.third = stoat.connect();
             other.onEvent('*', () => { called.push('closes'); other.close(); third.close(); });
             other.onEvent('*', () => called.push('closed'));
             third.onEvent('a', () => called.push('closed, too'));
             null",
        )
        .await;
    publish(&server, 0, 2).await;
    has_all(&mut browser, 2).await;
    assert_eq!(browser.evaluate("called").await, json!(["first", "closes"]));
    // Nor does it do anything to those that are left.
    let before = browser.evaluate("changes.length").await;
    browser
        .evaluate("other.reconnect(); third.reconnect()")
        .await;
    publish(&server, 2, 4).await;
    has_all(&mut browser, 4).await;
    assert_eq!(browser.evaluate("changes.length").await, before);
}

#[tokio::test]
async fn a_client_that_was_closed_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    browser
        .evaluate(
            "window.timers = new Set();
             for (const kind of ['Timeout', 'Interval']) {
               const [set, clear] = [window[`set${kind}`], window[`clear${kind}`]];
               window[`set${kind}`] = (what, time) => {
                 const id = set(() => { if (kind === 'Timeout') timers.delete(id); what(); }, time);
                 timers.add(id);
                 return id;
               };
               window[`clear${kind}`] = (id) => { timers.delete(id); clear(id); };
             }
             window.until = (client, wanted) => new Promise((is) => {
               if (client.state === wanted) is();
               client.onState(({ state }) => state === wanted && is());
             });
             null",
        )
        .await;
    // Closed in each of its states.
    let round = "(async () => {
        for (const share of [false, 'tabs']) {
          const never = { share, token: () => new Promise(() => {}) };
          const nowhere = { share, url: 'http://127.0.0.1:1/' };
          const malformed = { share, types: ['Not A Type'] };
          for (const transport of ['websocket', 'sse']) {
            for (const [options, state] of [
              [{ share }, 'open'], [never, 'connecting'], [nowhere, 'waiting'], [malformed, 'refused'],
            ]) {
              const client = stoat.connect({ ...options, transport });
              await until(client, state);
              client.close();
            }
          }
        }
      })()";
    browser.evaluate(round).await;
    server.connected(0).await;
    let listeners = async |browser: &mut Browser| {
        for _ in 0..2 {
            browser.cdp("HeapProfiler.collectGarbage", json!({})).await;
        }
        let counters = browser.cdp("Memory.getDOMCounters", json!({})).await;
        counters["jsEventListeners"].as_u64().expect("a number")
    };
    let before = listeners(&mut browser).await;
    for _ in 0..3 {
        browser.evaluate(round).await;
    }
    server.connected(0).await;
    assert_eq!(browser.evaluate("[...timers]").await, json!([]));
    // A socket has its own until it is closed on both sides.
    eventually("no more listeners than before", async || {
        (listeners(&mut browser).await <= before).then_some(())
    })
    .await;
    let unlocked = "navigator.locks.query().then(({ held, pending }) => !held.length && !pending.length || null)";
    browser.value(unlocked).await;
}

#[tokio::test]
async fn connections_of_different_groups_have_positions_of_their_own() {
    let server = Server::start(&[]);
    let mut browser = with_client(&server).await;
    let connect = |group: &str, topic: &str| {
        format!("{{ resume: 'session', share: false, group: '{group}', topics: ['{topic}'] }}")
    };
    browser.connect(&connect("x", "x")).await;
    browser.evaluate("client.close()").await;
    browser.connect(&connect("y", "y")).await;
    for topic in ["x", "y"] {
        let event = json!({"type": "a", "topic": topic, "payload": {"n": 0}});
        server.publish(&event.to_string()).await;
    }
    has_all(&mut browser, 1).await;
    browser.with_client(&server.url()).await;
    browser.connect(&connect("x", "x")).await;
    has_all(&mut browser, 1).await;
}
