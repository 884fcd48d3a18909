//! Routes, methods, and what every answer carries.

use serde_json::json;

use super::harness::{post, start};

#[tokio::test]
async fn every_answer_has_a_correlation_id_and_the_cursor() {
    let server = start(&[]);
    for path in ["/health/live", "/nowhere", "/ws", "/metrics"] {
        let answer = server.get(path).await;
        assert!(answer.header("x-correlation-id").is_some(), "{answer:?}");
        assert_eq!(answer.header("x-stoat-cursor"), None, "the log is empty");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let published = server.publish(r#"{"type":"a"}"#).await.json();
    let newest = published["event_id"].as_str();
    for path in ["/health/live", "/nowhere", "/ws", "/api/v1/events"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-correlation-id: mine\r\n\r\n");
        let answer = server.ask(&request).await;
        assert_eq!(answer.header("x-correlation-id"), Some("mine"));
        assert_eq!(answer.header("x-stoat-cursor"), newest, "{answer:?}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let server = start(&[]);
    server.get("/nowhere?x=1").await.problem(404);
    for (method, path, allowed) in [
        ("PUT", "/api/v1/events", "GET, HEAD, POST"),
        ("POST", "/api/v1/connections", "GET, HEAD"),
        ("GET", "/api/v1/connections/1", "DELETE"),
        ("DELETE", "/api/v1/events/1/delivery", "GET, HEAD"),
        ("DELETE", "/health/live", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
        ("HEAD", "/ws", "GET"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut client = server.connect().await;
        client.send(&request).await;
        if method == "HEAD" {
            // Its answer has a length and no body.
            client
                .send("GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n")
                .await;
            let head = client.take(12).await;
            assert_eq!(head, b"HTTP/1.1 405");
            continue;
        }
        let answer = client.answer().await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
    server
        .ask("DELETE /api/v1/connections/7 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .problem(404);
    server
        .ask("DELETE /api/v1/connections/x HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .problem(404);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = start(&[]);
    let mut client = server.connect().await;
    for path in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/v1/events",
    ] {
        client
            .send(&format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let head = client.take(15).await;
        assert_eq!(head, b"HTTP/1.1 200 OK", "{path}");
        // The next answer begins right after the head.
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            rest.extend(client.take(1).await);
        }
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains("content-length: "), "{rest}");
        assert!(!rest.contains("content-length: 0\r\n"), "{rest}");
    }
}

#[tokio::test]
async fn health_and_connections_of_a_fresh_server() {
    let server = start(&[]);
    let live = server.get("/health/live").await;
    assert_eq!(live.header("content-type"), Some("application/json"));
    assert_eq!(live.json()["status"], "ok");
    assert_eq!(
        server.get("/health/ready").await.json(),
        json!({ "status": "ok", "checks": { "accepting": "ok", "log": "ok" } })
    );
    assert_eq!(
        server.get("/api/v1/connections").await.json(),
        json!({ "count": 0, "connections": [] })
    );
}

#[tokio::test]
async fn history_in_pages() {
    let server = start(&[("WS_REPLAY_BUFFER_SIZE", "3")]);
    let mut ids = Vec::new();
    for n in 0..5 {
        let body = format!(r#"{{"type":"a","payload":{{"n": {n}.0}},"topic":"t.x"}}"#);
        let published = server.publish(&body).await.json();
        ids.push(published["event_id"].as_str().unwrap().to_owned());
    }
    let answer = server.get("/api/v1/events?limit=2").await;
    assert_eq!(answer.header("x-stoat-cursor"), Some(&*ids[4]));
    assert!(answer.body.contains(r#""payload":{"n":2.0}"#), "{answer:?}");
    let page = answer.json();
    assert_eq!(
        (&page["next"], &page["gap"]),
        (&json!(ids[3]), &json!(false))
    );
    let page = server
        .get(&format!("/api/v1/events?after={}", ids[3]))
        .await
        .json();
    assert_eq!(page["events"][0]["event_id"], ids[4]);
    assert_eq!(page["next"], json!(null));
    let page = server
        .get(&format!("/api/v1/events?after={}&topics=t.*", ids[0]))
        .await
        .json();
    assert_eq!(page["gap"], true);
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    let problem = server.get("/api/v1/events?limit=0").await.problem(400);
    assert_eq!(problem["field"], "limit");
}

#[tokio::test]
async fn metrics_count_requests_by_route() {
    let server = start(&[]);
    server.get("/nowhere/1").await;
    server.get("/nowhere/2").await;
    server.publish(r#"{"type":"scan_started"}"#).await;
    server.publish(r#"{"type":"my.own"}"#).await;
    let metrics = server.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for line in [
        "http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 2",
        "http_requests_total{method=\"POST\",route=\"/api/v1/events\",status=\"201\"} 2",
        "http_request_duration_seconds_count{method=\"POST\",route=\"/api/v1/events\"} 2",
        "stoat_events_published_total{type=\"scan_started\"} 1",
        "stoat_events_published_total{type=\"other\"} 1",
        "stoat_ws_buffer_size 2",
    ] {
        assert!(
            metrics.body.contains(&format!("{line}\n")),
            "{line}: {metrics:?}"
        );
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_or_too_slow() {
    let server = start(&[("HANDSHAKE_TIMEOUT", "200ms")]);
    let answer = server
        .ask(&format!(
            "GET / HTTP/1.1\r\nx: {}\r\n\r\n",
            "x".repeat(20_000)
        ))
        .await;
    answer.problem(431);
    let mut slow = server.connect().await;
    slow.send("GET / HTTP/1.1\r\nho").await;
    slow.answer().await.problem(408);
    assert!(slow.is_closed().await);
    let mut silent = server.connect().await;
    silent.answer().await.problem(408);
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let server = start(&[("WS_WRITE_TIMEOUT", "10ms"), ("HANDSHAKE_TIMEOUT", "100ms")]);
    let event = format!(
        r#"{{"type":"a","payload":{{"f":"{}"}}}}"#,
        "x".repeat(60_000)
    );
    let batch = format!("[{}]", vec![event; 16].join(","));
    for _ in 0..5 {
        assert_eq!(server.publish(&batch).await.status(), 201);
    }
    let mut client = server.connect().await;
    // Some 40 MB, more than the buffers of both kernels take.
    client
        .send(&"GET /api/v1/events HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10))
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut answers = 0;
    while client.try_answer().await.is_some() {
        answers += 1;
    }
    assert!(answers < 10, "{answers}");
}

#[tokio::test]
async fn a_client_that_has_said_all_it_will_say_is_answered() {
    let server = start(&[]);
    let publish = post("application/json", "", r#"{"type":"a"}"#);
    let read = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    for (request, status) in [
        (publish, 201),
        (read("/api/v1/events"), 200),
        (read("/api/v1/connections"), 200),
        (read("/metrics"), 200),
        (read("/nowhere"), 404),
    ] {
        let mut client = server.connect().await;
        client.send(&request).await;
        client.end_sending().await;
        let answer = client.try_answer().await;
        assert_eq!(answer.map(|answer| answer.status()), Some(status));
        assert!(client.is_closed().await, "{request}");
    }
}
