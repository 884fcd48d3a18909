//! The WebSocket handshake: what is let in, and how each fault is refused.
#![allow(clippy::expect_used, reason = "a test")]

use stoat_tests::raw::{ACCEPT, KEY};
use stoat_tests::{Client, Connection, Raw, Response, Server};

/// A correct handshake after some replacements in its text.
async fn answer(server: &Server, changes: &[(&str, &str)]) -> Response {
    let mut request = Raw::handshake(server, "/ws", "X-Correlation-ID: matrix\r\n");
    for (from, to) in changes {
        assert!(request.contains(from), "{from} in {request}");
        request = request.replace(from, to);
    }
    let connection = Connection::open(server.address()).await;
    let (_, response) = Raw::upgrade(connection, &request).await;
    assert_eq!(
        response.header("x-correlation-id"),
        Some("matrix"),
        "{request}{response:?}"
    );
    if response.status != 101 {
        response.problem(response.status);
    }
    response
}

const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE_LINE: &str = "Upgrade: websocket\r\n";
const CONNECTION_LINE: &str = "Connection: Upgrade\r\n";
const VERSION_LINE: &str = "Sec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn a_correct_handshake_is_accepted() {
    let server = Server::start(&[]);
    let accepted: [&[(&str, &str)]; 9] = [
        &[],
        &[("Upgrade: websocket", "upgrade: WebSocket")],
        &[("Upgrade: websocket", "Upgrade: websocket, other")],
        &[("Connection: Upgrade", "Connection: keep-alive, Upgrade")],
        &[("Connection: Upgrade", "connection: upgrade")],
        &[(
            CONNECTION_LINE,
            "Connection: keep-alive\r\nConnection: Upgrade\r\n",
        )],
        &[(
            KEY_LINE,
            "sec-websocket-key:   dGhlIHNhbXBsZSBub25jZQ==  \r\n",
        )],
        &[(
            VERSION_LINE,
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
        )],
        &[("GET /ws ", "GET /ws?unknown=parameter&a ")],
    ];

    for changes in accepted {
        let response = answer(&server, changes).await;
        assert_eq!(response.status, 101, "{changes:?}: {}", response.text());
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        let upgrade = response.header("upgrade").unwrap_or_default();
        assert!(upgrade.eq_ignore_ascii_case("websocket"), "{response:?}");
        let connection = response.header("connection").unwrap_or_default();
        assert!(connection.eq_ignore_ascii_case("upgrade"), "{response:?}");
        assert_eq!(response.header("sec-websocket-extensions"), None);
        assert_eq!(response.header("sec-websocket-protocol"), None);
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_to_upgrade() {
    let server = Server::start(&[]);
    let cases: [&[(&str, &str)]; 6] = [
        &[
            (UPGRADE_LINE, ""),
            (CONNECTION_LINE, ""),
            (VERSION_LINE, ""),
            (KEY_LINE, ""),
        ],
        &[(UPGRADE_LINE, ""), (CONNECTION_LINE, "")],
        &[(UPGRADE_LINE, "")],
        &[(CONNECTION_LINE, "")],
        &[("Upgrade: websocket", "Upgrade: h2c")],
        &[("Connection: Upgrade", "Connection: keep-alive")],
    ];

    for changes in cases {
        let response = answer(&server, changes).await;
        assert_eq!(response.status, 426, "{changes:?}: {}", response.text());
        assert_eq!(response.header("upgrade"), Some("websocket"), "{changes:?}");
    }
}

#[tokio::test]
async fn another_version_is_told_the_right_one() {
    let server = Server::start(&[]);

    for version in [
        "",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 14\r\n",
        "Sec-WebSocket-Version: 013\r\n",
        "Sec-WebSocket-Version: x\r\n",
    ] {
        let response = answer(&server, &[(VERSION_LINE, version)]).await;
        assert_eq!(response.status, 426, "{version}: {}", response.text());
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
    }
}

#[tokio::test]
async fn any_other_fault_is_a_bad_request() {
    let server = Server::start(&[]);
    let key = |value: &str| format!("Sec-WebSocket-Key: {value}\r\n");
    let host = format!("Host: {}\r\n", server.address());
    let host_twice = format!("{host}{host}");
    let fifteen = key("AAAAAAAAAAAAAAAAAAAA");
    let seventeen = key("AAAAAAAAAAAAAAAAAAAAAAA=");
    let no_base64 = key("dGhlIHNhbXBsZSBub25jZ!==");
    let unpadded = key("dGhlIHNhbXBsZSBub25jZQ");
    let loose_bits = key("dGhlIHNhbXBsZSBub25jZR==");
    let twice = format!("{KEY_LINE}{KEY_LINE}");
    let empty = key("");
    let cases = [
        ("the method", "GET /ws", "POST /ws"),
        ("the HTTP version", "HTTP/1.1", "HTTP/1.0"),
        ("no key", KEY_LINE, ""),
        ("an empty key", KEY_LINE, &empty),
        ("a key of 15 bytes", KEY_LINE, &fifteen),
        ("a key of 17 bytes", KEY_LINE, &seventeen),
        ("a key that is not base64", KEY_LINE, &no_base64),
        ("a key without padding", KEY_LINE, &unpadded),
        ("a key with loose bits", KEY_LINE, &loose_bits),
        ("the key twice", KEY_LINE, &twice),
        ("Host twice", &host, &host_twice),
        ("no Host", &host, ""),
    ];

    for (what, from, to) in cases {
        let response = answer(&server, &[(from, to)]).await;
        assert_eq!(response.status, 400, "{what}: {}", response.text());
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("stoat_ws_rejected_handshakes_total"), 12.0);
    assert_eq!(metrics.value("stoat_ws_connected_clients", &[]), Some(0.0));
}

#[tokio::test]
async fn a_foreign_origin_is_forbidden() {
    let server = Server::start(&["--allowed-origins", "https://app.example"]);
    let port = server.address().port();
    let own = format!("http://{}", server.address());
    let own_tls = format!("https://{}", server.address());
    let other_port = format!("http://127.0.0.1:{}", port.wrapping_add(1));
    let no_port = "http://127.0.0.1".to_owned();
    let other_host = format!("http://localhost:{port}");
    let longer = format!("{own}.example");
    let cases = [
        (own.as_str(), 101),
        (&own_tls, 101),
        ("https://app.example", 101),
        ("http://app.example", 403),
        ("https://app.example:8443", 403),
        ("https://app.example.evil.example", 403),
        ("https://evil.example", 403),
        (&other_port, 403),
        (&no_port, 403),
        (&other_host, 403),
        (&longer, 403),
        ("null", 403),
        ("", 403),
        ("nonsense", 403),
    ];

    for (origin, status) in cases {
        let line = format!("{KEY_LINE}Origin: {origin}\r\n");
        let response = answer(&server, &[(KEY_LINE, &line)]).await;
        assert_eq!(response.status, status, "{origin}: {}", response.text());
    }
}

#[tokio::test]
async fn an_origin_is_compared_with_the_host_that_was_asked_for() {
    let server = Server::start(&[]);
    let host = format!("Host: {}\r\n", server.address());

    for (named, origin, status) in [
        ("stoat.example", "https://stoat.example", 101),
        ("Stoat.Example", "https://stoat.example", 101),
        ("stoat.example:8443", "https://stoat.example:8443", 101),
        ("stoat.example", "https://other.example", 403),
        ("stoat.example", "https://stoat.example:8443", 403),
    ] {
        let lines = format!("Host: {named}\r\nOrigin: {origin}\r\n");
        let response = answer(&server, &[(&host, &lines)]).await;
        assert_eq!(response.status, status, "{named} {origin}");
    }
}

#[tokio::test]
async fn the_subprotocol_is_answered_when_it_is_offered() {
    let server = Server::start(&[]);

    for (offered, answered) in [
        ("stoat.v1", Some("stoat.v1")),
        ("other, stoat.v1", Some("stoat.v1")),
        ("stoat.v1, stoat.v2", Some("stoat.v1")),
        ("other", None),
        ("stoat.v2", None),
    ] {
        let line = format!("{KEY_LINE}Sec-WebSocket-Protocol: {offered}\r\n");
        let response = answer(&server, &[(KEY_LINE, &line)]).await;
        assert_eq!(response.status, 101, "{offered}");
        assert_eq!(
            response.header("sec-websocket-protocol"),
            answered,
            "{offered}"
        );
    }
}

#[tokio::test]
async fn each_key_has_its_answer() {
    let server = Server::start(&[]);

    // The library compares the answer with the random key that it sent.
    for _ in 0..5 {
        let client = Client::connect(&server, "/ws").await;
        assert!(client.header("sec-websocket-accept").is_some());
        client.close().await;
    }
    assert_eq!(KEY.len(), 24);
}

#[tokio::test]
async fn over_the_limit_of_connections_is_unavailable_until_one_leaves() {
    let server = Server::start(&["--max-connections", "1"]);
    let first = server.client().await;

    let response = answer(&server, &[]).await;
    assert_eq!(response.status, 503);
    let wait = response.header("retry-after").expect("Retry-After");
    assert!(wait.parse::<u32>().is_ok_and(|s| s > 0), "{wait}");

    first.close().await;
    server.connected(0).await;
    assert_eq!(answer(&server, &[]).await.status, 101);
}

#[tokio::test]
async fn over_the_limit_of_one_address_is_too_many() {
    let server = Server::start(&["--max-connections-per-ip", "1"]);
    let first = server.client().await;

    let response = answer(&server, &[]).await;
    assert_eq!(response.status, 429);
    let wait = response.header("retry-after").expect("Retry-After");
    assert!(wait.parse::<u32>().is_ok_and(|s| s > 0), "{wait}");
    // Only sockets are limited, and what asks is not a socket.
    server.publish(r#"{"type":"a"}"#).await;

    first.cut();
    server.connected(0).await;
    assert_eq!(answer(&server, &[]).await.status, 101);
}
