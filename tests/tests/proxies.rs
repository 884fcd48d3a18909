//! stoat behind nginx and Caddy, as `docs/deploy` has them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::net::Ipv4Addr;

use stoat_tests::tls::curl_to;
use stoat_tests::{
    Client, Connection, Event, Front, Kind, Raw, Request, Server, Setup, eventually, within,
};
use tokio::net::TcpSocket;

/// Where the proxy sees its clients come from; the proxy itself comes from 127.0.0.1.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

fn behind_a_proxy() -> Server {
    Server::start(&["--trusted-proxies", "127.0.0.1/32"])
}

/// The addresses that the server has for its connections.
async fn addresses(server: &Server) -> Vec<String> {
    let list = Request::get("/api/v1/connections").send(server).await;
    let list = list.json();
    let connections = list["connections"].as_array().expect("a list");
    let addresses = connections.iter().map(|c| c["remote_addr"].as_str());
    addresses.map(|a| a.expect("text").to_owned()).collect()
}

async fn events_pass(kind: Kind) {
    let mut server = behind_a_proxy();
    let front = Front::start(kind, &server).await;
    let relay = front.relay(CLIENT).await;
    let mut client = Client::connect_with(relay.address(), "/ws?types=small,big", &[]).await;
    assert!(client.header("x-correlation-id").is_some());

    let big = format!(
        r#"{{"type":"big","payload":{{"x":"{}"}}}}"#,
        "x".repeat(60_000)
    );
    for body in [r#"{"type":"other"}"#, r#"{"type":"small"}"#, &big] {
        let publish = Request::publish(body).header("X-Correlation-ID", "from-the-page");
        let response = publish.send_to(relay.address()).await;
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.header("x-correlation-id"), Some("from-the-page"));
        assert!(response.header("x-stoat-cursor").is_some());
    }
    let events = client.events(2).await;
    assert_eq!(events[0].event_type, "small");
    assert_eq!(events[1].payload.len(), 60_000 + r#"{"x":""}"#.len());
    client.ping().await;

    let (url, cert) = (front.url(), front.cert());
    let history = "/api/v1/events?after=earliest&types=small";
    let history = curl_to(&url, &cert, history, &["--http2"]);
    let (version, status, body) = history.await.expect("an answer");
    assert_eq!((version.as_str(), status), ("2", 200));
    assert!(body.contains(&events[0].id), "{body}");

    server.terminate();
    let close = client.closed().await.1.expect("a Close");
    assert_eq!(u16::from(close.code), 1001);
    assert!(close.reason.starts_with("retry_ms="), "{close:?}");
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn events_and_the_servers_close_pass_nginx() {
    events_pass(Kind::Nginx).await;
}

#[tokio::test]
async fn events_and_the_servers_close_pass_caddy() {
    events_pass(Kind::Caddy).await;
}

#[tokio::test]
async fn a_client_counts_by_its_own_address_whatever_it_says() {
    let server = behind_a_proxy();
    let forged = [("X-Forwarded-For", "192.0.2.1")];
    for kind in Kind::ALL {
        let front = Front::start(kind, &server).await;
        let relay = front.relay(CLIENT).await;
        let _client = Client::connect_with(relay.address(), "/ws", &forged).await;
        let addresses = addresses(&server).await;
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        assert!(
            addresses[0].starts_with("127.0.0.7:"),
            "{kind:?} {addresses:?}"
        );
        drop((front, relay, _client));
        server.connected(0).await;
    }

    // Past the proxy, where nobody is trusted.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((CLIENT, 0).into()).expect("a free port");
    let stream = within("a connection", socket.connect(server.address())).await;
    let handshake = Raw::handshake(&server, "/ws", "X-Forwarded-For: 192.0.2.1\r\n");
    let connection = Connection::over(stream.expect("a connection"));
    let (raw, response) = Raw::upgrade(connection, &handshake).await;
    assert!(raw.is_some(), "{response:?}");
    let addresses = addresses(&server).await;
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert!(addresses[0].starts_with("127.0.0.7:"), "{addresses:?}");
}

#[tokio::test]
async fn what_stoat_refuses_it_refuses_behind_a_proxy() {
    let server = behind_a_proxy();
    for kind in Kind::ALL {
        let front = Front::start(kind, &server).await;
        let relay = front.relay(CLIENT).await;
        let to = relay.address();

        // Sixteen events are just below a MiB; eighteen are above.
        let event = format!(
            r#"{{"type":"a","payload":{{"x":"{}"}}}}"#,
            "x".repeat(60_000)
        );
        let batch = |count| format!("[{}]", vec![event.as_str(); count].join(","));
        let response = Request::publish(batch(16)).send_to(to).await;
        assert_eq!(response.status, 201, "{kind:?} {response:?}");
        let response = Request::publish(batch(18)).send_to(to).await;
        response.problem(413);

        Request::get("/ws").send_to(to).await.problem(426);
        let response = Request::get("/metrics").send_to(to).await;
        assert_eq!(response.status, 404, "{kind:?} {response:?}");
    }
}

#[tokio::test]
async fn a_page_of_the_same_name_is_let_in_and_another_is_not() {
    let server = behind_a_proxy();
    for kind in Kind::ALL {
        let front = Front::start(kind, &server).await;
        let relay = front.relay(CLIENT).await;
        for (host, origin, status) in [
            ("example.org", "https://example.org", 101),
            ("example.org:8443", "https://example.org:8443", 101),
            ("example.org", "https://evil.example", 403),
            ("example.org", "https://example.org:8443", 403),
        ] {
            let request = format!(
                "GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
                 Connection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            );
            let connection = Connection::open(relay.address()).await;
            let (_raw, response) = Raw::upgrade(connection, &request).await;
            assert_eq!(
                response.status, status,
                "{kind:?} {host} {origin} {response:?}"
            );
        }
    }
}

async fn pings_keep_an_idle_connection_alive(kind: Kind) {
    let proxied = async |ping: &str| {
        let server = Setup::default().args(["--ws-ping-interval", ping]).start();
        let front = Front::start_with(kind, &server, &[kind.impatient()]).await;
        let relay = front.relay(CLIENT).await;
        (server, front, relay)
    };

    // Without pings the proxy cuts it off.
    let (_server, _front, relay) = proxied("5h").await;
    eventually("the end of an idle connection", async || {
        let mut client = Client::connect_with(relay.address(), "/ws", &[]).await;
        (!client.outlives(3 * Kind::PATIENCE).await).then_some(())
    })
    .await;

    // A machine that halts for a second ends it, too: then another try.
    let (server, _front, relay) = proxied("50ms").await;
    let mut client = eventually("a connection that lives on", async || {
        let mut client = Client::connect_with(relay.address(), "/ws", &[]).await;
        let lives = client.outlives(3 * Kind::PATIENCE).await;
        lives.then_some(client)
    })
    .await;
    server.publish(r#"{"type":"a"}"#).await;
    let event: Event = client.event().await;
    assert_eq!(event.event_type, "a");
}

#[tokio::test]
async fn pings_keep_an_idle_connection_alive_beyond_the_time_out_of_nginx() {
    pings_keep_an_idle_connection_alive(Kind::Nginx).await;
}

#[tokio::test]
async fn pings_keep_an_idle_connection_alive_beyond_a_time_out_of_caddy() {
    pings_keep_an_idle_connection_alive(Kind::Caddy).await;
}
