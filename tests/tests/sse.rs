//! `/sse` is the stream of `/ws` in another form: the same events, positions, rights and bounds.
#![allow(clippy::expect_used, reason = "a test")]

use std::cell::Cell;

use serde_json::json;
use stoat_tests::access::{BOSS, READER, TEAM, WRITER, claims, in_seconds, refused, rs256, setup};
use stoat_tests::sse::Block;
use stoat_tests::{
    Client, Connection, Event, Http2, Identity, Request, Server, Setup, Sse, eventually,
};

async fn publish(server: &Server, from: u64, to: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for n in from..to {
        let body = json!({"type": "a", "payload": {"n": n, "text": "Grüße 🦦 \n\u{2028}"}});
        ids.push(server.publish(&body.to_string()).await);
    }
    ids
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(Event::n).collect()
}

async fn resume(server: &Server, id: &str) -> Sse {
    Sse::ask(server, &Request::get("/sse").header("Last-Event-ID", id)).await
}

#[tokio::test]
async fn it_is_the_stream_of_a_websocket_in_another_form() {
    let server = Server::start(&[]);
    let mut websocket = server.client().await;
    let mut stream = Sse::open(&server, "/sse").await;

    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(stream.head.header(name), Some(value));
    }
    assert!(stream.head.header("x-correlation-id").is_some());
    assert_eq!(stream.head.header("x-stoat-cursor"), None, "an empty log");
    let Some(Block::Retry(retry)) = stream.block().await else {
        panic!("`retry:` comes first");
    };
    assert!((1000..10_000).contains(&retry), "{retry}");

    publish(&server, 0, 3).await;
    server
        .publish(r#"{"type":"b.c","topic":"x.y","correlation_id":"r-1"}"#)
        .await;
    let events = websocket.events(4).await;
    assert_eq!(stream.events(4).await, events);
    assert!(stream.retries().is_empty(), "it is sent once");
    let later = Sse::open(&server, "/sse").await;
    assert_eq!(later.head.header("x-stoat-cursor"), Some(&*events[3].id));
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_id() {
    let server = Server::start(&["--ws-replay-buffer-size", "5"]);
    let ids = publish(&server, 0, 10).await;

    let mut stream = resume(&server, &ids[6]).await;
    assert_eq!(numbers(&stream.events(3).await), [7, 8, 9]);
    // An `EventSource` that reconnects sends the header, and its old address.
    let target = format!("/sse?last_event_id={}", ids[5]);
    let request = Request::get(&target).header("Last-Event-ID", &ids[8]);
    assert_eq!(Sse::ask(&server, &request).await.event().await.n(), 9);
    assert_eq!(Sse::open(&server, &target).await.event().await.n(), 6);

    let mut evicted = resume(&server, &ids[0]).await;
    let gap = evicted.event().await;
    let expected =
        json!({"reason": "evicted", "requested": ids[0], "oldest": ids[5], "newest": ids[9]});
    assert_eq!(gap.gap("evicted"), expected);
    assert_eq!(gap.id, ids[4]);
    assert_eq!(numbers(&evicted.events(5).await), [5, 6, 7, 8, 9]);
    resume(&server, "of-another")
        .await
        .event()
        .await
        .gap("unknown_id");
    let mut earliest = Sse::open(&server, "/sse?last_event_id=earliest").await;
    assert_eq!(earliest.event().await.n(), 5);
}

#[tokio::test]
async fn a_hundred_reconnects_under_constant_publishing_lose_and_repeat_nothing() {
    let server = Server::start(&[]);
    let mut last = publish(&server, 0, 1).await.remove(0);
    let (published, done) = (Cell::new(1), Cell::new(false));
    let publisher = async {
        let mut connection = Connection::open(server.address()).await;
        while !done.get() {
            let body = json!({"type": "a", "payload": {"n": published.get()}});
            let response = connection.send(&Request::publish(body.to_string())).await;
            assert_eq!(response.status, 201);
            published.set(published.get() + 1);
        }
    };
    let reader = async {
        let mut next = 1;
        for attempt in 0..100 {
            let mut stream = resume(&server, &last).await;
            // The seam between what is replayed and what is live is crossed on most tries.
            let target = match attempt % 5 {
                0 => next,
                _ => published.get() + attempt * 7919 % 23,
            };
            while next < target {
                let event = stream.event().await;
                assert_eq!(event.n(), next, "try {attempt}: {event:?}");
                next += 1;
                last = event.id;
            }
        }
        done.set(true);
    };
    tokio::join!(publisher, reader);
}

#[tokio::test]
async fn filters_are_those_of_a_websocket() {
    let server = Server::start(&[]);
    let mut stream = Sse::open(&server, "/sse?types=a,b&topics=x.*").await;
    for (event_type, topic) in [("a", "x"), ("a", "x.y"), ("c", "x.y"), ("b", "x.z")] {
        let body = json!({"type": event_type, "topic": topic});
        server.publish(&body.to_string()).await;
    }
    let topics: Vec<_> = stream
        .events(2)
        .await
        .into_iter()
        .map(|e| e.topic)
        .collect();
    assert_eq!(topics, [Some("x.y".to_owned()), Some("x.z".to_owned())]);

    for (target, field) in [("types=A", "types"), ("topics=a&topics=b", "topics")] {
        let answer = Request::get(&format!("/sse?{target}")).send(&server).await;
        let problem = answer.problem(400);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(field), "{problem}");
    }
}

#[tokio::test]
async fn heartbeats_keep_the_position_of_an_idle_reader_fresh() {
    let server = Server::start(&["--ws-heartbeat-interval", "100ms"]);
    let mut stream = Sse::open(&server, "/sse?types=b").await;
    let beat = stream.event().await;
    assert_eq!(beat.event_type, "heartbeat");
    assert!(beat.id.ends_with("-0"), "{beat:?}");
    let id = publish(&server, 0, 1).await.remove(0);
    while stream.event().await.id != id {}
}

#[tokio::test]
async fn comments_keep_a_silent_stream_open() {
    let server = Server::start(&["--ws-ping-interval", "50ms"]);
    let mut stream = Sse::open(&server, "/sse").await;
    assert!(matches!(stream.block().await, Some(Block::Retry(_))));
    for _ in 0..3 {
        assert_eq!(stream.block().await, Some(Block::Comment));
    }
    publish(&server, 0, 1).await;
    assert_eq!(stream.event().await.n(), 0);
}

#[tokio::test]
async fn only_get_is_allowed() {
    let server = Server::start(&[]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = Request::new(method, "/sse").send(&server).await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), Some("GET"), "{method}");
    }
    let mut connection = Connection::open(server.address()).await;
    let answer = connection.send(&Request::new("HEAD", "/sse")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    let answer = connection.send(&Request::get("/sse/")).await;
    answer.problem(404);
}

#[tokio::test]
async fn a_token_is_needed_and_its_topics_are_all_that_is_seen() {
    let server = setup().start();
    let none = Request::get("/sse").send(&server).await;
    refused(&none, 401);
    let writer = Request::get("/sse").bearer(WRITER).send(&server).await;
    refused(&writer, 403);

    for topic in ["team.b.x", "team.a.x", "news", "team.a"] {
        let event = json!({"type": "a", "topic": topic});
        server.publish_as(BOSS, &event.to_string()).await;
    }
    let target = format!("/sse?token={TEAM}&last_event_id=earliest&topics=*");
    let mut team = Sse::open(&server, &target).await;
    let request = Request::get("/sse?last_event_id=earliest").bearer(READER);
    let mut all = Sse::ask(&server, &request).await;
    server
        .publish_as(BOSS, r#"{"type":"a","topic":"news","payload":{"n":1}}"#)
        .await;
    let seen: Vec<_> = team.events(3).await.into_iter().map(|e| e.topic).collect();
    assert_eq!(
        seen,
        ["team.a.x", "news", "news"].map(|t| Some(t.to_owned()))
    );
    assert_eq!(all.events(5).await.len(), 5);

    let metrics = Request::get("/metrics").bearer(BOSS).send(&server).await;
    let metrics = stoat_tests::Metrics::parse(&metrics.text());
    for reason in ["unauthorized", "forbidden"] {
        let labels = [("reason", reason)];
        let count = metrics.value("stoat_ws_rejected_handshakes_total", &labels);
        assert_eq!(count, Some(1.0), "{reason}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let key = stoat_tests::access::key_file("rs256.pub.pem");
    let table = format!(
        "[jwt]\nalgorithm = \"RS256\"\npublic_key_file = {:?}\n",
        key.to_str().expect("a path in UTF-8")
    );
    let server = Setup::default().file(&table).start();
    let token = rs256(&claims(
        json!({"exp": in_seconds(6), "stoat_rights": ["subscribe", "publish"]}),
    ));
    let mut stream = Sse::ask(&server, &Request::get("/sse").bearer(&token)).await;
    server
        .publish_as(&token, r#"{"type":"a","payload":{"n":1}}"#)
        .await;
    assert_eq!(stream.event().await.n(), 1);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_gets_nothing() {
    let server = Server::start(&["--allowed-origins", "https://app.example"]);
    let own = format!("http://{}", server.address());
    for origin in ["https://app.example", own.as_str()] {
        let stream = Sse::ask(&server, &Request::get("/sse").header("Origin", origin)).await;
        let allowed = stream.head.header("access-control-allow-origin");
        assert_eq!(allowed, Some(origin));
        assert_eq!(stream.head.header("vary"), Some("Origin"));
    }
    let foreign = Request::get("/sse").header("Origin", "https://evil.example");
    foreign.send(&server).await.problem(403);
}

#[tokio::test]
async fn a_stream_is_a_connection_among_the_others() {
    let server = Server::start(&["--max-connections-per-ip", "2"]);
    let request = Request::get("/sse?types=a").header("User-Agent", "reader/1");
    let mut stream = Sse::ask(&server, &request).await;
    let mut other = server.client().await;
    Request::get("/sse").send(&server).await.problem(429);

    publish(&server, 0, 1).await;
    stream.event().await;
    other.event().await;
    let listed = eventually("the event is counted", async || {
        let list = Request::get("/api/v1/connections")
            .send(&server)
            .await
            .json();
        let sent = list["connections"][0]["bytes_sent"].as_u64();
        (sent > Some(0)).then_some(list)
    })
    .await;
    assert_eq!(listed["count"], 2);
    let one = &listed["connections"][0];
    assert_eq!(one["user_agent"], "reader/1");
    assert_eq!(one["filters"]["types"], json!(["a"]));
    assert_eq!(one["lag_events"], 0);
    let metrics = server.metrics().await;
    let delivered = metrics.value("stoat_events_delivered_total", &[]);
    assert_eq!(delivered, Some(2.0));
    assert_eq!(metrics.value("stoat_ws_connects_total", &[]), Some(2.0));

    let path = format!("/api/v1/connections/{}", one["id"].as_str().expect("an ID"));
    let closed = Request::new("DELETE", &path).send(&server).await;
    assert_eq!(closed.status, 204);
    assert_eq!(stream.next().await, None);
    server.connected(1).await;
    let reader = Sse::open(&server, "/sse").await;
    server.connected(2).await;
    drop(reader);
    // Without a byte to write, the server notices that the client is gone.
    server.connected(1).await;
    let labels = [("reason", "client_closed")];
    let closed = server
        .metrics()
        .await
        .value("stoat_ws_disconnects_total", &labels);
    assert_eq!(closed, Some(1.0));
}

/// With the size below, more than the system keeps for a connection on both sides.
const MANY: u64 = 2_000;

async fn publish_many(server: &Server) {
    let mut connection = Connection::open(server.address()).await;
    let filler = "x".repeat(6 * 1024);
    for n in 0..MANY {
        let body = json!({"type": "a", "payload": {"n": n, "x": filler}});
        let response = connection.send(&Request::publish(body.to_string())).await;
        assert_eq!(response.status, 201, "event {n}");
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_delays_nobody_and_is_dropped() {
    let server = Server::start(&["--ws-write-timeout", "2", "--handshake-timeout", "1"]);
    let mut reader = Sse::open(&server, "/sse").await;
    let stuck = Sse::open_narrow(server.address(), "/sse").await;
    let mut narrow_over_http_2 = Http2::connect_lazy(&server).await;
    narrow_over_http_2.open("GET", "/sse", &[], true).await;
    server.connected(3).await;

    let all = async {
        for n in 0..MANY {
            assert_eq!(reader.event().await.n(), n);
        }
    };
    tokio::join!(publish_many(&server), all);
    stuck.gone().await;
    narrow_over_http_2.closed().await;
    server.connected(1).await;
    let labels = [("reason", "write_timeout")];
    let dropped = server
        .metrics()
        .await
        .value("stoat_ws_disconnects_total", &labels);
    assert_eq!(dropped, Some(2.0));
}

#[tokio::test]
async fn a_reader_that_reads_again_gets_a_gap_and_costs_little() {
    let server = Server::start(&["--ws-replay-buffer-size", "100"]);
    let mut slow = Sse::open_narrow(server.address(), "/sse").await;
    server.connected(1).await;
    publish_many(&server).await;

    let mut next = 0;
    let gap = loop {
        let event = slow.event().await;
        if event.event_type == "gap" {
            break event;
        }
        assert_eq!(event.n(), next);
        next += 1;
    };
    assert!(next < MANY - 100, "it was not behind: {next}");
    let oldest = slow.event().await;
    assert_eq!(gap.gap("lagged")["oldest"], oldest.id);
    let mut n = oldest.n();
    while n < MANY - 1 {
        n += 1;
        assert_eq!(slow.event().await.n(), n);
    }
    let labels = [("reason", "lagged")];
    let gaps = server.metrics().await.value("stoat_ws_gaps_total", &labels);
    assert_eq!(gaps, Some(1.0));
}

#[tokio::test]
async fn a_drain_sends_what_was_acknowledged_and_spreads_the_return() {
    let mut server = Server::start(&[]);
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(Sse::open(&server, "/sse").await);
    }
    let mut websocket = server.client().await;
    publish(&server, 0, 50).await;
    server.terminate();

    let mut returns = Vec::new();
    for stream in &mut streams {
        assert_eq!(
            numbers(&stream.events(50).await),
            (0..50).collect::<Vec<_>>()
        );
        assert_eq!(stream.event().await.event_type, "health_status");
        assert_eq!(stream.next().await, None);
        let [first, last] = stream.retries() else {
            panic!("one at the beginning, one at the end: {stream:?}");
        };
        returns.push(last - first);
    }
    returns.sort_unstable();
    // Spread over `drain_timeout`, 10 s, among eleven clients.
    for pair in returns.windows(2) {
        assert!(pair[1] - pair[0] >= 10_000 / 11, "{returns:?}");
    }
    assert!(returns[9] < 10_000, "{returns:?}");
    websocket.closed().await;
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn while_draining_there_is_no_new_stream() {
    let mut server = Server::start(&["--drain-timeout", "20"]);
    // Keeps the server from ending.
    let stuck = Sse::open_narrow(server.address(), "/sse").await;
    server.connected(1).await;
    publish_many(&server).await;
    server.terminate();
    let answer = eventually("the drain has begun", async || {
        let mut connection = Connection::open(server.address()).await;
        connection.start(&Request::get("/sse")).await;
        let answer = connection.response(true).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    drop(stuck);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn it_works_over_http_2_beside_other_requests_and_over_tls() {
    let identity = Identity::new();
    let server = identity.serve(&[]);
    let mut http2 = Http2::connect(&server, Some(&identity.cert())).await;
    let stream = http2.open("GET", "/sse", &[], true).await;
    let head = http2.head(stream).await;
    assert_eq!(head[":status"], "200", "{head}");
    assert_eq!(head["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(head.get("connection"), None);

    let mut text = String::new();
    for n in 0..3 {
        let body = json!({"type": "a", "payload": {"n": n}}).to_string();
        let fields = [("content-type", "application/json")];
        let post = http2.open("POST", "/api/v1/events", &fields, false).await;
        http2.send(post, body.as_bytes(), true).await;
        let (head, _) = http2.answer(post).await;
        assert_eq!(head[":status"], "201", "{head}");
        while text.matches("\n\n").count() < n + 2 {
            let piece = http2.data(stream).await.expect("an open stream");
            text += std::str::from_utf8(&piece).expect("whole characters");
        }
    }
    let events = text.split_inclusive("\n\n").map(Block::parse).skip(1);
    for (n, block) in (0..).zip(events) {
        let Block::Event(event) = block else {
            panic!("an event, not {block:?}");
        };
        assert_eq!(event.n(), n);
    }
    http2.reset(stream).await;
    let (_, body) = http2.get("/metrics").await;
    let text = String::from_utf8(body).expect("text");
    assert!(text.contains("route=\"/sse\""), "{text}");
    eventually("the stream is gone", async || {
        let (_, body) = http2.get("/api/v1/connections").await;
        let list: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        (list["count"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_on_disk_only_is_replayed_and_ids_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("a path in UTF-8");
    let start = || Server::start(&["--log-dir", folder, "--ws-replay-buffer-size", "5"]);
    let mut server = start();
    let ids = publish(&server, 0, 40).await;
    let mut stream = resume(&server, &ids[9]).await;
    assert_eq!(
        numbers(&stream.events(30).await),
        (10..40).collect::<Vec<_>>()
    );
    server.terminate();
    server.exit().await;
    let server = start();
    let mut stream = resume(&server, &ids[38]).await;
    assert_eq!(stream.event().await.n(), 39);
    let mut websocket = Client::connect(&server, &format!("/ws?last_event_id={}", ids[38])).await;
    assert_eq!(websocket.event().await.n(), 39);
}
