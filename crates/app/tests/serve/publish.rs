//! Publishing over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{post, start};

#[tokio::test]
async fn one_event_an_array_and_lines() {
    let server = start(&[]);
    let answer = server
        .ask(&post(
            "application/json",
            "x-correlation-id: req-1\r\n",
            r#"{"type":"a"}"#,
        ))
        .await;
    assert_eq!(answer.status(), 201);
    let one = answer.json();
    assert_eq!(one["correlation_id"], "req-1");
    assert!(one["timestamp"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(answer.header("x-stoat-cursor"), one["event_id"].as_str());

    let answer = server
        .publish(r#"[{"type":"a","correlation_id":"own"},{"type":"b","payload":{"x":[1, 2]}}]"#)
        .await;
    let many = answer.json();
    let events = many["events"].as_array().unwrap();
    assert_eq!(events[0]["correlation_id"], "own");
    assert_eq!(
        events[1]["correlation_id"].as_str(),
        answer.header("x-correlation-id")
    );
    assert_eq!(events[0]["timestamp"], events[1]["timestamp"]);
    assert_eq!(
        answer.header("x-stoat-cursor"),
        events[1]["event_id"].as_str()
    );

    let answer = server
        .ask(&post("application/x-ndjson", "", "{\"type\":\"c\"}\n"))
        .await;
    assert_eq!(answer.json()["events"].as_array().unwrap().len(), 1);

    let history = server.get("/api/v1/events").await;
    assert!(
        history.body.contains(r#""payload":{"x":[1,2]}"#),
        "{history:?}"
    );
    let types: Vec<_> = history.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(types, ["a", "a", "b", "c"]);
}

#[tokio::test]
async fn refusals() {
    let server = start(&[("MAX_EVENT", "1KiB")]);
    for (content_type, body, status, name) in [
        ("text/plain", "{}", 415, "unsupported-media-type"),
        (
            "application/json; charset=utf-16",
            "{}",
            415,
            "unsupported-media-type",
        ),
        ("application/json", "{", 400, "malformed-json"),
        ("application/json", "{}", 422, "invalid-event"),
        ("application/json", "[]", 422, "empty-batch"),
        ("application/x-ndjson", "", 422, "empty-batch"),
    ] {
        let problem = server
            .ask(&post(content_type, "", body))
            .await
            .problem(status);
        assert_eq!(
            problem["type"],
            format!("urn:stoat:problem:{name}"),
            "{body}"
        );
    }
    server
        .ask("POST /api/v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .problem(415);
    server
        .ask(&post("application/json", "content-encoding: gzip\r\n", "x"))
        .await
        .problem(415);
    for headers in [
        "idempotency-key: a b\r\n",
        "idempotency-key: \r\n",
        "idempotency-key: a\r\nidempotency-key: a\r\n",
        "idempotency-key: \u{e9}\r\n",
    ] {
        server
            .ask(&post("application/json", headers, r#"{"type":"a"}"#))
            .await
            .problem(400);
    }
    let large = format!(
        r#"[{{"type":"a"}},{{"type":"a","payload":{{"f":"{}"}}}}]"#,
        "x".repeat(1000)
    );
    let problem = server.publish(&large).await.problem(413);
    assert_eq!(
        (&problem["index"], &problem["type"]),
        (&json!(1), &json!("urn:stoat:problem:event-too-large"))
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("1024"),
        "{problem}"
    );
    let history = server.get("/api/v1/events").await.json();
    assert_eq!(history["events"], json!([]), "all or nothing");
}

#[tokio::test]
async fn repeats_return_the_first_answer() {
    let server = start(&[]);
    let publish = |body: &'static str, key: &'static str| {
        let headers = format!("idempotency-key: {key}\r\n");
        let request = post("application/json", &headers, body);
        let server = &server;
        async move { server.ask(&request).await }
    };
    let first = publish(r#"[{"type":"a"}]"#, "k").await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = publish(r#"[{"type":"a"}]"#, "k").await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    let problem = publish(r#"[{"type":"b"}]"#, "k").await.problem(422);
    assert_eq!(problem["type"], "urn:stoat:problem:idempotency-key-reused");
    assert_eq!(
        publish(r#"[{"type":"a"}]"#, "l")
            .await
            .header("idempotency-replayed"),
        None
    );
    let history = server.get("/api/v1/events").await.json();
    assert_eq!(history["events"].as_array().unwrap().len(), 2);
    let metrics = server.get("/metrics").await;
    assert!(
        metrics
            .body
            .contains("stoat_events_published_total{type=\"other\"} 2\n")
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_while_it_comes() {
    let server = start(&[("MAX_BODY", "64KiB")]);
    // Announced: refused at once, and whoever sends it anyway still gets the answer.
    let mut client = server.connect().await;
    client
        .send(&post("application/json", "", "").replace("length: 0", "length: 1000000"))
        .await;
    assert!(client.try_send(&vec![b' '; 1_000_000]).await);
    let answer = client.answer().await;
    answer.problem(413);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed().await);

    // In chunks, without a length.
    let mut client = server.connect().await;
    client
        .send(
            &post("application/json", "transfer-encoding: chunked\r\n", "")
                .replace("content-length: 0\r\n", ""),
        )
        .await;
    for _ in 0..20 {
        client.send("1000\r\n").await;
        client.try_send(&[b' '; 0x1000]).await;
        client.send("\r\n").await;
    }
    client.answer().await.problem(413);

    // Who waits for leave to send gets none.
    let mut client = server.connect().await;
    let request = post("application/json", "expect: 100-continue\r\n", "");
    client
        .send(&request.replace("length: 0", "length: 1000000"))
        .await;
    client.answer().await.problem(413);
    let mut client = server.connect().await;
    client
        .send(&request.replace("length: 0", "length: 12"))
        .await;
    assert_eq!(client.answer().await.status(), 100);
    client.send(r#"{"type":"a"}"#).await;
    assert_eq!(client.answer().await.status(), 201);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = start(&[("BODY_TIMEOUT", "300ms")]);
    let mut client = server.connect().await;
    client
        .send(&post("application/json", "", "").replace("length: 0", "length: 12"))
        .await;
    client.send("{\"ty").await;
    let answer = client.answer().await;
    answer.problem(408);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let server = start(&[]);
    let mut client = server.connect().await;
    // A refusal that did not look at the body leaves the connection in order.
    client
        .send(&post("text/plain", "", &"x".repeat(100_000)))
        .await;
    client.answer().await.problem(415);
    let two = post("application/json", "", r#"{"type":"a"}"#).repeat(2);
    client.send(&two).await;
    let (first, second): (Value, Value) =
        (client.answer().await.json(), client.answer().await.json());
    assert_ne!(first["event_id"], second["event_id"]);
    // Time for the server to see that the connection is idle, not gone.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client
        .send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 200);
}
