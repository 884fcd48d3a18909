//! The browser client, `/stoat.js`, in Chromium: whatever happens to its connection, it misses nothing.
#![allow(clippy::expect_used, reason = "a test")]

use std::path::Path;

use serde_json::{Value, json};
use stoat_tests::access::{READER, WRITER, claims, in_seconds, key_file, rs256, setup};
use stoat_tests::numbers::{has_all, publish};
use stoat_tests::{Browser, Proxy, Request, Server, Setup, eventually, within};

#[tokio::test]
async fn it_is_a_file_that_browsers_may_keep() {
    let server = Server::start(&["--allowed-origins", "https://app.example"]);
    for (path, content_type) in [
        ("/stoat.js", "text/javascript; charset=utf-8"),
        ("/stoat/tabs.js", "text/javascript; charset=utf-8"),
        ("/stoat.d.ts", "text/plain; charset=utf-8"),
    ] {
        let answer = Request::get(path).send(&server).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(answer.text().contains("connection"), "{path}");

        let etag = answer.header("etag").expect("an ETag");
        for known in [etag, "*", &format!("\"other\", W/{etag}")] {
            let request = Request::get(path).header("If-None-Match", known);
            let again = request.send(&server).await;
            assert_eq!((again.status, again.body.len()), (304, 0));
            assert_eq!(again.header("etag"), Some(etag));
        }
        let request = Request::get(path).header("If-None-Match", "\"other\"");
        assert_eq!(request.send(&server).await.status, 200);
        let head = Request::new("HEAD", path).send(&server).await;
        assert_eq!(head.header("etag"), Some(etag));
        let post = Request::new("POST", path).send(&server).await;
        post.problem(405);
        assert_eq!(post.header("allow"), Some("GET, HEAD"));
    }
}

#[tokio::test]
async fn its_types_say_what_it_does() {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut compiler = tokio::process::Command::new("node");
    compiler
        .arg(clients.join("node_modules/typescript/bin/tsc"))
        .args(["--noEmit", "--strict", "--target", "es2022"])
        .args(["--module", "nodenext"])
        .arg(clients.join("types.ts"));
    let output = within("the compiler", compiler.output()).await;
    let output = output.expect("Node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[tokio::test]
async fn a_thousand_events_at_once_arrive_in_order() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    for transport in ["websocket", "sse"] {
        browser
            .connect(&format!("{{ transport: '{transport}' }}"))
            .await;
        assert_eq!(browser.evaluate("client.transport").await, transport);
        publish(&server, 0, 1000).await;
        has_all(&mut browser, 1000).await;
        browser.evaluate("client.close()").await;
        server.connected(0).await;
    }
    let thrown = browser
        .console()
        .iter()
        .find(|said| said.starts_with("thrown"));
    assert_eq!(thrown, None);
}

#[tokio::test]
async fn a_page_has_one_connection_and_each_client_sees_its_part() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    browser.connect("{ types: ['a'] }").await;
    browser
        .evaluate(
            "window.seen = [];
             window.other = stoat.connect({ types: ['b', 'c'], topics: ['x.*'] });
             other.onEvent('*', (event) => seen.push(`${event.type} ${event.topic}`));
             other.onEvent('c', () => { throw new Error('a fault of one handler'); });
             other.onEvent('c', (event) => seen.push('typed'));
             null",
        )
        .await;
    let filters = async || {
        let list = Request::get("/api/v1/connections")
            .send(&server)
            .await
            .json();
        assert_eq!(list["count"], 1, "{list}");
        list["connections"][0]["filters"].clone()
    };
    eventually("the server knows what both want", async || {
        let both = json!({"types": ["a", "b", "c"], "topics": null});
        (filters().await == both).then_some(())
    })
    .await;

    for (event_type, topic) in [
        ("b", "x"),
        ("b", "x.y"),
        ("a", "x.y"),
        ("c", "x.z"),
        ("d", "x.y"),
    ] {
        let event = json!({"type": event_type, "topic": topic, "payload": {"n": 0}});
        server.publish(&event.to_string()).await;
    }
    browser.until("seen.length === 3").await;
    assert_eq!(
        browser.evaluate("seen").await,
        json!(["b x.y", "typed", "c x.z"])
    );
    assert_eq!(browser.evaluate("numbers").await, json!([0]));

    browser
        .evaluate("other.close(); client.subscribe({ types: [] })")
        .await;
    assert_eq!(browser.evaluate("other.state").await, "closed");
    eventually("the server knows what is left", async || {
        (filters().await == json!({"types": [], "topics": null})).then_some(())
    })
    .await;
    browser.evaluate("client.close()").await;
    server.connected(0).await;
}

#[tokio::test]
async fn a_restart_of_the_server_costs_nothing_and_its_wish_is_heeded() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("a path in UTF-8");
    let mut server = Server::start(&["--log-dir", folder, "--drain-timeout", "2"]);
    let address = server.address().to_string();
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    // They come back one after the other: the second is told to wait.
    let mut first = server.client().await;
    browser.connect("{}").await;
    publish(&server, 0, 3).await;
    has_all(&mut browser, 3).await;

    server.terminate();
    first.closed().await;
    assert_eq!(server.exit().await.code(), Some(0));
    let server = Server::start(&["--log-dir", folder, "--listen", &address]);
    publish(&server, 3, 6).await;
    has_all(&mut browser, 6).await;

    let waits = "changes.filter(({ state }) => state === 'waiting')";
    let told = browser.evaluate(&format!("{waits}[0]")).await;
    assert_eq!(told["code"], 1001, "{told}");
    let retry = told["reason"]
        .as_str()
        .and_then(|reason| reason.strip_prefix("retry_ms="));
    let retry: f64 = retry.expect("a time").parse().expect("a number");
    assert_eq!(told["delay"].as_f64(), Some(retry));
    assert!(retry > 0.0);
}

#[tokio::test]
async fn a_network_that_is_gone_without_a_word_is_noticed() {
    let server = Server::start(&["--ws-heartbeat-interval", "100ms"]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    browser.with_client(&proxy.url()).await;
    for transport in ["websocket", "sse"] {
        let options = format!("{{ transport: '{transport}', quiet: 1000, pongWait: 3000 }}");
        browser.connect(&options).await;
        publish(&server, 0, 2).await;
        has_all(&mut browser, 2).await;
        proxy.hang();
        publish(&server, 2, 4).await;
        has_all(&mut browser, 4).await;
        browser.evaluate("client.close()").await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_comes_back_again_and_again() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    browser.with_client(&proxy.url()).await;
    browser.connect("{}").await;
    for n in 0..5 {
        publish(&server, n * 10, n * 10 + 5).await;
        has_all(&mut browser, n * 10 + 5).await;
        proxy.switch(None);
        browser.until("client.state !== 'open'").await;
        publish(&server, n * 10 + 5, n * 10 + 10).await;
        proxy.switch(Some(server.address()));
        has_all(&mut browser, n * 10 + 10).await;
    }
    let delays = "changes.filter(({ state }) => state === 'waiting').map(({ delay }) => delay)";
    let delays = browser.evaluate(delays).await;
    let delays: Vec<f64> = delays
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    assert!(delays.iter().all(|delay| *delay < 30_000.0), "{delays:?}");
    assert!(
        delays.windows(2).any(|two| two[0] != two[1]),
        "random: {delays:?}"
    );
}

#[tokio::test]
async fn nothing_is_missed_before_the_first_event_either() {
    for logged in [0, 3] {
        let server = Server::start(&[]);
        for _ in 0..logged {
            server.publish(r#"{"type":"before"}"#).await;
        }
        let proxy = Proxy::start(server.address()).await;
        let mut browser = Browser::start().await;
        browser.with_client(&proxy.url()).await;
        browser.connect("{}").await;
        proxy.switch(None);
        browser.until("client.state !== 'open'").await;
        publish(&server, 0, 3).await;
        proxy.switch(Some(server.address()));
        has_all(&mut browser, 3).await;
    }
}

#[tokio::test]
async fn a_reload_goes_on_where_it_was() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    browser.connect("{ resume: 'session' }").await;
    // Before the first event, too.
    browser.goto("about:blank").await;
    publish(&server, 0, 2).await;
    browser.with_client(&server.url()).await;
    browser.connect("{ resume: 'session' }").await;
    has_all(&mut browser, 2).await;

    browser.goto("about:blank").await;
    publish(&server, 2, 4).await;
    browser.with_client(&server.url()).await;
    browser.connect("{ resume: 'session' }").await;
    browser.until("numbers.length === 2").await;
    assert_eq!(browser.evaluate("numbers").await, json!([2, 3]));
    // One that begins elsewhere has a connection of its own.
    browser.connect("{ lastEventId: 'earliest' }").await;
    has_all(&mut browser, 4).await;
    server.connected(2).await;
}

#[tokio::test]
async fn what_cannot_be_had_any_more_is_told() {
    let server = Server::start(&["--ws-replay-buffer-size", "5"]);
    let proxy = Proxy::start(server.address()).await;
    let mut browser = Browser::start().await;
    browser.with_client(&proxy.url()).await;
    browser.connect("{}").await;
    publish(&server, 0, 2).await;
    has_all(&mut browser, 2).await;

    proxy.switch(None);
    publish(&server, 2, 100).await;
    proxy.switch(Some(server.address()));
    browser.until("numbers.length === 7").await;
    assert_eq!(
        browser.evaluate("numbers").await,
        json!([0, 1, 95, 96, 97, 98, 99])
    );
    assert_eq!(browser.evaluate("gaps").await, json!(["evicted"]));
}

#[tokio::test]
async fn where_websockets_do_not_come_through_it_is_server_sent_events() {
    let server = Server::start(&[]);
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    browser
        .evaluate(
            "window.WebSocket = class {
               constructor() { setTimeout(() => this.onclose({ code: 1006, reason: '' })); }
               close() {}
             }",
        )
        .await;
    browser.connect("{}").await;
    assert_eq!(browser.evaluate("client.transport").await, "sse");
    publish(&server, 0, 3).await;
    has_all(&mut browser, 3).await;
}

#[tokio::test]
async fn a_token_is_renewed_and_a_bad_one_is_told() {
    let table = format!(
        "[jwt]\nalgorithm = \"RS256\"\npublic_key_file = {:?}\n",
        key_file("rs256.pub.pem").to_str().expect("a path in UTF-8")
    );
    let server = Setup::default().file(&table).start();
    let token = |seconds| {
        let rights = ["subscribe", "publish"];
        rs256(&claims(
            json!({"exp": in_seconds(seconds), "stoat_rights": rights}),
        ))
    };
    let mut browser = Browser::start().await;
    browser.with_client(&server.url()).await;
    let (short, long) = (token(10), token(3600));
    let tokens = format!("window.tokens = ['{short}', '{long}']; window.asked = 0; null");
    browser.evaluate(&tokens).await;
    let options = "{ token: async () => tokens[Math.min(asked++, 1)] }";
    browser.connect(options).await;
    server
        .publish_as(&long, r#"{"type":"a","payload":{"n":0}}"#)
        .await;
    browser.until("asked >= 2").await;
    browser.until("client.state === 'open'").await;
    server
        .publish_as(&long, r#"{"type":"a","payload":{"n":1}}"#)
        .await;
    has_all(&mut browser, 2).await;

    let server = setup().start();
    browser.with_client(&server.url()).await;
    for (options, status) in [
        ("{}".to_owned(), 401),
        (format!("{{ token: '{WRITER}' }}"), 403),
        (format!("{{ token: '{WRITER}', transport: 'sse' }}"), 403),
    ] {
        let connect = format!(
            "window.changes = []; window.client = stoat.connect({options});
             client.onState((change) => changes.push(change)); null"
        );
        browser.evaluate(&connect).await;
        browser.until("client.state === 'refused'").await;
        assert_eq!(browser.evaluate("changes.at(-1).status").await, status);
        browser.evaluate("client.close()").await;
    }
    browser.connect(&format!("{{ token: '{READER}' }}")).await;
}
