//! The correlation ID of a request: in its response, its events and its log lines.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::Value;
use stoat_tests::{Client, Connection, Raw, Request, Server};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn is_uuid(text: &str) -> bool {
    let like = "00000000-0000-0000-0000-000000000000";
    text.len() == like.len()
        && text
            .bytes()
            .zip(like.bytes())
            .all(|(byte, like)| match like {
                b'-' => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
}

/// The correlation ID that `/health/live` answers with, for a request with these headers.
async fn answered(server: &Server, headers: &[(&str, &str)]) -> String {
    let mut request = Request::get("/health/live");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send(server).await;
    assert_eq!(response.status, 200, "{headers:?}: {response:?}");
    response
        .header("x-correlation-id")
        .expect("an ID")
        .to_owned()
}

#[tokio::test]
async fn every_response_carries_the_id_of_its_request() {
    let server = Server::start(&["--max-body", "1KiB", "--max-event", "1KiB"]);
    let longest = "~".repeat(128);
    let requests = [
        (Request::get("/health/live"), 200),
        (Request::get("/metrics"), 200),
        (Request::publish(r#"{"type":"a"}"#), 201),
        (Request::publish(r#"{"type":"A"}"#), 422),
        (Request::publish("{"), 400),
        (Request::get("/no/such/page"), 404),
        (Request::new("DELETE", "/api/v1/events"), 405),
        (Request::publish("x".repeat(2000)), 413),
        (
            Request::new("POST", "/api/v1/events").body("text/plain", "x"),
            415,
        ),
        (Request::get("/ws"), 426),
    ];

    for (request, status) in requests {
        for id in ["own-id", "!", &longest, r#"a"b\c<d>"#] {
            let response = request
                .clone()
                .header("X-Correlation-ID", id)
                .send(&server)
                .await;
            assert_eq!(response.status, status, "{request:?}");
            assert_eq!(response.header("x-correlation-id"), Some(id), "{request:?}");
            if status >= 400 {
                assert_eq!(response.problem(status)["correlation_id"], id);
            }
        }
        let response = request.send(&server).await;
        let fresh = response.header("x-correlation-id").unwrap_or_default();
        assert!(is_uuid(fresh), "{request:?}: {fresh}");
    }
    let connection = Connection::open(server.address()).await;
    let handshake = Raw::handshake(&server, "/ws", "X-Correlation-ID: of-101\r\n");
    let (_, response) = Raw::upgrade(connection, &handshake).await;
    assert_eq!(response.status, 101);
    assert_eq!(response.header("x-correlation-id"), Some("of-101"));
}

#[tokio::test]
async fn an_invalid_id_is_replaced_and_shown_nowhere() {
    let mut server = Server::start(&["--log-format", "json", "--log-level", "debug"]);
    let long = "unheard-of".repeat(13);

    for invalid in ["", "unheard-of id", "unheard-of-ü", "unheard-of\tid", &long] {
        let id = answered(&server, &[("X-Correlation-ID", invalid)]).await;
        assert!(is_uuid(&id), "{invalid}: {id}");
    }

    server.terminate();
    server.exit().await;
    assert!(!server.log().contains("unheard-of"), "{}", server.log());
}

#[tokio::test]
async fn requests_without_an_id_get_one_each() {
    let server = Server::start(&[]);
    let mut ids = std::collections::BTreeSet::new();

    for _ in 0..20 {
        let id = answered(&server, &[]).await;
        assert!(is_uuid(&id), "{id}");
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn the_trace_of_a_valid_traceparent_is_the_second_choice() {
    let server = Server::start(&[]);
    let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let later_version = format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later");

    for traceparent in [&valid, &later_version] {
        assert_eq!(
            answered(&server, &[("traceparent", traceparent)]).await,
            TRACE
        );
    }
    let both = [("traceparent", valid.as_str()), ("X-Correlation-ID", "own")];
    assert_eq!(answered(&server, &both).await, "own");
    let invalid_id = [("traceparent", valid.as_str()), ("X-Correlation-ID", "a b")];
    assert_eq!(answered(&server, &invalid_id).await, TRACE);

    for invalid in [
        format!("ff-{TRACE}-00f067aa0ba902b7-01"),
        format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        format!("00-{TRACE}-00f067aa0ba902b7"),
        format!("00-{TRACE}"),
        TRACE.to_owned(),
        "nonsense".to_owned(),
    ] {
        let id = answered(&server, &[("traceparent", &invalid)]).await;
        assert!(is_uuid(&id), "{invalid}: {id}");
    }
}

#[tokio::test]
async fn an_event_carries_the_id_of_the_request_unless_it_has_its_own() {
    let server = Server::start(&[]);
    let mut client = Client::connect_with(
        server.address(),
        "/ws",
        &[("X-Correlation-ID", "of-the-reader")],
    )
    .await;

    let publish = async |body: &str| {
        let request = Request::publish(body).header("X-Correlation-ID", "of-the-request");
        request.send(&server).await
    };
    let inherited = publish(r#"{"type":"a"}"#).await;
    let own = publish(r#"{"type":"a","correlation_id":"own"}"#).await;
    let batch = publish(r#"[{"type":"a","correlation_id":"b-1"},{"type":"a"}]"#).await;

    assert_eq!(inherited.json()["correlation_id"], "of-the-request");
    assert_eq!(own.json()["correlation_id"], "own");
    assert_eq!(own.header("x-correlation-id"), Some("of-the-request"));
    assert_eq!(batch.json()["events"][0]["correlation_id"], "b-1");
    for expected in ["of-the-request", "own", "b-1", "of-the-request"] {
        let event = client.event().await;
        assert_eq!(event.correlation_id.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn requests_on_one_connection_do_not_share_an_id() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let mut connection = Connection::open(server.address()).await;

    for n in 0..5 {
        let id = format!("request-{n}");
        let request = Request::publish(r#"{"type":"a"}"#).header("X-Correlation-ID", &id);
        let response = connection.send(&request).await;
        assert_eq!(response.header("x-correlation-id"), Some(id.as_str()));
        let event = client.event().await;
        assert_eq!(event.correlation_id, Some(id));
    }
    connection.send(&Request::publish(r#"{"type":"a"}"#)).await;
    let fresh = client.event().await.correlation_id.expect("an ID");
    assert!(is_uuid(&fresh), "{fresh}");
}

#[tokio::test]
async fn log_lines_of_a_request_carry_its_id() {
    let mut server = Server::start(&["--log-format", "json", "--log-level", "debug"]);

    for (request, id) in [
        (Request::publish(r#"{"type":"a"}"#), "log-publish"),
        (Request::get("/no/such/page"), "log-not-found"),
        (Request::get("/health/live"), "log-health"),
    ] {
        request.header("X-Correlation-ID", id).send(&server).await;
    }
    let header = [("X-Correlation-ID", "log-socket")];
    let client = Client::connect_with(server.address(), "/ws", &header).await;
    client.close().await;
    server.connected(0).await;
    server.terminate();
    server.exit().await;

    let log = server.log();
    let ids: Vec<String> = log
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error} in a line of JSON: {line}"));
            assert!(line.is_object(), "{line}");
            for field in ["timestamp", "level"] {
                assert!(line[field].is_string(), "{field} in {line}");
            }
            line["correlation_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    for id in ["log-publish", "log-not-found", "log-socket"] {
        assert!(ids.iter().any(|other| other == id), "{id} in {log}");
    }
}
