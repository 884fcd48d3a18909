//! The end of the server: every client is told, every publish is answered, nothing hangs.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use stoat_tests::{Client, Connection, Event, Foreign, Raw, Request, Server, eventually};

/// The milliseconds in a reason like `retry_ms=250`.
fn retry(reason: &str) -> u64 {
    let number = reason.strip_prefix("retry_ms=");
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("retry_ms=N, not {reason:?}"))
}

async fn publish(server: &Server, n: u64) {
    let body = json!({"type": "a", "payload": {"n": n}});
    server.publish(&body.to_string()).await;
}

/// The events that a client got, checked: all that was acknowledged, then only `draining`.
fn check(events: &[Event], acknowledged: u64) {
    let (published, last) = events.split_at(events.len() - 1);
    let numbers: Vec<u64> = published.iter().map(Event::n).collect();
    assert_eq!(numbers, (0..acknowledged).collect::<Vec<_>>());
    assert_eq!(last[0].event_type, "health_status", "{last:?}");
    assert_eq!(last[0].value()["status"], "draining", "{last:?}");
    assert!(last[0].value()["checks"].is_object(), "{last:?}");
    assert_eq!(last[0].correlation_id, None, "{last:?}");
}

async fn drained_by(signal: Signal) {
    let mut server = Server::start(&[]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.client().await);
    }
    let (mut python, mut node) = tokio::join!(
        Foreign::python(&server, "/ws", 5),
        Foreign::node(&server, "/ws", 5)
    );
    for n in 0..50 {
        publish(&server, n).await;
    }

    server.signal(signal);

    let mut reasons = Vec::new();
    for (events, close) in join_all(clients.iter_mut().map(Client::closed)).await {
        check(&events, 50);
        let close = close.expect("a Close");
        assert_eq!(u16::from(close.code), 1001, "{close:?}");
        reasons.push(close.reason.to_string());
    }
    for client in python.closed().await.iter().chain(node.closed().await) {
        check(&client.events(), 50);
        let (code, reason) = client.close.clone().expect("a Close");
        assert_eq!(code, 1001, "{reason}");
        reasons.push(reason);
    }
    let different: BTreeSet<u64> = reasons.iter().map(|reason| retry(reason)).collect();
    assert_eq!(different.len(), 30, "{reasons:?}");
    // Spread over `drain_timeout`, 10 s, with no two of them close together.
    let different: Vec<u64> = different.into_iter().collect();
    let apart = different.windows(2).map(|pair| pair[1] - pair[0]).min();
    assert!(apart >= Some(10_000 / 30), "{reasons:?}");
    assert!(different.iter().all(|retry| *retry < 10_000), "{reasons:?}");
    let status = server.exit().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(
        server.more_output().is_empty(),
        "one line on standard output"
    );
}

#[tokio::test]
async fn sigterm_tells_every_client_when_to_come_back() {
    drained_by(Signal::TERM).await;
}

#[tokio::test]
async fn sigint_does_the_same() {
    drained_by(Signal::INT).await;
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut server = Server::start(&["--drain-timeout", "50s"]);
    let _idle = Connection::open(server.address()).await;
    let mut kept = Connection::open(server.address()).await;
    kept.send(&Request::get("/health/live")).await;

    server.terminate();

    let (status, took) = server.exit_within().await;
    assert_eq!(status.code(), Some(0));
    assert!(took.as_secs() < 40, "idle connections held it for {took:?}");
}

/// A client that reads the Close but does not answer holds the server in its drain.
#[tokio::test]
async fn while_it_drains_it_is_not_ready_and_takes_no_events() {
    let mut server = Server::start(&["--drain-timeout", "50s"]);
    let mut holder = Raw::open(&server, "/ws").await;
    let mut slow = Connection::open(server.address()).await;
    let body = r#"{"type":"a","payload":{"n":1}}"#;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        server.address(),
        body.len(),
    );
    slow.write(head.as_bytes()).await;
    // The server asks for the body once it has begun with the request.
    assert_eq!(slow.response(true).await.status, 100);

    server.terminate();

    eventually("the server is not ready", async || {
        let response = Request::get("/health/ready").send(&server).await;
        (response.status == 503).then_some(response)
    })
    .await;
    let ready = Request::get("/health/ready").send(&server).await;
    assert_eq!(ready.json()["status"], "draining", "{}", ready.text());
    let refused = Request::publish(r#"{"type":"a","payload":{"n":2}}"#)
        .send(&server)
        .await;
    refused.problem(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let live = Request::get("/health/live").send(&server).await;
    assert_eq!(live.status, 200, "{}", live.text());

    // The publish that was under way is answered, one way or the other, and truly.
    slow.write(body.as_bytes()).await;
    let answer = slow.response(false).await;
    let mut types = Vec::new();
    let close = loop {
        let frame = holder.frame().await.expect("a Close before the end");
        if frame.head == 0x88 {
            break frame;
        }
        types.push(Event::parse(frame.text()).event_type);
    };
    match answer.status {
        201 => assert_eq!(types, ["health_status", "a"]),
        status => {
            answer.problem(503);
            assert_eq!(types, ["health_status"], "{status}");
        }
    }
    assert_eq!(close.close_code(), 1001);
    // Who came now would not be told when to come back.
    let handshake = Raw::handshake(&server, "/ws", "");
    let newcomer = Connection::open(server.address()).await;
    let (_, answer) = Raw::upgrade(newcomer, &handshake).await;
    answer.problem(503);
    holder.send(0x88, &close.payload).await;
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn stuck_clients_hold_it_no_longer_than_the_drain_may_take() {
    let mut server = Server::start(&["--drain-timeout", "2s"]);
    let mut reader = server.client().await;
    let stuck = Raw::open_narrow(&server, "/ws").await;
    let silent = Raw::open(&server, "/ws").await;
    let mut half = Connection::open(server.address()).await;
    half.write(b"POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        .await;
    let filler = "x".repeat(32 * 1024);
    let mut connection = Connection::open(server.address()).await;
    for n in 0..300 {
        let body = json!({"type": "a", "payload": {"n": n, "x": filler}});
        let response = connection.send(&Request::publish(body.to_string())).await;
        assert_eq!(response.status, 201);
        assert_eq!(reader.event().await.n(), n);
    }

    server.terminate();

    let (events, close) = reader.closed().await;
    assert_eq!(events.len(), 1, "only `draining` is left: {events:?}");
    assert_eq!(close.map(|close| u16::from(close.code)), Some(1001));
    let (_, took) = server.exit_within().await;
    assert!(took.as_secs() < 30, "{took:?}");
    drop((stuck, silent, half));
}

#[tokio::test]
async fn publishes_under_way_are_answered_truly() {
    let mut server = Server::start(&[]);
    let mut reader = server.client().await;
    let publisher = async |publisher: u64| {
        let mut accepted = Vec::new();
        for n in 0.. {
            let body = json!({"type": "a", "payload": {"n": publisher * 1_000_000 + n}});
            let Some(response) = try_publish(&server, &body.to_string()).await else {
                break;
            };
            match response.status {
                201 => accepted.push(publisher * 1_000_000 + n),
                _ => {
                    response.problem(503);
                    break;
                }
            }
        }
        accepted
    };
    let signal = async {
        while server.metrics().await.sum("stoat_events_published_total") < 100.0 {}
        server.terminate();
    };

    let ((), a, b, (events, close)) =
        tokio::join!(signal, publisher(1), publisher(2), reader.closed());

    let mut accepted = [a, b].concat();
    accepted.sort_unstable();
    let mut delivered: Vec<u64> = events
        .iter()
        .filter(|event| event.event_type == "a")
        .map(Event::n)
        .collect();
    delivered.sort_unstable();
    assert!(accepted.len() >= 98, "{}", accepted.len());
    assert_eq!(delivered, accepted);
    assert_eq!(close.map(|close| u16::from(close.code)), Some(1001));
    assert_eq!(server.exit().await.code(), Some(0));
}

/// The answer; none where the server takes no connections any more.
async fn try_publish(server: &Server, body: &str) -> Option<stoat_tests::Response> {
    let stream = tokio::net::TcpStream::connect(server.address())
        .await
        .ok()?;
    let mut connection = Connection::over(stream);
    connection.try_send(&Request::publish(body)).await
}
