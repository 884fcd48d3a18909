//! Tabs of one origin that share a connection, in Chromium: whoever leads, each misses nothing.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::json;
use stoat_tests::access::{WRITER, claims, in_seconds, key_file, rs256, setup};
use stoat_tests::numbers::{has_all, publish};
use stoat_tests::{Browser, Proxy, Server, Setup, eventually, within};
use tokio::net::{TcpListener, TcpStream};

const SHARED: &str = "{ share: 'tabs' }";

/// A browser with so many tabs, each with a client of these options; the first leads.
async fn tabs(count: u64, url: &str, options: &str) -> Browser {
    let mut browser = Browser::start().await;
    for number in 0..count {
        if number > 0 {
            browser.open_tab().await;
        }
        browser.with_client(url).await;
        browser.connect(options).await;
    }
    browser
}

/// As [`has_all`], in each of these tabs.
async fn all_have(browser: &mut Browser, tabs: impl IntoIterator<Item = u64>, count: u64) {
    for tab in tabs {
        browser.choose_tab(tab).await;
        has_all(browser, count).await;
    }
}

/// How many connections there have been.
async fn connects(server: &Server) -> Option<f64> {
    server.metrics().await.value("stoat_ws_connects_total", &[])
}

/// Holds a tab still: a request that the whole page waits for. It goes on when this is dropped.
async fn hold(browser: &mut Browser) -> TcpStream {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("a bound socket");
    browser
        .evaluate(&format!(
            "setTimeout(() => {{
               const request = new XMLHttpRequest();
               request.open('GET', 'http://{address}/', false);
               try {{ request.send(); }} catch {{}}
             }})"
        ))
        .await;
    let accepted = within("the request", silent.accept()).await;
    accepted.expect("a connection").0
}

/// Publishes `from..to` piece by piece.
async fn burst(server: &Server, from: u64, to: u64) {
    for start in (from..to).step_by(25) {
        publish(server, start, start + 25).await;
    }
}

#[tokio::test]
async fn three_tabs_have_one_connection_that_ends_with_the_last() {
    let server = Server::start(&[]);
    let mut browser = tabs(3, &server.url(), SHARED).await;
    publish(&server, 0, 1000).await;
    all_have(&mut browser, 0..3, 1000).await;
    assert_eq!(connects(&server).await, Some(1.0));
    server.connected(1).await;

    for tab in [1, 0] {
        browser.choose_tab(tab).await;
        browser.evaluate("client.close()").await;
    }
    browser.choose_tab(2).await;
    browser.until("changes.at(-1).state === 'open'").await;
    publish(&server, 1000, 1010).await;
    has_all(&mut browser, 1010).await;
    browser.evaluate("client.close()").await;
    server.connected(0).await;
    assert_eq!(connects(&server).await, Some(2.0));
    let thrown = browser.console().iter();
    let thrown: Vec<_> = thrown.filter(|said| said.starts_with("thrown")).collect();
    assert!(thrown.is_empty(), "{thrown:?}");
}

#[tokio::test]
async fn a_leader_that_is_closed_in_a_burst_costs_the_others_nothing() {
    let server = Server::start(&[]);
    let mut browser = tabs(3, &server.url(), SHARED).await;
    let leave = async {
        browser.until("numbers.length > 100").await;
        browser.choose_tab(0).await;
        browser.close_tab().await;
        browser.choose_tab(1).await;
        browser
            .until("changes.filter(({ state }) => state === 'open').length > 1")
            .await;
    };
    tokio::join!(burst(&server, 0, 2000), leave);
    all_have(&mut browser, 1..3, 2000).await;
    server.connected(1).await;
    assert_eq!(connects(&server).await, Some(2.0));
}

#[tokio::test]
async fn a_leader_that_crashes_in_a_burst_costs_the_others_nothing() {
    let server = Server::start(&[]);
    let mut browser = tabs(3, &server.url(), SHARED).await;
    let crash = async {
        browser.until("numbers.length > 100").await;
        browser.choose_tab(0).await;
        browser.crash_tab().await;
    };
    tokio::join!(burst(&server, 0, 2000), crash);
    all_have(&mut browser, 1..3, 2000).await;
    server.connected(1).await;
}

/// Leads in the place of a client, and says what the test wants it to.
const PRETENDER: &str = "
    window.pretend = async () => {
      const client = stoat.connect({ share: 'tabs' });
      await new Promise((open) => client.onState(({ state }) => state === 'open' && open()));
      const { held } = await navigator.locks.query();
      client.close();
      window.channel = new BroadcastChannel(held[0].name);
      window.here = (at) => channel.postMessage({ at, change: { state: 'open', transport: 'websocket' } });
      window.say = (n) => channel.postMessage({
        at: all[n].event_id, after: all[n - 1].event_id, text: JSON.stringify(all[n]), isBeat: false,
      });
      window.load = async () => {
        window.all = (await (await fetch('/api/v1/events')).json()).events;
      };
      await load();
      channel.onmessage = ({ data }) => data.hello && here(all[0].event_id);
      return new Promise((leads) => {
        navigator.locks.request(held[0].name, () => new Promise(() => leads()));
      });
    };
    null";

#[tokio::test]
async fn a_tab_takes_what_it_has_not_had_and_gets_what_its_leader_does_not_say() {
    let server = Server::start(&[]);
    publish(&server, 0, 10).await;
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    browser.evaluate(PRETENDER).await;
    browser.evaluate("pretend()").await;
    server.connected(0).await;
    let tab = browser.open_tab().await;
    browser.with_client(&server.url()).await;
    browser.connect(SHARED).await;

    let after = async |browser: &mut Browser, said: &str, numbers: std::ops::Range<u64>| {
        browser.choose_tab(0).await;
        browser.evaluate(&format!("{said}; null")).await;
        browser.choose_tab(tab).await;
        browser
            .until(&format!("numbers.includes({})", numbers.end - 1))
            .await;
        let numbers: Vec<u64> = numbers.collect();
        assert_eq!(browser.evaluate("numbers").await, json!(numbers), "{said}");
    };
    after(&mut browser, "say(1); say(2); say(3)", 1..4).await;
    // The next leader is behind.
    after(
        &mut browser,
        "here(all[1].event_id); say(2); say(3); say(4)",
        1..5,
    )
    .await;
    server.connected(0).await;
    // And one is ahead: what is between comes from the server, until they have met.
    after(&mut browser, "say(7)", 1..8).await;
    server.connected(0).await;
    assert_eq!(connects(&server).await, Some(2.0));
    after(&mut browser, "say(8); say(9)", 1..10).await;
    publish(&server, 10, 20).await;
    after(
        &mut browser,
        "load().then(() => here(all[19].event_id))",
        1..20,
    )
    .await;
    publish(&server, 20, 21).await;
    after(&mut browser, "load().then(() => say(20))", 1..21).await;
    server.connected(0).await;
    assert_eq!(connects(&server).await, Some(3.0));
    assert_eq!(browser.evaluate("gaps").await, json!([]));
}

#[tokio::test]
async fn a_leader_that_is_behind_or_ahead_of_others_repeats_and_hides_nothing() {
    let server = Server::start(&[]);
    // The first is held before it hears of the events, and leads next; then the other way round.
    for (held, awake) in [(1, 2), (2, 1)] {
        let mut browser = tabs(3, &server.url(), SHARED).await;
        browser.choose_tab(held).await;
        let hung = hold(&mut browser).await;
        burst(&server, 0, 100).await;
        all_have(&mut browser, [0, awake], 100).await;
        browser.choose_tab(0).await;
        browser.crash_tab().await;
        burst(&server, 100, 200).await;
        drop(hung);
        all_have(&mut browser, 1..3, 200).await;
        publish(&server, 200, 210).await;
        all_have(&mut browser, 1..3, 210).await;
        server.connected(1).await;
        drop(browser);
        server.connected(0).await;
    }
}

#[tokio::test]
async fn a_leader_that_is_frozen_is_replaced_and_comes_back() {
    let server = Server::start(&[]);
    let mut browser = tabs(2, &server.url(), SHARED).await;
    browser.choose_tab(0).await;
    browser
        .evaluate("window.ticks = 0; setInterval(() => { ticks += 1; }); null")
        .await;
    browser.until("ticks > 0").await;
    browser.freeze(true).await;
    eventually("another leads", async || {
        (connects(&server).await == Some(2.0)).then_some(())
    })
    .await;
    let stopped = browser.evaluate("ticks").await;
    assert_eq!(browser.evaluate("client.state").await, "paused");
    publish(&server, 0, 500).await;
    all_have(&mut browser, [1], 500).await;

    browser.choose_tab(0).await;
    assert_eq!(
        browser.evaluate("[ticks, numbers.length]").await,
        json!([stopped, 0])
    );
    browser.freeze(false).await;
    has_all(&mut browser, 500).await;
    publish(&server, 500, 510).await;
    all_have(&mut browser, 0..2, 510).await;
    server.connected(1).await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_replaced_and_finds_out() {
    let server = Server::start(&[]);
    let options = "{ share: 'tabs', quiet: 1000, pongWait: 2000 }";
    let mut browser = tabs(2, &server.url(), options).await;
    browser.choose_tab(0).await;
    let held = hold(&mut browser).await;
    publish(&server, 0, 100).await;
    all_have(&mut browser, [1], 100).await;

    drop(held);
    all_have(&mut browser, 0..2, 100).await;
    publish(&server, 100, 110).await;
    all_have(&mut browser, 0..2, 110).await;
    server.connected(1).await;
}

#[tokio::test]
async fn a_leader_that_goes_elsewhere_is_replaced_and_resumes_when_it_is_shown_again() {
    let server = Server::start(&[]);
    let mut browser = tabs(2, &server.url(), SHARED).await;
    browser.choose_tab(0).await;
    browser
        .evaluate("window.addEventListener('pageshow', ({ persisted }) => { window.persisted = persisted; })")
        .await;
    browser.goto(&format!("{}/stoat.js", server.url())).await;
    publish(&server, 0, 50).await;
    all_have(&mut browser, [1], 50).await;
    browser.choose_tab(0).await;
    browser
        .page("goBack", json!([{ "waitUntil": "commit" }]))
        .await;
    browser.until("window.persisted === true").await;
    has_all(&mut browser, 50).await;
    publish(&server, 50, 60).await;
    all_have(&mut browser, 0..2, 60).await;
    server.connected(1).await;
}

#[tokio::test]
async fn a_restart_of_the_server_is_seen_by_all_and_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("a path in UTF-8");
    let mut server = Server::start(&["--log-dir", folder, "--drain-timeout", "1"]);
    let address = server.address().to_string();
    let mut browser = tabs(3, &server.url(), SHARED).await;
    publish(&server, 0, 10).await;
    all_have(&mut browser, 0..3, 10).await;

    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
    let server = Server::start(&["--log-dir", folder, "--listen", &address]);
    publish(&server, 10, 20).await;
    all_have(&mut browser, 0..3, 20).await;
    assert_eq!(connects(&server).await, Some(1.0));
    let waits = "changes.filter(({ state }) => state === 'waiting').map(({ code, delay }) => [code, delay])";
    browser.choose_tab(0).await;
    let of_leader = browser.evaluate(waits).await;
    assert_eq!(of_leader[0][0], 1001, "{of_leader}");
    browser.choose_tab(1).await;
    assert_eq!(browser.evaluate(waits).await, of_leader);
}

#[tokio::test]
async fn what_cannot_be_had_any_more_is_told_to_each_once() {
    let server = Server::start(&["--ws-replay-buffer-size", "5"]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = tabs(2, &proxy.url(), SHARED).await;
    publish(&server, 0, 2).await;
    all_have(&mut browser, 0..2, 2).await;
    proxy.switch(None);
    publish(&server, 2, 100).await;
    proxy.switch(Some(server.address()));
    for tab in 0..2 {
        browser.choose_tab(tab).await;
        browser.until("numbers.length === 7").await;
        let numbers = json!([0, 1, 95, 96, 97, 98, 99]);
        assert_eq!(browser.evaluate("numbers").await, numbers);
        assert_eq!(browser.evaluate("gaps").await, json!(["evicted"]));
    }
}

#[tokio::test]
async fn only_the_leader_gets_tokens_and_all_go_on_with_the_next() {
    let table = format!(
        "[jwt]\nalgorithm = \"RS256\"\npublic_key_file = {:?}\n",
        key_file("rs256.pub.pem").to_str().expect("a path in UTF-8")
    );
    let server = Setup::default().file(&table).start();
    let token = |seconds| {
        let rights = ["subscribe", "publish"];
        let claims = claims(json!({"exp": in_seconds(seconds), "stoat_rights": rights}));
        rs256(&claims)
    };
    let (short, long) = (token(15), token(3600));
    let mut browser = Browser::start().await;
    for number in 0..2 {
        if number > 0 {
            browser.open_tab().await;
        }
        browser.with_client(&server.url()).await;
        let tokens = format!("window.tokens = ['{short}', '{long}']; window.asked = 0; null");
        browser.evaluate(&tokens).await;
        let asks = "{ share: 'tabs', token: async () => tokens[Math.min(asked++, 1)] }";
        browser.connect(asks).await;
    }
    let publish = |n: u64| json!({"type": "a", "payload": {"n": n}}).to_string();
    server.publish_as(&long, &publish(0)).await;
    browser.choose_tab(0).await;
    browser.until("asked >= 2").await;
    server.publish_as(&long, &publish(1)).await;
    all_have(&mut browser, 0..2, 2).await;
    browser
        .until("changes.some(({ code }) => code === 1008)")
        .await;
    assert_eq!(browser.evaluate("asked").await, 0);

    // Nobody else's token is better than this one.
    let server = setup().start();
    let connect =
        format!("window.client = stoat.connect({{ share: 'tabs', token: '{WRITER}' }}); null");
    for tab in 0..2 {
        browser.choose_tab(tab).await;
        browser.with_client(&server.url()).await;
        browser.evaluate(&connect).await;
        browser.until("client.state === 'refused'").await;
    }
}

#[tokio::test]
async fn who_joins_late_begins_where_it_asks_to_and_shares_then() {
    let server = Server::start(&["--ws-heartbeat-interval", "200ms"]);
    let mut browser = tabs(1, &server.url(), SHARED).await;
    publish(&server, 0, 300).await;
    has_all(&mut browser, 300).await;
    let earliest = "{ share: 'tabs', lastEventId: 'earliest' }";
    let first = browser.open_tab().await;
    browser.with_client(&server.url()).await;
    browser.connect(earliest).await;
    has_all(&mut browser, 300).await;
    server.connected(1).await;

    let live = browser.open_tab().await;
    browser.with_client(&server.url()).await;
    browser.connect(SHARED).await;
    publish(&server, 300, 310).await;
    all_have(&mut browser, [0, first], 310).await;
    browser.choose_tab(live).await;
    browser.until("numbers.length === 10").await;
    assert_eq!(browser.evaluate("numbers[0]").await, 300);
    server.connected(1).await;

    // Without anybody to meet, it leads once it is up to date.
    for tab in [0, first, live] {
        browser.choose_tab(tab).await;
        browser.evaluate("client.close()").await;
    }
    server.connected(0).await;
    browser.connect(earliest).await;
    has_all(&mut browser, 310).await;
    browser.choose_tab(0).await;
    let is_led = "navigator.locks.query().then(({ held }) => held.length === 1 || null)";
    browser.value(is_led).await;
    browser.connect(SHARED).await;
    publish(&server, 310, 320).await;
    browser.until("numbers.length === 10").await;
    server.connected(1).await;
}

#[tokio::test]
async fn those_who_want_something_else_are_others() {
    let server = Server::start(&[]);
    let mut browser = tabs(2, &server.url(), "{ share: 'tabs', types: ['a'] }").await;
    let other = browser.open_tab().await;
    browser.with_client(&server.url()).await;
    browser
        .connect("{ share: 'tabs', types: ['b', 'a'] }")
        .await;
    server.connected(2).await;
    publish(&server, 0, 10).await;
    all_have(&mut browser, 0..3, 10).await;

    for tab in 0..2 {
        browser.choose_tab(tab).await;
        browser
            .evaluate("client.subscribe({ types: ['a', 'b'] })")
            .await;
    }
    publish(&server, 10, 20).await;
    all_have(&mut browser, 0..3, 20).await;
    server.connected(1).await;
    browser.choose_tab(other).await;
    browser.evaluate("client.close()").await;
    publish(&server, 20, 30).await;
    all_have(&mut browser, 0..2, 30).await;
}

#[tokio::test]
async fn a_page_without_locks_or_channels_has_its_own_connection() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    for (number, without) in [
        "Object.defineProperty(navigator, 'locks', { value: undefined })",
        "navigator.locks.request = () => Promise.reject(new DOMException('no', 'SecurityError'))",
        "delete window.BroadcastChannel",
        "window.BroadcastChannel = class { constructor() { throw new Error('no'); } }",
    ]
    .into_iter()
    .enumerate()
    {
        browser.with_client(&server.url()).await;
        browser.evaluate(&format!("{without}; null")).await;
        browser.connect(SHARED).await;
        publish(&server, 0, 5).await;
        has_all(&mut browser, 5).await;
        assert_eq!(connects(&server).await, Some(number as f64 + 1.0));
    }
}
