//! CloudEvents: published, followed, and read from the history.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use serde_json::{Value, json};
use stoat_tests::descriptions::faults;
use stoat_tests::{Client, Connection, Event, Raw, Request, Response, Server, within};
use tokio::io::AsyncReadExt;

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
const NOTHING: [&str; 0] = [];

async fn send(server: &Server, content_type: &str, body: &str) -> Response {
    let request = Request::new("POST", "/api/v1/events").body(content_type, body);
    request.send(server).await
}

fn cloud(id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "https://ci.example/builds",
        "type": "build.done",
        "time": "2026-11-23T13:34:56.5+01:00",
        "subject": "project.apollo",
        "correlationid": "c-1",
        "datacontenttype": "application/json",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "data": { "n": 1 },
    })
}

#[tokio::test]
async fn one_is_published_and_a_repeat_is_not() {
    let server = Server::start(&[]);
    let mut client = server.client().await;

    let first = send(&server, ONE, &cloud("a").to_string()).await;
    assert_eq!(first.status, 201, "{first:?}");
    let event = client.event().await;
    assert_eq!(event.event_type, "build.done");
    assert_eq!(event.payload, r#"{"n":1}"#);
    assert_eq!(event.topic.as_deref(), Some("project.apollo"));
    assert_eq!(event.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(event.timestamp, "2026-11-23T12:34:56.500000+00:00");
    assert_eq!(first.json()["event_id"], event.id);

    let repeat = send(&server, ONE, &cloud("a").to_string()).await;
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.json(), first.json());
    let mut other = cloud("a");
    other["data"] = json!({ "n": 2 });
    let refused = send(&server, ONE, &other.to_string()).await.problem(422);
    assert_eq!(refused["type"], "urn:stoat:problem:idempotency-key-reused");
    assert!(refused["detail"].as_str().unwrap().contains("source"));
    other["source"] = json!("https://ci.example/others");
    assert_eq!(send(&server, ONE, &other.to_string()).await.status, 201);
    assert_eq!(client.event().await.n(), 2);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_the_least_is_enough() {
    let server = Server::start(&[]);
    let mut client = server.client().await;

    let bad = json!([cloud("a"), { "specversion": "1.0", "id": "b", "source": "s" }]);
    let refused = send(&server, BATCH, &bad.to_string()).await.problem(422);
    assert_eq!(
        (&refused["index"], &refused["field"]),
        (&json!(1), &json!("type"))
    );

    let least =
        json!({ "specversion": "1.0", "id": "b", "source": "/s", "type": "t", "subject": null });
    let batch = json!([cloud("a"), least]).to_string();
    let sent = send(&server, BATCH, &batch).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(sent.json()["events"].as_array().unwrap().len(), 2);
    let events = client.events(2).await;
    assert_eq!(events[1].payload, "{}");
    assert_eq!(events[1].topic, None);
    let repeat = send(&server, BATCH, &batch).await;
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn what_cannot_be_carried_is_refused_and_named() {
    let server = Server::start(&[]);
    for (key, value) in [
        ("specversion", json!("0.3")),
        ("specversion", Value::Null),
        ("id", json!("")),
        ("id", json!(5)),
        ("source", json!("two words")),
        ("type", json!("Com.Example")),
        ("type", json!("heartbeat")),
        ("time", json!("yesterday")),
        ("subject", json!("A/b")),
        ("correlationid", json!("a b")),
        ("datacontenttype", json!("text/xml")),
        ("data", json!("text")),
        ("data_base64", json!("AAAA")),
        ("Subject", json!("x")),
    ] {
        let mut event = cloud("a");
        event[key] = value;
        let refused = send(&server, ONE, &event.to_string()).await.problem(422);
        assert_eq!(refused["field"], key, "{event} {refused}");
    }
    let twice = cloud("a")
        .to_string()
        .replace("\"id\"", "\"id\":\"b\",\"id\"");
    assert_eq!(send(&server, ONE, &twice).await.problem(422)["field"], "id");
    for (content_type, body) in [
        (ONE, "[]"),
        (ONE, "5"),
        (BATCH, "{}"),
        (BATCH, "[]"),
        (BATCH, "[1]"),
    ] {
        send(&server, content_type, body).await.problem(422);
    }
    send(&server, ONE, "{").await.problem(400);
    send(&server, "application/cloudevents+xml", "x")
        .await
        .problem(415);
}

#[tokio::test]
async fn a_follower_gets_them_beside_one_that_does_not() {
    let server = Server::start(&["--ws-heartbeat-interval", "50ms"]);
    let mut plain = server.client().await;
    let mut live = Client::connect(&server, "/ws?format=cloudevents").await;
    let mut filtered = Client::connect(&server, "/ws?format=cloudevents&types=b").await;
    let mut expected = Vec::new();
    for n in 0..6 {
        let (event_type, text) = [("a", "ü"), ("b", "\u{0}\"")][n % 2];
        let body = json!({"type": event_type, "payload": {"n": n, "text": text}, "topic": "x.y"});
        server.publish(&body.to_string()).await;
        let event = loop {
            let event = plain.event().await;
            if event.event_type != "heartbeat" {
                break event;
            }
        };
        expected.push(event);
    }
    let unknown = "/ws?format=cloudevents&last_event_id=unknown";
    let mut replayed = Client::connect(&server, unknown).await;

    let mut texts = Vec::new();
    for (client, expected, gap) in [
        (&mut live, &expected[..], false),
        (
            &mut filtered,
            &[
                expected[1].clone(),
                expected[3].clone(),
                expected[5].clone(),
            ],
            false,
        ),
        (&mut replayed, &expected[..], true),
    ] {
        let mut left = expected.iter();
        let (mut beats, mut gaps) = (0, 0);
        while beats == 0 || !left.as_slice().is_empty() {
            let text = client.text().await;
            let event: Value = serde_json::from_str(&text).unwrap();
            match event["type"].as_str().unwrap() {
                "heartbeat" => beats += 1,
                "gap" => gaps += 1,
                _ => same(&event, left.next().unwrap()),
            }
            texts.push(text);
        }
        assert_eq!(gaps, u32::from(gap));
    }
    assert_eq!(
        faults("cloudevents", &json!({ "texts": texts })).await,
        NOTHING
    );
    let spoiled = json!({ "texts": [expected[0].text] });
    assert_eq!(faults("cloudevents", &spoiled).await.len(), 1);
}

/// The same event in both forms.
fn same(cloud: &Value, plain: &Event) {
    assert_eq!(cloud["id"], plain.id);
    assert_eq!(cloud["type"], plain.event_type);
    assert_eq!(cloud["time"], plain.timestamp);
    assert_eq!(cloud["data"], plain.value());
    assert_eq!(cloud["subject"].as_str(), plain.topic.as_deref());
    assert_eq!(
        cloud["correlationid"].as_str(),
        plain.correlation_id.as_deref()
    );
    assert_eq!(cloud["source"], "urn:stoat:log");
}

#[tokio::test]
async fn the_history_has_them_and_an_unknown_format_is_named() {
    let server = Server::start(&[]);
    let mut plain = server.client().await;
    server
        .publish(r#"{"type":"a","payload":{"n":1e400}}"#)
        .await;
    let event = plain.event().await;
    let page = Request::get("/api/v1/events?format=cloudevents")
        .send(&server)
        .await;
    assert!(page.text().contains(r#""data":{"n":1e400}"#), "{page:?}");
    assert!(page.text().contains(&format!(r#""id":"{}""#, event.id)));

    for value in ["xml", "", "CloudEvents", "cloudevents&format=stoat"] {
        let target = format!("/api/v1/events?format={value}");
        let refused = Request::get(&target).send(&server).await.problem(400);
        assert_eq!(refused["field"], "format");
        let handshake = Raw::handshake(&server, &format!("/ws?format={value}"), "");
        let connection = Connection::open(server.address()).await;
        let (_, response) = Raw::upgrade(connection, &handshake).await;
        let refused = response.problem(400);
        assert!(
            refused["detail"].as_str().unwrap().contains("`format`"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn server_sent_events_come_in_that_form_too() {
    let server = Server::start(&[]);
    let id = server
        .publish(r#"{"type":"a","payload":{"n":1.50},"topic":"x.y"}"#)
        .await;
    let mut connection = Connection::open(server.address()).await;
    let target = "/sse?format=cloudevents&last_event_id=earliest";
    connection.start(&Request::get(target)).await;
    let (mut stream, unread) = connection.into_parts();
    let mut text = String::from_utf8(unread).expect("text");
    while !text.contains("\"data\":") {
        let mut piece = [0; 4096];
        let read = within("an event", stream.read(&mut piece)).await;
        let read = read.expect("an open stream");
        assert!(read > 0, "it ended after {text}");
        text.push_str(std::str::from_utf8(&piece[..read]).expect("text"));
    }
    let start = format!("id: {id}\nevent: a\ndata: {{\"specversion\":\"1.0\",\"id\":\"{id}\",");
    assert!(text.contains(&start), "{text}");
    assert!(text.contains(r#""subject":"x.y""#) && text.contains(r#""data":{"n":1.50}}"#));
    let refused = Request::get("/sse?format=xml").send(&server).await;
    assert_eq!(refused.status, 400);
}
