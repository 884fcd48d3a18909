//! The machine-readable descriptions: valid for the official validators, and true of a running server.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use serde_json::{Map, Value, json};
use stoat_tests::access::{READER, setup};
use stoat_tests::descriptions::{faults, typescript_faults};
use stoat_tests::{Client, Event, Request, Response, Server, eventually, run};

const NOTHING: [&str; 0] = [];

async fn get(server: &Server, target: &str) -> Value {
    let response = Request::get(target).send(server).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn each_is_served_to_everyone_and_printed() {
    let server = setup().start();
    let id = server
        .publish_as(stoat_tests::access::BOSS, r#"{"type":"a"}"#)
        .await;

    for (path, content_type, what) in [
        ("/schemas/event.json", "application/schema+json", "event"),
        (
            "/openapi.json",
            "application/vnd.oai.openapi+json;version=3.1",
            "openapi",
        ),
        (
            "/asyncapi.json",
            "application/vnd.aai.asyncapi+json;version=3.0.0",
            "asyncapi",
        ),
        (
            "/schemas/event.ts",
            "text/plain; charset=utf-8",
            "typescript",
        ),
    ] {
        let response = Request::get(path)
            .header("X-Correlation-ID", "c-1")
            .send(&server)
            .await;
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-type"), Some(content_type));
        assert_eq!(response.header("x-correlation-id"), Some("c-1"));
        assert_eq!(response.header("x-stoat-cursor"), Some(&*id));
        let head = Request::new("HEAD", path).send(&server).await;
        let length = response.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(&*length), "{path}");
        let refused = Request::new("POST", path).send(&server).await;
        refused.problem(405);
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));

        let printed = run(&["schema", what]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert_eq!(printed.stdout, response.text(), "{what}");
    }
    let unknown = run(&["schema", "nonsense"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("asyncapi"), "{unknown:?}");
}

/// Events of all kinds as a running server sends them.
async fn real_events() -> (Value, Vec<Value>) {
    let server = Server::start(&["--ws-heartbeat-interval", "50ms"]);
    let schema = get(&server, "/schemas/event.json").await;
    let mut live = server.client().await;
    for body in [
        json!({"type": "scan_started", "payload": {"path": "/srv"}}),
        json!({"type": "a.b_2", "topic": "x.y", "payload": {"big": 1e300, "text": "ü🦦"}}),
        json!([{"type": "project_created"}, {"type": "scan_completed", "correlation_id": "!~"}]),
    ] {
        let sent = Request::publish(body.to_string()).send(&server).await;
        assert_eq!(sent.status, 201, "{sent:?}");
    }
    let mut late = Client::connect(&server, "/ws?last_event_id=nonsense").await;
    let mut events = late.events(1).await;
    events[0].gap("unknown_id");
    loop {
        let event = Event::parse(&live.text().await);
        let is_beat = event.event_type == "heartbeat";
        events.push(event);
        if is_beat && events.len() > 6 {
            break;
        }
    }
    server.terminate();
    let (rest, close) = live.closed().await;
    assert!(close.is_some());
    events.extend(rest);
    for event_type in ["gap", "heartbeat", "health_status", "a.b_2", "scan_started"] {
        assert!(
            events.iter().any(|event| event.event_type == event_type),
            "{event_type}"
        );
    }
    let values = events
        .iter()
        .map(|event| serde_json::from_str(&event.text).unwrap());
    (schema, values.collect())
}

#[tokio::test]
async fn real_events_are_as_the_schema_says() {
    let (schema, events) = real_events().await;
    let input = json!({ "schema": schema, "events": events });
    assert_eq!(faults("events", &input).await, NOTHING);

    let spoiled: Vec<Value> = [
        ("type", json!("A")),
        ("type", json!("a".repeat(65))),
        ("payload", json!([])),
        ("correlation_id", json!("two words")),
        ("timestamp", json!("2026-11-23T12:34:56Z")),
        ("event_id", json!("")),
        ("topic", json!("a..b")),
    ]
    .into_iter()
    .map(|(key, value)| {
        let mut event = events[0].clone();
        event[key] = value;
        event
    })
    .chain(
        events
            .iter()
            .filter(|event| event["type"] == "gap" || event["type"] == "health_status")
            .map(|event| {
                let mut event = event.clone();
                event["payload"] = json!({ "reason": "boredom", "status": "fine" });
                event
            }),
    )
    .collect();
    let input = json!({ "schema": schema, "events": spoiled });
    assert_eq!(faults("events", &input).await.len(), spoiled.len());
}

#[tokio::test]
async fn the_official_validators_accept_them() {
    let server = Server::start(&[]);
    let openapi = get(&server, "/openapi.json").await;
    let asyncapi = get(&server, "/asyncapi.json").await;
    assert_eq!(
        faults("openapi", &json!({ "openapi": openapi })).await,
        NOTHING
    );
    assert_eq!(
        faults("asyncapi", &json!({ "asyncapi": asyncapi })).await,
        NOTHING
    );
    assert!(
        !faults("openapi", &json!({ "openapi": asyncapi }))
            .await
            .is_empty()
    );
    assert!(
        !faults("asyncapi", &json!({ "asyncapi": openapi }))
            .await
            .is_empty()
    );
}

/// What was asked of the server, and what it said.
fn exchange(method: &str, route: &str, response: &Response) -> Value {
    let headers: Map<String, Value> = response
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "method": method,
        "route": route,
        "status": response.status,
        "headers": headers,
        "body": String::from_utf8(response.body.clone()).unwrap(),
    })
}

#[tokio::test]
async fn every_answer_is_as_openapi_says() {
    const EVENTS: &str = "/api/v1/events";
    let args = ["--max-event", "1KiB", "--max-body", "16KiB"];
    let server = Server::start(&args);
    let _client = server.client().await;
    let openapi = get(&server, "/openapi.json").await;
    let mut exchanges = Vec::new();
    let mut ask = async |method: &str, route: &str, request: Request, status: u16| {
        let response = request.send(&server).await;
        assert_eq!(response.status, status, "{method} {route}: {response:?}");
        exchanges.push(exchange(method, route, &response));
    };
    let publish = |body: &str| Request::publish(body);
    let long = "x".repeat(2000);

    ask("GET", EVENTS, Request::get(EVENTS), 200).await;
    let keyed = || publish(r#"{"type":"scan_started"}"#).header("Idempotency-Key", "k");
    ask("POST", EVENTS, keyed(), 201).await;
    ask("POST", EVENTS, keyed(), 201).await;
    for (request, status) in [
        (publish(r#"[{"type":"b"},{"type":"c","topic":"x"}]"#), 201),
        (Request::publish_lines("{\"type\":\"b\"}\n"), 201),
        (
            publish(r#"{"type":"a"}"#).header("Idempotency-Key", "k"),
            422,
        ),
        (publish("{"), 400),
        (publish("{}").header("Idempotency-Key", "a b"), 400),
        (
            publish(&format!(r#"{{"type":"a","payload":{{"x":"{long}"}}}}"#)),
            413,
        ),
        (publish(&long.repeat(9)), 413),
        (Request::new("POST", EVENTS).body("text/plain", "x"), 415),
        (publish(r#"[{"type":"heartbeat"}]"#), 422),
        (publish("[]"), 422),
        (
            publish(&format!("[{}]", vec![r#"{"type":"a"}"#; 1001].join(","))),
            413,
        ),
    ] {
        ask("POST", EVENTS, request, status).await;
    }
    ask(
        "GET",
        EVENTS,
        Request::get("/api/v1/events?limit=2&types=b"),
        200,
    )
    .await;
    ask("GET", EVENTS, Request::get("/api/v1/events?limit=0"), 400).await;
    ask("HEAD", EVENTS, Request::new("HEAD", EVENTS), 200).await;
    for route in [
        "/api/v1/connections",
        "/health/live",
        "/health/ready",
        "/metrics",
    ] {
        ask("GET", route, Request::get(route), 200).await;
    }
    let open_metrics = Request::get("/metrics").header("Accept", "application/openmetrics-text");
    ask("GET", "/metrics", open_metrics, 200).await;
    ask("GET", "/ws", Request::get("/ws"), 426).await;
    let route = "/api/v1/events/{id}/delivery";
    let delivery = |id: &str| Request::get(&format!("/api/v1/events/{id}/delivery"));
    let known = server.publish(r#"{"type":"a"}"#).await;
    for (id, status) in [
        (known.as_str(), 200),
        ("x", 400),
        ("0000000000000000-1", 404),
    ] {
        ask("GET", route, delivery(id), status).await;
    }
    let close = |id: &str| Request::new("DELETE", &format!("/api/v1/connections/{id}"));
    let route = "/api/v1/connections/{id}";
    ask("DELETE", route, close("nobody"), 404).await;
    let list = get(&server, "/api/v1/connections").await;
    let id = list["connections"][0]["id"].as_str().unwrap().to_owned();
    ask("DELETE", route, close(&id), 204).await;

    let guarded = setup().start();
    for (request, method, route) in [
        (Request::get(EVENTS), "GET", EVENTS),
        (publish("{}").bearer(READER), "POST", EVENTS),
        (Request::get("/metrics").bearer(READER), "GET", "/metrics"),
        (Request::get("/ws"), "GET", "/ws"),
    ] {
        let response = request.send(&guarded).await;
        assert!(matches!(response.status, 401 | 403), "{response:?}");
        exchanges.push(exchange(method, route, &response));
    }

    let slow = Server::start(&["--publish-rate", "1"]);
    let refused = eventually("a refusal for the rate", async || {
        let response = publish(r#"{"type":"a"}"#).send(&slow).await;
        (response.status == 429).then_some(response)
    });
    exchanges.push(exchange("POST", EVENTS, &refused.await));

    let input = json!({ "openapi": openapi, "exchanges": exchanges });
    assert_eq!(faults("exchanges", &input).await, NOTHING);
    // The checker sees what is not described.
    exchanges.truncate(1);
    exchanges[0]["body"] = json!(r#"{"events":[],"next":null,"gap":false,"more":1}"#);
    exchanges[0]["headers"]["x-more"] = json!("1");
    exchanges[0]["headers"]["x-correlation-id"] = json!("a b");
    let input = json!({ "openapi": openapi, "exchanges": exchanges });
    assert_eq!(faults("exchanges", &input).await.len(), 3);
}

#[tokio::test]
async fn the_types_tell_events_apart() {
    let folder = tempfile::tempdir().unwrap();
    let types = run(&["schema", "typescript"]).await.stdout;
    std::fs::write(folder.path().join("event.ts"), types).unwrap();
    let file = folder.path().join("use.ts");
    let check = async |text: &str| {
        let text = format!("import type {{ AnyEvent, KnownEvent }} from \"./event\";\n{text}");
        std::fs::write(&file, text).unwrap();
        typescript_faults(&file).await
    };

    let good = r#"
        export function read(event: KnownEvent): string | null {
            if (event.type === "gap") return event.payload.oldest;
            if (event.type === "health_status") return event.payload.checks["log"] ?? null;
            const any: AnyEvent = event;
            return any.topic ?? any.correlation_id;
        }"#;
    assert_eq!(check(good).await, "");
    let wrong = r#"
        export function read(event: KnownEvent): number {
            return event.type === "gap" ? event.payload.oldest : 1;
        }"#;
    assert!(check(wrong).await.contains("null"));
}
