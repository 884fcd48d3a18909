//! CloudEvents in the binary mode of HTTP: attributes in headers, the data in the body.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::descriptions::published;
use stoat_tests::{Request, Response, Server};

const STRUCTURED: &str = "application/cloudevents+json";

/// The attributes of an event, as headers.
const HEADERS: [(&str, &str); 8] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "a%20%E2%82%AC"),
    ("ce-source", "https://ci.example/builds"),
    ("ce-type", "build.done"),
    ("CE-Time", "2026-11-23T13:34:56.5+01:00"),
    ("ce-subject", "\"project.apollo\""),
    ("ce-correlationid", "c%2D1"),
    (
        "ce-traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
];

const DATA: &str = r#"{ "large": 12345678901234567890, "n": 1, "text": "ü" }"#;

/// The same event in the structured mode.
fn structured() -> Value {
    json!({
        "specversion": "1.0",
        "id": "a €",
        "source": "https://ci.example/builds",
        "type": "build.done",
        "time": "2026-11-23T12:34:56.500Z",
        "subject": "project.apollo",
        "correlationid": "c-1",
        "data": { "n": 1, "large": 12345678901234567890_u64, "text": "ü" },
    })
}

/// A request with these headers, but for the one that is replaced, or left out.
fn binary(replace: &str, value: Option<&str>) -> Request {
    let mut request = Request::new("POST", "/api/v1/events");
    for (name, given) in HEADERS {
        let value = match name.eq_ignore_ascii_case(replace) {
            true => value,
            false => Some(given),
        };
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    request
}

async fn send(server: &Server, request: Request) -> Response {
    request.body("application/json", DATA).send(server).await
}

#[tokio::test]
async fn it_is_the_same_event_in_every_mode() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let first = send(&server, binary("", None)).await;
    assert_eq!(first.status, 201, "{first:?}");
    let event = client.event().await;
    assert_eq!(event.event_type, "build.done");
    assert_eq!(
        event.payload,
        r#"{"large":12345678901234567890,"n":1,"text":"ü"}"#
    );
    assert_eq!(event.topic.as_deref(), Some("project.apollo"));
    assert_eq!(event.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(event.timestamp, "2026-11-23T12:34:56.500000+00:00");
    assert_eq!(first.json()["event_id"], event.id);

    let post = || Request::new("POST", "/api/v1/events");
    let one = post().body(STRUCTURED, structured().to_string());
    let batch = "application/cloudevents-batch+json";
    let list = post().body(batch, json!([structured()]).to_string());
    let keyed = |request: Request| request.header("Idempotency-Key", "k");
    for (repeat, is_new) in [
        (
            binary("", None).body("application/json; charset=UTF-8", DATA),
            false,
        ),
        (
            binary("ce-traceparent", None).body("application/vnd.x+json", DATA),
            false,
        ),
        (one.clone(), false),
        (list, false),
        // Another key than its names.
        (keyed(binary("", None)).body("application/json", DATA), true),
        (keyed(one), false),
    ] {
        let answer = repeat.send(&server).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let replayed = answer.header("idempotency-replayed");
        assert_eq!(replayed, (!is_new).then_some("true"), "{repeat:?}");
    }
    for (name, value) in [
        ("ce-type", Some("other")),
        ("ce-subject", None),
        ("ce-correlationid", None),
        ("ce-time", None),
    ] {
        let answer = send(&server, binary(name, value)).await;
        let refused = answer.problem(422);
        assert_eq!(
            refused["type"], "urn:stoat:problem:idempotency-key-reused",
            "{name}"
        );
    }
    let other = send(&server, binary("ce-source", Some("/other"))).await;
    assert_eq!(other.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn the_least_is_enough() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let mut least = Request::new("POST", "/api/v1/events").header("X-Correlation-ID", "request");
    for (name, value) in &HEADERS[..4] {
        least = least.header(name, value);
    }
    // Neither a type nor a length of data that is not there.
    let least = least.header("Content-Length", "0");
    assert_eq!(least.send(&server).await.status, 201);
    let event = client.event().await;
    assert_eq!(event.payload, "{}");
    assert_eq!(event.topic, None);
    assert_eq!(event.correlation_id.as_deref(), Some("request"));
    // A repeat comes in a request of its own.
    let repeat = least.header("traceparent", "x").send(&server).await;
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn a_header_that_breaks_a_rule_is_named() {
    let server = Server::start(&[]);
    for (name, value) in [
        ("ce-specversion", None),
        ("ce-specversion", Some("0.3")),
        ("ce-id", None),
        ("ce-id", Some("")),
        ("ce-id", Some("%")),
        ("ce-id", Some("%C0%A0")),
        ("ce-id", Some("ü")),
        ("ce-source", None),
        ("ce-source", Some("two%20words")),
        ("ce-type", None),
        ("ce-type", Some("Com.Example")),
        ("ce-type", Some("heartbeat")),
        ("ce-time", Some("yesterday")),
        ("ce-subject", Some("A/b")),
        ("ce-subject", Some("\"open")),
        ("ce-correlationid", Some("a%20b")),
        ("ce-correlationid", Some("%E2%82%AC")),
    ] {
        let refused = send(&server, binary(name, value)).await.problem(422);
        assert_eq!(refused["field"], name, "{value:?} {refused}");
    }
    for (name, value) in [
        ("ce-id", "again"),
        ("ce-data", "{}"),
        ("ce-datacontenttype", "application/json"),
        ("ce-no_name", "x"),
        ("ce-", "x"),
    ] {
        let refused = send(&server, binary("", None).header(name, value)).await;
        assert_eq!(refused.problem(422)["field"], name);
    }
    for (content_type, body, status, field) in [
        ("text/plain", "text", 422, json!("content-type")),
        ("application/octet-stream", "", 422, json!("content-type")),
        ("application/x-ndjson", "{}", 422, json!("content-type")),
        (
            "application/json; charset=latin1",
            "{}",
            422,
            json!("content-type"),
        ),
        ("application/json", "[]", 422, json!("data")),
        ("application/json", "\"text\"", 422, json!("data")),
        ("application/json", "{", 400, Value::Null),
        ("application/json", "{}{}", 400, Value::Null),
    ] {
        let answer = binary("", None)
            .body(content_type, body)
            .send(&server)
            .await;
        assert_eq!(
            answer.problem(status)["field"],
            field,
            "{content_type} {body}"
        );
    }
    let both = binary("", None).header("Content-Type", "application/json");
    assert_eq!(
        send(&server, both).await.problem(422)["field"],
        "content-type"
    );
}

#[tokio::test]
async fn in_the_other_modes_the_body_counts() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let mut event = structured();
    event["type"] = json!("of.the.body");
    for (content_type, body) in [
        (STRUCTURED, event.to_string()),
        (
            "Application/CloudEvents-Batch+JSON",
            json!([event, event]).to_string(),
        ),
    ] {
        let answer = binary("ce-id", Some("%"))
            .body(content_type, body)
            .send(&server)
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(client.event().await.event_type, "of.the.body");
    }
    // A format that there is not is no data of the binary mode.
    let xml = binary("", None).body("application/cloudevents+xml", "<event/>");
    xml.send(&server).await.problem(415);
    // One header of other names makes no CloudEvent of an event.
    let plain = Request::publish(r#"{"type":"a"}"#).header("ce-subject", "%");
    assert_eq!(plain.send(&server).await.status, 201);
}

#[tokio::test]
async fn the_official_library_publishes_in_both_modes() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let events = json!([
        {"id": "1", "source": "/sdk", "type": "a.b", "subject": "x.y", "correlationid": "c-1",
         "time": "2026-11-23T12:34:56.500Z", "datacontenttype": "application/json",
         "data": {"n": 1, "text": "Grüße 🦦"}},
        {"id": "2", "source": "/sdk", "type": "a.b", "time": "2026-11-23T12:34:56.500Z", "data": {}},
    ]);
    let url = format!("{}/api/v1/events", server.url());
    let answers = published(&url, &events).await;
    for modes in answers.chunks(2) {
        assert_eq!(
            (&modes[0]["status"], &modes[0]["replayed"]),
            (&json!(201), &Value::Null)
        );
        // The structured mode said the same once more.
        assert_eq!(
            (&modes[1]["status"], &modes[1]["replayed"]),
            (&json!(201), &json!("true"))
        );
        assert_eq!(modes[0]["body"], modes[1]["body"]);
    }
    let events = client.events(2).await;
    assert_eq!(events[0].payload, r#"{"n":1,"text":"Grüße 🦦"}"#);
    assert_eq!(events[0].topic.as_deref(), Some("x.y"));
    assert_eq!(events[0].correlation_id.as_deref(), Some("c-1"));
    assert_eq!(events[0].timestamp, "2026-11-23T12:34:56.500000+00:00");
    assert_eq!(events[1].payload, "{}");

    let bytes = json!([{"id": "3", "source": "/sdk", "type": "a", "datacontenttype": "text/plain", "data": "text"}]);
    for refused in published(&url, &bytes).await {
        assert_eq!(refused["status"], 422, "{refused}");
    }
}
