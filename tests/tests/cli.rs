//! The command line: usage, exit codes, `publish` and `tail`.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::{Event, Proxy, Running, Server, run, run_with};

#[tokio::test]
async fn it_says_its_version_and_its_usage() {
    let version = run(&["--version"]).await;
    assert_eq!(version.code, Some(0), "{version:?}");
    let number = version.stdout.strip_prefix("stoat ").expect("stoat X.Y.Z");
    assert_eq!(number.trim_end().split('.').count(), 3, "{version:?}");

    for args in [
        &["--help"][..],
        &["-h"],
        &["serve", "--help"],
        &["tail", "--help"],
        &["publish", "--help"],
        &["check-config", "--help"],
    ] {
        let help = run(args).await;
        assert_eq!(help.code, Some(0), "{args:?}: {help:?}");
        assert!(help.stdout.contains("Usage"), "{args:?}: {help:?}");
        assert_eq!(help.stderr, "", "{args:?}");
    }
}

#[tokio::test]
async fn bad_usage_is_named_and_ends_with_2() {
    for (args, named) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["serve", "--max-event", "much"], "max_event"),
        (&["serve", "--max-event"], "--max-event"),
        (&["serve", "--listen", "nowhere"], "listen"),
        (&["serve", "--ws-ping-interval=-1s"], "ws_ping_interval"),
        (&["publish"], "TYPE"),
        (&["publish", "a", "{"], "JSON"),
        (&["publish", "a", "{}", "--url", "ftp://x"], "URL"),
        (&["tail", "nonsense"], "URL"),
    ] {
        let output = run(args).await;
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert_eq!(output.stdout, "", "{args:?}");
        let plain = output.stderr.replace('-', "_").to_lowercase();
        let named = named.replace('-', "_").to_lowercase();
        assert!(plain.contains(&named), "{named} in {output:?}");
        assert!(!output.stderr.contains("panicked"), "{output:?}");
    }
}

#[tokio::test]
async fn an_address_in_use_ends_with_1() {
    let server = Server::start(&[]);
    let address = server.address().to_string();

    let output = run(&["serve", "--listen", &address]).await;

    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains(&address), "{output:?}");
}

#[tokio::test]
async fn the_reason_of_an_end_is_json_where_the_log_lines_are() {
    let server = Server::start(&[]);
    let address = server.address().to_string();

    let output = run(&["--listen", &address, "--log-format", "json"]).await;

    assert_eq!(output.code, Some(1), "{output:?}");
    let lines = output.stderr.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("lines of JSON");
    let last = lines.last().expect("a line");
    assert_eq!(last["level"], "ERROR");
    let message = last["message"].as_str().expect("a text");
    assert!(message.contains(&address), "{message}");

    let quiet = ["--listen", &address, "--log-format=json", "--log-level=off"];
    let output = run(&quiet).await;
    assert!(output.stderr.contains(&address), "{output:?}");
}

#[tokio::test]
async fn a_public_address_needs_tokens_or_consent() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(&["--listen", address]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("allow-anonymous"), "{refused:?}");
    }

    let server = Server::start(&["--listen", "0.0.0.0:0", "--allow-anonymous"]);
    assert_ne!(server.address().port(), 0);
}

#[tokio::test]
async fn publish_publishes_one_event() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let url = server.url();

    for (args, payload) in [
        (
            &["publish", "scan_started", r#"{"big":1e400, "b":1,"a":2}"#][..],
            r#"{"big":1e400,"b":1,"a":2}"#,
        ),
        (&["publish", "scan_started"], "{}"),
    ] {
        let output = run(&[args, &["--url", &url]].concat()).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        let event = client.event().await;
        assert_eq!(event.event_type, "scan_started");
        assert_eq!(event.payload, payload);
        assert!(output.stdout.contains(&event.id), "{output:?}");
    }
    let args = [
        "publish",
        "a",
        "--url",
        &url,
        "--topic",
        "x.y",
        "--correlation-id",
        "c-1",
    ];
    assert_eq!(run(&args).await.code, Some(0));
    let event = client.event().await;
    assert_eq!(event.topic.as_deref(), Some("x.y"));
    assert_eq!(event.correlation_id.as_deref(), Some("c-1"));
}

#[tokio::test]
async fn publish_reads_lines() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let url = server.url();
    let lines: String = (0..2500)
        .map(|n| format!("{}\n", json!({"type": "a", "payload": {"n": n}})))
        .collect();

    let output = run_with(&["publish", "-", "--url", &url], &[], &lines).await;

    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for n in 0..2500 {
        assert_eq!(client.event().await.n(), n);
    }
    let unended = run_with(&["publish", "-", "--url", &url], &[], r#"{"type":"b"}"#).await;
    assert_eq!(unended.code, Some(0), "{unended:?}");
    assert_eq!(client.event().await.event_type, "b");
}

#[tokio::test]
async fn a_publish_that_fails_ends_with_1_and_says_why() {
    let server = Server::start(&["--max-event", "1KiB"]);
    let url = server.url();
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(2000));

    for (args, why) in [
        (["publish", "heartbeat", "{}", "--url", &url], "type"),
        (["publish", "a", &long, "--url", &url], "413"),
        (
            ["publish", "a", "{}", "--url", "http://127.0.0.1:1"],
            "127.0.0.1:1",
        ),
    ] {
        let output = run(&args).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(why), "{why} in {output:?}");
    }
    let lines = "{\"type\":\"a\"}\n{\"type\":\"B\"}\n";
    let output = run_with(&["publish", "-", "--url", &url], &[], lines).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("type"), "{output:?}");
}

#[tokio::test]
async fn tail_prints_each_event_as_a_line() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let mut tail = Running::start(&["tail", &server.url()]);
    server.connected(2).await;

    for n in 0..3 {
        let body = json!({"type": "a", "topic": "x", "payload": {"n": n, "text": "ü\n"}});
        server.publish(&body.to_string()).await;
        assert_eq!(tail.line().await, client.event().await.text);
    }
}

#[tokio::test]
async fn tail_filters_starts_and_stops_where_it_is_told() {
    let server = Server::start(&[]);
    for n in 0..9 {
        let (event_type, topic) = [("a", "x.y"), ("b", "x.y"), ("a", "z")][n % 3];
        let body = json!({"type": event_type, "topic": topic, "payload": {"n": n}});
        server.publish(&body.to_string()).await;
    }

    let url = server.url();
    let args = [
        "tail", &url, "--types", "a", "--topics", "x.*", "--since", "earliest", "--count", "3",
    ];
    let output = run(&args).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    let numbers: Vec<u64> = output
        .stdout
        .lines()
        .map(|line| Event::parse(line).n())
        .collect();
    assert_eq!(numbers, [0, 3, 6]);
}

async fn publish(server: &Server, n: u64) {
    let body = json!({"type": "a", "payload": {"n": n}});
    server.publish(&body.to_string()).await;
}

#[tokio::test]
async fn tail_resumes_after_a_dropped_connection() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.address()).await;
    let mut tail = Running::start(&["tail", &proxy.url()]);
    server.connected(1).await;
    publish(&server, 0).await;
    assert_eq!(Event::parse(&tail.line().await).n(), 0);

    for from in [1, 11, 21] {
        proxy.switch(None);
        server.connected(0).await;
        for n in from..from + 10 {
            publish(&server, n).await;
        }
        proxy.switch(Some(server.address()));
        for n in from..from + 10 {
            assert_eq!(Event::parse(&tail.line().await).n(), n);
        }
    }
}

#[tokio::test]
async fn tail_goes_on_with_the_next_server_at_the_same_address() {
    let mut first = Server::start(&[]);
    let proxy = Proxy::start(first.address()).await;
    let mut tail = Running::start(&["tail", &proxy.url()]);
    first.connected(1).await;
    publish(&first, 0).await;
    assert_eq!(Event::parse(&tail.line().await).n(), 0);

    first.terminate();
    assert_eq!(first.exit().await.code(), Some(0));
    let second = Server::start(&[]);
    publish(&second, 1).await;
    proxy.switch(Some(second.address()));

    // The log of the first server is gone, and the reader of the output is told.
    let mut event = Event::parse(&tail.line().await);
    if event.event_type == "health_status" {
        event = Event::parse(&tail.line().await);
    }
    event.gap("unknown_id");
    assert_eq!(Event::parse(&tail.line().await).n(), 1);
    publish(&second, 2).await;
    assert_eq!(Event::parse(&tail.line().await).n(), 2);
}
