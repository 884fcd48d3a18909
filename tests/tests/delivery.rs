//! Who got an event: healthy clients, stuck ones, those that do not want it, those that left.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::{Client, Nats, Raw, Request, Response, Server, Sse, eventually, run};

/// The counts of a report, in this order.
const COUNTS: [&str; 6] = ["matched", "written", "replayed", "behind", "missed", "left"];

async fn ask(server: &Server, id: &str) -> Response {
    let path = format!("/api/v1/events/{id}/delivery");
    Request::get(&path).send(server).await
}

/// The report once it has these counts; they follow the bytes, not the other way round.
async fn settled(server: &Server, id: &str, expected: [u64; 6]) -> Value {
    let what = format!("{expected:?} for {id}");
    eventually(&what, async || {
        let response = ask(server, id).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let report = response.json();
        let counts = COUNTS.map(|name| report[name].as_u64().expect("a count"));
        (counts == expected).then_some(report)
    })
    .await
}

/// Publishes until so many clients take no more.
async fn until_slow(server: &Server, clients: f64) {
    let filler = "x".repeat(6 * 1024);
    let body = json!({"type": "filler", "payload": {"x": filler}}).to_string();
    eventually("they are slow", async || {
        server.publish(&body).await;
        let slow = server.metrics().await.value("stoat_ws_slow_clients", &[]);
        (slow == Some(clients)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_tells_who_has_it_who_is_behind_and_who_left() {
    let server = Server::start(&["--ws-replay-buffer-size", "100"]);
    let mut healthy = server.client().await;
    let mut wants = Client::connect(&server, "/ws?types=news").await;
    let mut sse = Sse::open(&server, "/sse?types=news").await;
    let _other = Client::connect(&server, "/ws?types=other").await;
    let mut slow = Raw::open_narrow(&server, "/ws").await;
    let leaves = Raw::open_narrow(&server, "/ws").await;
    server.connected(6).await;
    // It reads, so that only the two are slow.
    let read = async { while healthy.event().await.event_type != "news" {} };
    let publish = async {
        until_slow(&server, 2.0).await;
        server.publish(r#"{"type":"news","topic":"today"}"#).await
    };
    let ((), id) = tokio::join!(read, publish);
    assert_eq!(wants.event().await.id, id);
    assert_eq!(sse.event().await.id, id);

    let report = settled(&server, &id, [5, 3, 0, 2, 0, 0]).await;
    assert_eq!(report["event_id"], id);
    let age = |name: &str| report[name].as_f64().expect("an age");
    assert!(age("p50_age_seconds") > 0.0);
    assert!(age("p50_age_seconds") <= age("p99_age_seconds"));

    leaves.cut();
    drop(leaves);
    settled(&server, &id, [5, 3, 0, 1, 0, 1]).await;

    // A client of before that comes back, and one that comes later: only the first is concerned.
    let mut before = Client::connect(&server, "/ws?last_event_id=earliest&types=news").await;
    assert_eq!(before.event().await.id, id);
    let _later = Client::connect(&server, "/ws").await;
    settled(&server, &id, [6, 4, 1, 1, 0, 1]).await;

    // The log moves on, and the slow client is told that it has missed something.
    for _ in 0..100 {
        server.publish(r#"{"type":"later"}"#).await;
    }
    while !slow
        .frame()
        .await
        .expect("a frame")
        .text()
        .contains(r#""type":"gap""#)
    {}
    let done = settled(&server, &id, [6, 4, 1, 0, 1, 1]).await;
    assert_eq!(done["p99_age_seconds"], report["p99_age_seconds"]);
}

#[tokio::test]
async fn it_says_why_there_is_no_report() {
    let server = Server::start(&["--delivery-reports", "2"]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.publish(r#"{"type":"a"}"#).await);
    }
    for id in &ids[1..] {
        settled(&server, id, [0; 6]).await;
    }
    let (epoch, _) = ids[0].split_once('-').expect("an event ID");
    let later = format!("{epoch}-4");
    for (id, reason) in [
        (ids[0].as_str(), "overwritten"),
        (&later, "unknown_id"),
        ("0000000000000001-1", "unknown_id"),
    ] {
        let response = ask(&server, id).await;
        let problem = response.problem(404);
        assert_eq!(problem["type"], "urn:stoat:problem:no-delivery-report");
        assert_eq!(problem["reason"], reason, "{id}");
        let newest = Some(ids[2].as_str());
        assert_eq!(response.header("x-stoat-cursor"), newest);
        assert!(response.header("x-correlation-id").is_some());
    }
    for malformed in ["x", "1", "%20", &ids[0].to_uppercase().replace('-', "_")] {
        let problem = ask(&server, malformed).await.problem(400);
        assert_eq!(problem["type"], "urn:stoat:problem:invalid-event-id");
    }

    let off = Server::start(&["--delivery-reports", "0"]);
    let id = off.publish(r#"{"type":"a"}"#).await;
    assert_eq!(ask(&off, &id).await.problem(404)["reason"], "off");
}

#[tokio::test]
async fn the_log_on_disk_has_reports_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    let server = Server::start(&["--log-dir", path]);
    let first = server.publish(r#"{"type":"a"}"#).await;
    let mut client = Client::connect(&server, "/ws?last_event_id=earliest").await;
    let second = server.publish(r#"{"type":"a"}"#).await;
    assert_eq!(client.events(2).await[1].id, second);
    settled(&server, &first, [1, 1, 1, 0, 0, 0]).await;
    settled(&server, &second, [1, 1, 0, 0, 0, 0]).await;
    drop(server);

    // Who got what was in the log at the start is not known any more.
    let server = Server::start(&["--log-dir", path]);
    let problem = ask(&server, &second).await.problem(404);
    assert_eq!(problem["reason"], "overwritten");
}

#[tokio::test]
async fn each_server_of_a_cluster_tells_of_its_own_connections() {
    let nats = Nats::start().await;
    let url = nats.url();
    let (one, two) = (
        Server::start(&["--nats-url", &url]),
        Server::start(&["--nats-url", &url]),
    );
    let (mut here, mut there) = (one.client().await, two.client().await);
    let _other = Client::connect(&two, "/ws?types=other").await;
    let id = one.publish(r#"{"type":"a"}"#).await;
    for (server, client) in [(&one, &mut here), (&two, &mut there)] {
        assert_eq!(client.event().await.id, id);
        settled(server, &id, [1, 1, 0, 0, 0, 0]).await;
    }
    // The log leaves numbers out.
    let (epoch, number) = id.split_once('-').expect("an event ID");
    let number: u64 = number.parse().expect("a number");
    let nobody = format!("{epoch}-{}", number - 1);
    let problem = ask(&one, &nobody).await.problem(404);
    assert_eq!(problem["reason"], "unknown_id");
}

#[tokio::test]
async fn the_command_line_prints_it() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let id = server.publish(r#"{"type":"a"}"#).await;
    client.event().await;
    let report = settled(&server, &id, [1, 1, 0, 0, 0, 0]).await;

    let printed = run(&["delivery", &id, "--url", &server.url()]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let line: Value = serde_json::from_str(&printed.stdout).expect("a line of JSON");
    assert_eq!(line, report);

    let unknown = "0000000000000001-1";
    let refused = run(&["delivery", unknown, "--url", &server.url()]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("no event of this log"),
        "{refused:?}"
    );
    assert_eq!(run(&["delivery", "x"]).await.code, Some(2));
}
