//! The WebSocket protocol: control messages, limits, and clients that break the rules.

use futures_util::future::join_all;
use serde_json::json;
use stoat_tests::{Client, Raw, Request, Server, raw, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: usize = 16 * 1024;

async fn mark(server: &Server, n: u64) {
    let body = json!({"type": "mark", "topic": "marks", "payload": {"n": n}});
    server.publish(&body.to_string()).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_gets_everything_from_then_on() {
    let server = Server::start(&[]);
    mark(&server, 0).await;
    let mut client = server.client().await;

    for n in 1..=3 {
        mark(&server, n).await;
        assert_eq!(client.event().await.n(), n);
    }
}

#[tokio::test]
async fn what_a_client_says_beyond_the_rules_harms_nothing() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let before = server.metrics().await;
    let messages = [
        Message::text(""),
        Message::text("garbage"),
        Message::text("{}"),
        Message::text("[]"),
        Message::text("null"),
        Message::text(r#"{"action":"unknown"}"#),
        Message::text(r#"{"action":7}"#),
        Message::text(r#"{"action":"subscribe","types":7}"#),
        Message::text(r#"{"action":"subscribe","types":[7]}"#),
        Message::text(r#"{"action":"subscribe","topics":["*.*"]}"#),
        Message::text("[".repeat(LIMIT)),
        Message::text("x".repeat(LIMIT)),
        Message::binary(Vec::new()),
        Message::binary(vec![0xff; LIMIT]),
        Message::binary(br#"{"action":"ping"}"#.to_vec()),
    ];

    for message in messages.iter().cloned() {
        client.send_message(message).await;
    }
    client.ping().await;

    mark(&server, 1).await;
    assert_eq!(client.event().await.n(), 1, "its filters are as before");
    let after = server.metrics().await;
    let ignored = "stoat_ws_ignored_messages_total";
    assert_eq!(
        after.sum(ignored) - before.sum(ignored),
        messages.len() as f64,
        "{after:?}"
    );
}

#[tokio::test]
async fn a_subscription_replaces_the_one_before() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let publish_four = async || {
        for (event_type, topic) in [("a", "x"), ("a", "y.z"), ("b", "x"), ("b", "y.z.w")] {
            let body = json!({"type": event_type, "topic": topic});
            server.publish(&body.to_string()).await;
        }
        server.publish(r#"{"type":"b"}"#).await;
    };
    let all = ["a x", "a y.z", "b x", "b y.z.w", "b "];
    let cases = [
        (r#""types":["a"],"topics":null"#, &all[..2]),
        (r#""types":null,"topics":["x"]"#, &["a x", "b x"]),
        (r#""types":["b"],"topics":["x"]"#, &["b x"]),
        (
            r#""types":["b","a"],"topics":["y.*"]"#,
            &["a y.z", "b y.z.w"],
        ),
        (r#""types":[],"topics":null"#, &[]),
        (r#""types":null,"topics":[]"#, &[]),
        (r#""types":["no_such"],"topics":["x"]"#, &[]),
        (r#""types":null,"topics":null"#, &all),
        (r#""types":["a"]"#, &all[..2]),
        ("", &all),
    ];

    for (filters, expected) in cases {
        let comma = if filters.is_empty() { "" } else { "," };
        client
            .send(&format!(r#"{{"action":"subscribe"{comma}{filters}}}"#))
            .await;
        client.ping().await;
        publish_four().await;
        let events = client.events(expected.len()).await;
        let got: Vec<String> = events
            .iter()
            .map(|e| format!("{} {}", e.event_type, e.topic.as_deref().unwrap_or("")))
            .collect();
        assert_eq!(got, expected, "{filters}");
    }
    // An event too many in any of the cases would come before this one.
    mark(&server, 1).await;
    assert_eq!(client.event().await.event_type, "mark");
}

#[tokio::test]
async fn filters_of_the_address_are_those_of_a_subscription() {
    let server = Server::start(&[]);
    let mut client = Client::connect(&server, "/ws?types=a,b&topics=x,y.*").await;

    for (event_type, topic) in [("a", "z"), ("c", "x"), ("a", "y"), ("b", "y.k"), ("a", "x")] {
        let body = json!({"type": event_type, "topic": topic});
        server.publish(&body.to_string()).await;
    }

    let first = client.event().await;
    assert_eq!(first.topic.as_deref(), Some("y.k"), "{first:?}");
    let second = client.event().await;
    assert_eq!(second.topic.as_deref(), Some("x"), "{second:?}");
}

#[tokio::test]
async fn a_malformed_filter_in_the_address_is_refused() {
    let server = Server::start(&[]);

    for query in ["types=Not%20a%20type", "topics=a.*.b", "types=a%ff"] {
        let request = Raw::handshake(&server, &format!("/ws?{query}"), "");
        let connection = stoat_tests::Connection::open(server.address()).await;
        let (_, response) = Raw::upgrade(connection, &request).await;
        response.problem(400);
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(&server, "/ws").await;

    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        raw.send(0x89, payload).await;
        let pong = raw.frame().await.unwrap_or_else(|| panic!("a pong"));
        assert_eq!((pong.head, &pong.payload[..]), (0x8a, payload));
    }
    raw.send(0x8a, b"unasked").await;
    mark(&server, 1).await;
    assert_eq!(raw.frame().await.map(|frame| frame.head), Some(0x81));
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(&server, "/ws").await;

    raw.send(0x01, br#"{"action":"#).await;
    raw.send(0x89, b"between").await;
    raw.send(0x00, b"").await;
    raw.send(0x80, br#""ping"}"#).await;

    let pong = raw.frame().await.unwrap_or_else(|| panic!("a pong"));
    assert_eq!((pong.head, &pong.payload[..]), (0x8a, &b"between"[..]));
    let answer = raw.frame().await.unwrap_or_else(|| panic!("an answer"));
    assert_eq!((answer.head, answer.text()), (0x81, r#"{"action":"pong"}"#));
}

#[tokio::test]
async fn a_close_is_echoed() {
    let server = Server::start(&[]);

    for payload in [&b"\x03\xe8"[..], b"\x03\xe9bye", b"\x0f\xa0own", b""] {
        let mut raw = Raw::open(&server, "/ws").await;
        raw.send(0x88, payload).await;
        let close = raw.frame().await.unwrap_or_else(|| panic!("a Close"));
        assert_eq!(close.head, 0x88);
        let code = payload.get(..2).unwrap_or_default();
        assert_eq!(close.payload.get(..2).unwrap_or_default(), code);
        raw.ended().await;
    }
    server.connected(0).await;
}

/// The bytes of a frame, whole or only its header, and the code that it is refused with.
#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_closed_with_the_code_for_it() {
    let server = Server::start(&[]);
    let mut bystander = server.client().await;
    let masked = |head: u8, payload: &[u8]| {
        let mut frame = raw::header(head, payload.len());
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    };
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", b"\x81\x02hi".to_vec(), 1002),
        ("unmasked, by the header", b"\x81\x02".to_vec(), 1002),
        ("invalid UTF-8", masked(0x81, b"a\xffb"), 1007),
        ("a lone surrogate", masked(0x81, b"\xed\xa0\x80"), 1007),
        ("a cut character", masked(0x81, b"\xe2\x82"), 1007),
        ("reserved opcode 3", masked(0x83, b""), 1002),
        ("reserved opcode 11", masked(0x8b, b""), 1002),
        ("RSV1", masked(0xc1, b"hi"), 1002),
        ("RSV3", masked(0x91, b"hi"), 1002),
        ("a fragmented ping", masked(0x09, b"hi"), 1002),
        ("a ping of 126 bytes", masked(0x89, &[b'x'; 126]), 1002),
        ("a long ping, by the header", b"\x89\xfe".to_vec(), 1002),
        ("a lone continuation", masked(0x80, b"hi"), 1002),
        (
            "text within text",
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            1002,
        ),
        ("a Close of one byte", masked(0x88, b"\x03"), 1002),
        ("a Close with 1005", masked(0x88, b"\x03\xed"), 1002),
        ("a Close with 999", masked(0x88, b"\x03\xe7"), 1002),
        ("a Close with bad text", masked(0x88, b"\x03\xe8\xff"), 1007),
        ("a flood of pongs", masked(0x8a, b"").repeat(1000), 1008),
        (
            "a flood of subscriptions",
            masked(0x81, br#"{"action":"subscribe"}"#).repeat(5000),
            1008,
        ),
        (
            "a million empty fragments",
            [masked(0x01, b""), masked(0x00, b"").repeat(1_000_000)].concat(),
            1009,
        ),
        ("too long", masked(0x81, &[b'x'; LIMIT + 1]), 1009),
        ("the header of 1 MiB", raw::header(0x82, 1 << 20), 1009),
        (
            "the header of 2^63-1",
            [&[0x82, 0xff, 0x7f][..], &[0xff; 7]].concat(),
            1009,
        ),
        (
            "too long in fragments",
            [masked(0x01, &[b'x'; LIMIT]), raw::header(0x80, 1)].concat(),
            1009,
        ),
    ];

    let count = cases.len();
    // All at once, since the server may read on for a while after its Close.
    let server = &server;
    let closed = cases.into_iter().map(|(what, bytes, code)| async move {
        let mut raw = Raw::open(server, "/ws").await;
        raw.write(&bytes).await;
        assert_eq!(raw.close_code().await, code, "{what}");
    });
    join_all(closed).await;

    server.connected(1).await;
    mark(server, 1).await;
    assert_eq!(bystander.event().await.n(), 1);
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("stoat_ws_disconnects_total"), count as f64);
}

#[tokio::test]
async fn a_client_that_floods_and_reads_nothing_is_closed() {
    let server = Server::start(&[]);
    let ping = br#"{"action":"ping"}"#;

    for (head, payload) in [(0x89, &[b'x'; 125][..]), (0x81, ping)] {
        let mut raw = Raw::open_narrow(&server, "/ws").await;
        let mut frame = raw::header(head, payload.len());
        frame.extend([0; 4]);
        frame.extend(payload);
        raw.write(&frame.repeat(5000)).await;

        server.connected(0).await;
        let mut answers = 0;
        let close = loop {
            match raw.frame().await {
                Some(frame) if frame.head == 0x88 => break frame,
                Some(_) => answers += 1,
                None => panic!("no Close after {answers} answers"),
            }
        };
        assert_eq!(close.close_code(), 1008);
        assert!(answers < 5000, "{answers}");
    }
    let flood = [("reason", "protocol_error")];
    let metrics = server.metrics().await;
    let closed = metrics.value("stoat_ws_disconnects_total", &flood);
    assert_eq!(closed, Some(2.0));
}

#[tokio::test]
async fn a_flood_that_does_not_end_is_cut_off() {
    let server = Server::start(&[]);
    let handshake = Raw::handshake(&server, "/ws", "");
    let mut frame = raw::header(0x89, 125);
    frame.extend([0; 129]);
    let flood = frame.repeat(500);
    let stream = within("a connection", TcpStream::connect(server.address())).await;
    let mut stream = stream.expect("the server accepts");

    let flooding = async {
        let mut sent = 0;
        let begun = stream.write_all(handshake.as_bytes()).await;
        begun.expect("an open connection");
        while stream.write_all(&flood).await.is_ok() {
            sent += flood.len();
        }
        sent
    };
    let sent = within("the end of the flood", flooding).await;
    // What buffers of the kernel take is a few megabytes.
    assert!(sent < 64 << 20, "{sent}");
    server.connected(0).await;
}

#[tokio::test]
async fn the_longest_event_that_is_allowed_arrives() {
    let server = Server::start(&["--max-event", "1MiB", "--max-body", "2MiB"]);
    let mut client = server.client().await;

    for size in [100, 125, 126, 127, 30_000, 65_000, 66_000, 1_000_000] {
        let text = "x".repeat(size);
        let body = json!({"type": "a", "payload": {"x": text}});
        let response = Request::publish(body.to_string()).send(&server).await;
        assert_eq!(response.status, 201, "{size}: {}", response.text());
        assert_eq!(client.event().await.value()["x"], text);
    }
}

#[tokio::test]
async fn a_connection_without_a_sign_of_life_is_dropped() {
    let server = Server::start(&["--ws-ping-interval", "200ms", "--ws-pong-timeout", "1s"]);
    let mut alive = server.client().await;
    let mut silent = Raw::open(&server, "/ws").await;

    let ping = silent.frame().await.unwrap_or_else(|| panic!("a ping"));
    assert_eq!(ping.head, 0x89);

    // Reading answers the pings of the server meanwhile.
    let dropped = async {
        while let Some(frame) = silent.frame().await {
            assert!(matches!(frame.head, 0x89 | 0x88), "{frame:?}");
        }
        server.connected(1).await;
        mark(&server, 1).await;
    };
    let ((), event) = tokio::join!(dropped, alive.event());
    assert_eq!(event.n(), 1);
}
