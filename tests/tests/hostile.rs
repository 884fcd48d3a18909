//! Values that are meant to do harm: carried as they came or refused, one log line each, and nothing left behind.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::Value;
use stoat_tests::{Client, Connection, Request, Server};
use tokio_tungstenite::tungstenite::Message;

const MIB: f64 = 1024.0 * 1024.0;

async fn memory(server: &Server) -> f64 {
    let metrics = server.metrics().await;
    metrics
        .value("process_resident_memory_bytes", &[])
        .expect("a process metric")
}

#[tokio::test]
async fn what_json_allows_is_carried_byte_for_byte() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let long = "9".repeat(400);
    let integer = format!(r#"{{"n":{long},"minus":-{long},"decimal":0.{long}}}"#);
    let keys = format!(r#"{{{}"a":0}}"#, r#""a":1,"#.repeat(1000));
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(127), "]".repeat(127));
    let text = "\u{202e}\u{2066}\u{feff}\u{2028}\u{200b}\u{10ffff}\u{7f}";
    let odd = format!(r#"{{"text":"{text}","{text}":1}}"#);
    let payloads = [
        r#"{"n":1e400,"m":-1e-400,"o":1E+999999999999}"#,
        r#"{"a":"\ud800","b":"\udc00\ud800","\ud800":1}"#,
        r#"{"nul":"\u0000","\u0000":"\u0000"}"#,
        &integer,
        &keys,
        &deep,
        &odd,
    ];

    for payload in payloads {
        server
            .publish(&format!(r#"{{"type":"a","payload":{payload}}}"#))
            .await;
        assert_eq!(client.event().await.payload, payload);
    }
}

#[tokio::test]
async fn what_json_does_not_allow_is_refused_and_harms_nothing() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let arrays = "[".repeat(10_000);
    let objects = r#"{"a":"#.repeat(10_000);
    let closed = format!("{arrays}{}", "]".repeat(10_000));
    let inside = format!(r#"{{"type":"a","payload":{{"x":{closed}}}}}"#);
    let text = |bytes: &[u8]| [br#"{"type":"a","payload":{"x":""#, bytes, br#""}}"#].concat();
    let number = |what: &str| format!(r#"{{"type":"a","payload":{{"x":{what}}}}}"#).into_bytes();
    let field = |name: &str, value: &str| {
        format!(r#"{{"type":"a","{name}":"{value}"}}"#).replace(r#""type":"a","type""#, r#""type""#)
    };
    let long = "c".repeat(64 << 10);
    let mut bodies = vec![
        arrays.clone().into_bytes(),
        objects.into_bytes(),
        closed.into_bytes(),
        inside.into_bytes(),
        b"\xef\xbb\xbf{\"type\":\"a\"}".to_vec(),
        b"\xff\xfe{\0\"\0".to_vec(),
        b"{\"type\":\"a\"}\0".to_vec(),
        Vec::new(),
        text(b"\xff"),
        text(b"\xed\xa0\x80"),
        text(b"\xc0\xaf"),
        text(b"\xf4\x90\x80\x80"),
        text(b"\0"),
        text(b"\n"),
        text(br"\u12"),
        text(br"\x41"),
    ];
    for what in [
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1e",
        "--1",
        "1_0",
    ] {
        bodies.push(number(what));
    }
    for name in ["type", "topic", "correlation_id"] {
        for value in [
            r"\u0000",
            r"\ud800",
            r"a\u001b[31m",
            r"a\r\nb",
            "a\u{202e}b",
            "\u{feff}a",
            &long,
        ] {
            bodies.push(field(name, value).into_bytes());
        }
    }

    for body in bodies {
        let response = Request::publish(body.clone()).send(&server).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert!(
            matches!(response.status, 400 | 413 | 422),
            "{} for {shown}",
            response.status
        );
        let told = response.problem(response.status).to_string();
        assert!(told.len() < 4096, "{} bytes about {shown}", told.len());
        assert!(!told.contains('\u{202e}'), "{told}");
    }
    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

/// Handshakes and requests that would break a line of the log, or turn it around.
#[tokio::test]
async fn whatever_is_sent_the_log_is_one_json_object_a_line() {
    let mut server = Server::start(&["--log-format", "json", "--log-level", "trace"]);
    let long = "x".repeat(8 << 10);
    let values: [&[u8]; 9] = [
        b"plain",
        b"\x1b[31mred",
        b"a\tb",
        b"\xff\xfe",
        "\u{202e}evil\u{2066}".as_bytes(),
        "\u{feff}\u{2028}".as_bytes(),
        br#"","level":"ERROR","x":""#,
        b"{}\\",
        long.as_bytes(),
    ];
    for value in values {
        for (name, target) in [
            ("X-Correlation-ID", "/ws"),
            ("User-Agent", "/ws"),
            ("Origin", "/ws"),
            ("Last-Event-ID", "/ws"),
            ("traceparent", "/no/such/page"),
            ("Idempotency-Key", "/api/v1/events"),
            ("X-Forwarded-For", "/api/v1/connections"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{name}: ");
            let upgrade = "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            let mut connection = Connection::open(server.address()).await;
            let bytes = [head.as_bytes(), value, upgrade.as_bytes()].concat();
            connection.write(&bytes).await;
            let answer = connection.response(false).await;
            assert!(matches!(answer.status, 101 | 200 | 400..=431), "{answer:?}");
        }
    }
    let huge = format!(
        "GET /ws HTTP/1.1\r\nX-Correlation-ID: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    for request in [
        huge.as_bytes(),
        b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
        b"GET /%0a%1b%e2%80%ae?a=%0d%0a&types=%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut connection = Connection::open(server.address()).await;
        connection.write(request).await;
        let _ = connection.response(false).await;
    }
    let mut client = server.client().await;
    for message in ["\u{202e}\u{1b}\n\r\0", "{\"action\":\"\u{202e}\\u0000\"}"] {
        client.send(message).await;
    }
    client.ping().await;
    client.close().await;

    server.terminate();
    server.exit().await;
    let log = server.log();
    assert!(log.lines().count() > 10, "{log}");
    for line in log.split_terminator('\n') {
        let value: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error} in a line of JSON: {line}"));
        assert!(value.is_object(), "{line}");
        let hides = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!line.contains(hides), "{line:?}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_names_make_no_series_and_stay_in_no_memory() {
    const NAMES: usize = 100_000;
    const PATHS: usize = 10_000;
    // One connection waits while the other is used, on a slow machine for long.
    let server = Server::start(&["--ws-replay-buffer-size=1000", "--handshake-timeout=1h"]);
    let mut publisher = Connection::open(server.address()).await;
    let mut asker = Connection::open(server.address()).await;
    let mut provoke = async |from: usize, names: usize, paths: usize| {
        for batch in (from..from + names).step_by(1000) {
            let event =
                |n| format!(r#"{{"type":"t{n}","topic":"t.n{n}","correlation_id":"c{n}"}}"#);
            let events: Vec<String> = (batch..batch + 1000).map(event).collect();
            let body = format!("[{}]", events.join(","));
            let response = publisher.send(&Request::publish(body)).await;
            assert_eq!(response.status, 201);
        }
        for batch in (from..from + paths).step_by(100) {
            let ask = |n| {
                format!("GET /p{n}?q={n} HTTP/1.1\r\nHost: a\r\nX-Correlation-ID: p{n}\r\n\r\n")
            };
            let asked: String = (batch..batch + 100).map(ask).collect();
            asker.write(asked.as_bytes()).await;
            for _ in 0..100 {
                assert_eq!(asker.response(false).await.status, 404);
            }
        }
    };
    provoke(0, 2000, 100).await;
    // The first look makes the series of looks.
    server.metrics().await;
    let series = async || server.metrics().await.all().len();
    let (before, held) = (series().await, memory(&server).await);

    provoke(2000, NAMES, PATHS).await;

    assert_eq!(series().await, before);
    let grown = memory(&server).await - held;
    assert!(grown < 24.0 * MIB, "{grown} bytes more");
}

/// Each subscription names topics that nobody named before, and lets go of those before it.
#[tokio::test]
async fn a_million_topics_come_and_go_and_leave_nothing_behind() {
    const EACH: usize = 256;
    const MESSAGES: usize = 98;
    let server = Server::start(&[]);
    let come_and_go = async |client: usize| {
        let mut socket = server.client().await;
        for message in 0..MESSAGES {
            let name = |n| format!(r#""c{client}.m{message}.t{n}""#);
            let names: Vec<String> = (0..EACH).map(name).collect();
            let topics = names.join(",");
            socket
                .send(&format!(r#"{{"action":"subscribe","topics":[{topics}]}}"#))
                .await;
        }
        socket.ping().await;
        let last = format!("c{client}.m{}.t0", MESSAGES - 1);
        server
            .publish(&format!(r#"{{"type":"a","topic":"{last}"}}"#))
            .await;
        assert_eq!(socket.event().await.topic.as_deref(), Some(last.as_str()));
        socket.close().await;
    };
    for client in 0..2 {
        come_and_go(client).await;
    }
    server.connected(0).await;
    let held = memory(&server).await;

    for client in 2..2 + 1_000_000usize.div_ceil(EACH * MESSAGES) {
        come_and_go(client).await;
    }

    server.connected(0).await;
    let grown = memory(&server).await - held;
    // Forty bytes kept of each would be more.
    assert!(grown < 24.0 * MIB, "{grown} bytes more");
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_room_of_its_longest_message() {
    const CLIENTS: usize = 100;
    let server = Server::start(&["--max-client-message", "1MiB"]);
    let mut clients = Vec::new();
    let mut say_much = async |count: usize| {
        for _ in 0..count {
            let mut client = Client::connect(&server, "/ws").await;
            client
                .send_message(Message::text("x".repeat(1 << 20)))
                .await;
            client.ping().await;
            clients.push(client);
        }
    };
    say_much(5).await;
    let held = memory(&server).await;

    say_much(CLIENTS).await;

    let grown = memory(&server).await - held;
    assert!(grown < CLIENTS as f64 * MIB / 4.0, "{grown} bytes more");
    server.publish(r#"{"type":"a"}"#).await;
    for client in &mut clients {
        assert_eq!(client.event().await.event_type, "a");
    }
}
