//! HTTP/2: every route, WebSockets in streams of their own, and floods.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::Value;
use stoat_tests::{Event, Http2, Identity, Server, eventually};

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

fn problem(head: &Value, body: &[u8], status: &str) {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(head[":status"], status, "{head} {body}");
    assert_eq!(head["content-type"], "application/problem+json");
    assert_eq!(body["status"].to_string(), status);
    assert_eq!(body["correlation_id"], head["x-correlation-id"]);
    assert_eq!((head.get("connection"), head.get("upgrade")), (None, None));
}

/// A masked frame.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = stoat_tests::raw::header(head, payload.len());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The text frame that is next in the stream.
async fn text(client: &mut Http2, stream: usize, unread: &mut Vec<u8>) -> String {
    loop {
        let header = match unread.as_slice() {
            [0x81, 126, high, low, ..] => Some((4, usize::from(u16::from_be_bytes([*high, *low])))),
            [0x81, length @ 0..=125, ..] => Some((2, usize::from(*length))),
            [] | [0x81, ..] => None,
            other => panic!("no text frame: {other:?}"),
        };
        if let Some((start, length)) = header
            && unread.len() >= start + length
        {
            let frame: Vec<u8> = unread.drain(..start + length).collect();
            return String::from_utf8(frame[start..].to_vec()).expect("text");
        }
        unread.extend(client.data(stream).await.expect("more data"));
    }
}

async fn all_routes(mut client: Http2) {
    for path in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/v1/events",
    ] {
        let (head, body) = client.get(path).await;
        assert_eq!(
            (&head[":status"], body.is_empty()),
            (&"200".into(), false),
            "{path}"
        );
        assert!(head["x-correlation-id"].is_string());
    }
    let stream = client.open("HEAD", "/health/live", &[], true).await;
    let (head, body) = client.answer(stream).await;
    assert_eq!((&head[":status"], body), (&"200".into(), Vec::new()));
    assert_ne!(head["content-length"], "0");
    let fields = [
        ("content-type", "application/json"),
        ("x-correlation-id", "mine"),
    ];
    let stream = client.open("POST", "/api/v1/events", &fields, false).await;
    client.send(stream, br#"{"type":"#, false).await;
    client.send(stream, br#""a"}"#, true).await;
    let (head, body) = client.answer(stream).await;
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        (&head[":status"], &head["x-correlation-id"]),
        (&"201".into(), &"mine".into())
    );
    assert_eq!(head["x-stoat-cursor"], body["event_id"]);
    let (head, body) = client.get("/nope").await;
    problem(&head, &body, "404");
    let (head, body) = client.get("/ws").await;
    problem(&head, &body, "426");
    let stream = client.open("DELETE", "/metrics", &[], true).await;
    let (head, body) = client.answer(stream).await;
    problem(&head, &body, "405");
}

#[tokio::test]
async fn every_route_is_served_over_tls_and_without() {
    let server = Server::start(&[]);
    all_routes(Http2::connect(&server, None).await).await;
    let identity = Identity::new();
    let server = identity.serve(&[]);
    all_routes(Http2::connect(&server, Some(&identity.cert())).await).await;
}

#[tokio::test]
async fn websockets_live_side_by_side_in_one_connection() {
    let identity = Identity::new();
    let server = identity.serve(&[]);
    let mut client = Http2::connect(&server, Some(&identity.cert())).await;
    let settings = client
        .until("settings", |said| said["settings"].is_object())
        .await;
    assert_eq!(settings["settings"]["8"], 1, "extended CONNECT is offered");

    let fields = [
        VERSION,
        ("sec-websocket-protocol", "x, stoat.v1"),
        ("origin", "https://localhost"),
    ];
    let all = client.open_websocket("/ws", &fields).await;
    let head = client.head(all).await;
    assert_eq!(head[":status"], "200");
    assert_eq!(head["sec-websocket-protocol"], "stoat.v1");
    assert_eq!(head.get("sec-websocket-accept"), None);
    let some = client.open_websocket("/ws?types=b", &[VERSION]).await;
    assert_eq!(client.head(some).await.get("sec-websocket-protocol"), None);

    let batch = r#"[{"type":"a","payload":{"n":1}},{"type":"b"}]"#;
    let json = [("content-type", "application/json")];
    let publish = client.open("POST", "/api/v1/events", &json, false).await;
    client.send(publish, batch.as_bytes(), true).await;
    assert_eq!(client.answer(publish).await.0[":status"], "201");
    let (mut of_all, mut of_some) = (Vec::new(), Vec::new());
    assert_eq!(
        Event::parse(&text(&mut client, all, &mut of_all).await).event_type,
        "a"
    );
    assert_eq!(
        Event::parse(&text(&mut client, all, &mut of_all).await).event_type,
        "b"
    );
    assert_eq!(
        Event::parse(&text(&mut client, some, &mut of_some).await).event_type,
        "b"
    );

    client
        .send(some, &frame(0x81, br#"{"action":"ping"}"#), false)
        .await;
    assert_eq!(
        text(&mut client, some, &mut of_some).await,
        r#"{"action":"pong"}"#
    );
    client
        .send(some, &frame(0x88, &1000_u16.to_be_bytes()), false)
        .await;
    assert_eq!(
        client.data(some).await.expect("a Close"),
        [0x88, 2, 0x03, 0xe8]
    );
    while client.data(some).await.is_some() {}
    client.reset(all).await;
    assert_eq!(client.get("/health/live").await.0[":status"], "200");
}

#[tokio::test]
async fn a_connection_without_requests_is_told_to_go() {
    let server = Server::start(&["--ws-pong-timeout", "500ms"]);
    let mut client = Http2::connect(&server, None).await;
    client.get("/health/live").await;
    client.until("a GOAWAY", |said| said["goaway"] == 0).await;
    client.closed().await;
}

#[tokio::test]
async fn handshakes_are_judged_as_over_http_1() {
    let server = Server::start(&[
        "--max-connections",
        "1",
        "--allowed-origins",
        "https://ok.example",
    ]);
    let mut client = Http2::connect(&server, None).await;
    for (path, fields, status) in [
        ("/ws", &[][..], "426"),
        ("/ws", &[("sec-websocket-version", "8")], "426"),
        ("/ws", &[VERSION, ("origin", "https://evil.example")], "403"),
        ("/ws?types=NOT", &[VERSION], "400"),
        ("/metrics", &[VERSION], "405"),
        ("/nope", &[VERSION], "404"),
    ] {
        let stream = client.open_websocket(path, fields).await;
        let (head, body) = client.answer(stream).await;
        problem(&head, &body, status);
    }
    let fields = [(":protocol", "connect-udp"), VERSION];
    let other = client.open("CONNECT", "/ws", &fields, true).await;
    let (head, body) = client.answer(other).await;
    problem(&head, &body, "400");

    let first = client
        .open_websocket("/ws", &[VERSION, ("origin", "https://ok.example")])
        .await;
    assert_eq!(client.head(first).await[":status"], "200");
    let second = client.open_websocket("/ws", &[VERSION]).await;
    let (head, body) = client.answer(second).await;
    problem(&head, &body, "503");
    drop(client);
    eventually("the WebSocket goes with its connection", async || {
        let metrics = server.metrics().await;
        (metrics.value("stoat_ws_connected_clients", &[]) == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drain_tells_websockets_and_ends_the_connection() {
    let mut server = Server::start(&[]);
    let mut client = Http2::connect(&server, None).await;
    let stream = client.open_websocket("/ws", &[VERSION]).await;
    client.head(stream).await;

    server.terminate();
    let mut unread = Vec::new();
    let status = Event::parse(&text(&mut client, stream, &mut unread).await);
    assert_eq!(status.event_type, "health_status");
    while unread.len() < 4 {
        unread.extend(client.data(stream).await.expect("a Close"));
    }
    assert_eq!(
        (unread[0], &unread[2..4]),
        (0x88, &1001_u16.to_be_bytes()[..])
    );
    client
        .send(stream, &frame(0x88, &1001_u16.to_be_bytes()), true)
        .await;
    client.closed().await;
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_head_over_the_bound_is_answered() {
    let server = Server::start(&[]);
    let mut client = Http2::connect(&server, None).await;
    let long = "x".repeat(17 << 10);
    let stream = client
        .open("GET", "/health/live", &[("x-long", &long)], true)
        .await;
    let (head, body) = client.answer(stream).await;
    problem(&head, &body, "431");
    let names: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let stream = client.open("GET", "/health/live", &many, true).await;
    let (head, body) = client.answer(stream).await;
    problem(&head, &body, "431");
    assert_eq!(client.get("/health/live").await.0[":status"], "200");
}

#[tokio::test]
async fn a_client_that_does_not_do_its_part_is_cut_off() {
    // It asks for nothing.
    let server = Server::start(&["--handshake-timeout", "500ms"]);
    Http2::connect(&server, None).await.closed().await;
    // It does not take an answer.
    let server = Server::start(&["--ws-write-timeout", "500ms"]);
    let filler = "x".repeat(60_000);
    let event = format!(r#"{{"type":"a","payload":{{"x":"{filler}"}}}}"#);
    server.publish(&event).await;
    server.publish(&event).await;
    let mut client = Http2::connect_lazy(&server).await;
    let stream = client.open("GET", "/api/v1/events", &[], true).await;
    assert_eq!(client.head(stream).await[":status"], "200");
    client.closed().await;
    // Its body does not come.
    let server = Server::start(&["--body-timeout", "500ms"]);
    let mut client = Http2::connect(&server, None).await;
    let json = [("content-type", "application/json")];
    let stream = client.open("POST", "/api/v1/events", &json, false).await;
    let (head, body) = client.answer(stream).await;
    problem(&head, &body, "408");
}

#[tokio::test]
async fn a_flood_of_frames_that_carry_nothing_ends_the_connection() {
    let server = Server::start(&[]);
    let ping = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let unknown = b"\0\0\0\xfa\0\0\0\0\0";
    for (frame, name) in [
        (&ping[..], "ping"),
        (settings, "settings"),
        (unknown, "unknown"),
    ] {
        let mut client = Http2::connect(&server, None).await;
        client.get("/health/live").await;
        client.raw(&frame.repeat(2000)).await;
        let end = client.until("the end", |said| said["closed"] == true).await;
        assert_eq!(end["closed"], true, "{name}");
    }
    let other = stoat_tests::Request::get("/health/live")
        .send(&server)
        .await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let server = Server::start(&[]);
    let mut client = Http2::connect(&server, None).await;
    client.get("/health/live").await;
    // HEADERS (GET http /, by index) and RST_STREAM, again and again.
    let mut flood = Vec::new();
    for stream in (101_u32..4001).step_by(2) {
        flood.extend([0, 0, 4, 1, 5]);
        flood.extend(stream.to_be_bytes());
        flood.extend([0x82, 0x84, 0x86, 0x41]);
        let last = flood.len() - 1;
        flood[last] = 0x87;
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(stream.to_be_bytes());
        flood.extend(8_u32.to_be_bytes());
    }
    client.raw(&flood).await;
    let end = client
        .until("the end", |said| {
            said["goaway"].is_u64() || said["closed"] == true
        })
        .await;
    assert!(
        end["closed"] == true || end["goaway"] == 11,
        "calm down: {end}"
    );
    assert_eq!(
        stoat_tests::Request::get("/health/live")
            .send(&server)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn there_are_only_so_many_requests_at_a_time() {
    let server = Server::start(&["--body-timeout", "1h"]);
    let mut client = Http2::connect(&server, None).await;
    let settings = client
        .until("settings", |said| said["settings"].is_object())
        .await;
    assert_eq!(settings["settings"]["3"], 100);
    let json = [("content-type", "application/json")];
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.open("POST", "/api/v1/events", &json, false).await);
    }
    for stream in streams {
        client.send(stream, br#"{"type":"a"}"#, true).await;
        assert_eq!(client.answer(stream).await.0[":status"], "201");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let server = Server::start(&[]);
    let mut client = Http2::connect(&server, None).await;
    client.get("/health/live").await;
    // HEADERS without END_HEADERS, and CONTINUATION frames of 16 KiB of one field's text.
    let mut flood = vec![0, 0, 3, 1, 1, 0, 0, 0, 101, 0x82, 0x84, 0x87];
    for _ in 0..100 {
        flood.extend([0, 0x40, 0, 9, 0, 0, 0, 0, 101]);
        // A new field `x` with a value of 127 bytes.
        let field = [&[0, 1, b'x', 0x7f, 0][..], &[b'y'; 127]].concat();
        flood.extend(field.iter().cycle().take(0x4000));
    }
    client.raw(&flood).await;
    client
        .until("the end", |said| {
            said["goaway"].as_u64().is_some_and(|code| code > 0) || said["closed"] == true
        })
        .await;
    let live = stoat_tests::Request::get("/health/live");
    assert_eq!(live.send(&server).await.status, 200);
}

#[tokio::test]
async fn a_websocket_that_is_not_read_is_dropped() {
    let server = Server::start(&["--ws-write-timeout", "500ms"]);
    let mut client = Http2::connect_lazy(&server).await;
    let stream = client.open_websocket("/ws", &[VERSION]).await;
    assert_eq!(client.head(stream).await[":status"], "200");
    let filler = "x".repeat(60_000);
    for _ in 0..5 {
        let event = format!(r#"{{"type":"a","payload":{{"x":"{filler}"}}}}"#);
        server.publish(&event).await;
    }
    server.connected(0).await;
    let metrics = server.metrics().await;
    let labels = [("reason", "write_timeout")];
    let dropped = metrics.value("stoat_ws_disconnects_total", &labels);
    assert_eq!(dropped, Some(1.0));
}

#[tokio::test]
async fn a_stream_that_is_stuck_does_not_keep_the_connection() {
    let server = Server::start(&["--ws-pong-timeout", "500ms"]);
    let mut client = Http2::connect_lazy(&server).await;
    let stream = client.open_websocket("/ws", &[VERSION]).await;
    assert_eq!(client.head(stream).await[":status"], "200");
    let filler = "x".repeat(60_000);
    let event = format!(r#"{{"type":"a","payload":{{"x":"{filler}"}}}}"#);
    for _ in 0..3 {
        server.publish(&event).await;
    }
    client.closed().await;
    server.connected(0).await;
}
