//! Health and metrics: what an operator's tools read.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use stoat_tests::{Client, Metrics, Request, Server, eventually};

#[tokio::test]
async fn a_server_that_runs_is_live_and_ready() {
    let server = Server::start(&[]);

    for path in ["/health/live", "/health/ready"] {
        let response = Request::get(path).send(&server).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/json"));
        let body = response.json();
        assert_eq!(body["status"], "ok", "{path}: {body}");
        assert!(body["checks"].is_object(), "{path}: {body}");
    }
}

#[tokio::test]
async fn all_metrics_exist_with_their_types() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    server.publish(r#"{"type":"scan_started"}"#).await;
    client.event().await;
    let gap = Client::connect(&server, "/ws?last_event_id=x").await;
    gap.close().await;
    Request::get("/ws").send(&server).await.problem(426);
    server.connected(1).await;

    let response = Request::get("/metrics").send(&server).await;

    let content_type = response.header("content-type").expect("a content type");
    assert!(
        content_type.starts_with("text/plain; version=0.0.4"),
        "{content_type}"
    );
    let metrics = Metrics::parse(&response.text());
    for (name, kind) in [
        ("stoat_ws_connected_clients", "gauge"),
        ("stoat_ws_buffer_size", "gauge"),
        ("stoat_ws_connects_total", "counter"),
        ("stoat_ws_disconnects_total", "counter"),
        ("stoat_ws_rejected_handshakes_total", "counter"),
        ("stoat_events_published_total", "counter"),
        ("stoat_events_delivered_total", "counter"),
        ("stoat_ws_sent_bytes_total", "counter"),
        ("stoat_ws_gaps_total", "counter"),
        ("stoat_ws_slow_clients", "gauge"),
        ("stoat_publish_to_socket_seconds", "histogram"),
        ("http_requests_total", "counter"),
        ("http_request_duration_seconds", "histogram"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_cpu_seconds_total", "counter"),
    ] {
        assert_eq!(metrics.kind(name), Some(kind), "{name}");
        let is_there = metrics.all().iter().any(|s| s.name.starts_with(name));
        assert!(is_there, "{name} has a value");
    }
}

#[tokio::test]
async fn counters_count_what_happens() {
    let server = Server::start(&[]);
    let mut clients = [server.client().await, server.client().await];
    let before = server.metrics().await;

    let batch = r#"[{"type":"scan_started"},{"type":"own.type"},{"type":"other_type"}]"#;
    assert_eq!(Request::publish(batch).send(&server).await.status, 201);
    Request::publish(r#"{"type":"X"}"#)
        .send(&server)
        .await
        .problem(422);
    let mut bytes = 0;
    for client in &mut clients {
        for event in client.events(3).await {
            // The header of frames from 126 bytes on is of 4 bytes.
            bytes += event.text.len() + 4;
        }
    }
    let [one, _two] = clients;
    one.close().await;
    server.connected(1).await;
    // Counting comes after writing.
    let after = eventually("all deliveries are counted", async || {
        let after = server.metrics().await;
        let delivered = after.sum("stoat_events_delivered_total");
        (delivered - before.sum("stoat_events_delivered_total") == 6.0).then_some(after)
    })
    .await;

    let grown = |name: &str, labels: &[(&str, &str)]| {
        after.value(name, labels).unwrap_or(0.0) - before.value(name, labels).unwrap_or(0.0)
    };
    assert_eq!(
        grown("stoat_events_published_total", &[("type", "scan_started")]),
        1.0
    );
    assert_eq!(
        grown("stoat_events_published_total", &[("type", "other")]),
        2.0
    );
    assert_eq!(after.sum("stoat_events_published_total"), 3.0);
    assert_eq!(grown("stoat_ws_buffer_size", &[]), 3.0);
    assert_eq!(grown("stoat_ws_connects_total", &[]), 0.0);
    assert_eq!(after.value("stoat_ws_connects_total", &[]), Some(2.0));
    assert_eq!(after.sum("stoat_ws_disconnects_total"), 1.0);
    let sent = grown("stoat_ws_sent_bytes_total", &[]);
    // The echo of the Close counts, or does not.
    assert!(
        (bytes..=bytes + 4).contains(&(sent as usize)),
        "{sent} {bytes}"
    );
    assert_eq!(grown("stoat_publish_to_socket_seconds_count", &[]), 6.0);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let server = Server::start(&[]);
    let before = server.metrics().await;
    for _ in 0..3 {
        server.publish(r#"{"type":"a"}"#).await;
    }
    Request::publish("{").send(&server).await;
    Request::get("/health/live").send(&server).await;

    let after = server.metrics().await;

    let count = |metrics: &Metrics, method: &str, route: &str, status: &str| {
        let labels = [("method", method), ("route", route), ("status", status)];
        metrics.value("http_requests_total", &labels).unwrap_or(0.0)
    };
    for (method, route, status, times) in [
        ("POST", "/api/v1/events", "201", 3.0),
        ("POST", "/api/v1/events", "400", 1.0),
        ("GET", "/health/live", "200", 1.0),
    ] {
        let grown = count(&after, method, route, status) - count(&before, method, route, status);
        assert_eq!(grown, times, "{method} {route} {status}");
    }
    let labels = [("method", "POST"), ("route", "/api/v1/events")];
    let durations = after.value("http_request_duration_seconds_count", &labels);
    assert_eq!(durations, Some(4.0));
}

#[tokio::test]
async fn no_client_can_make_series() {
    let server = Server::start(&[]);
    let everything = async || {
        let metrics = server.metrics().await;
        let series = metrics.all().iter();
        let values = series.flat_map(|s| s.labels.values().cloned());
        let values: BTreeSet<String> = values.collect();
        (metrics.all().len(), values)
    };
    let provoke = async |name: &str| {
        let path = format!("/{name}");
        Request::get(&path).send(&server).await.problem(404);
        Request::new("DELETE", &format!("/api/v1/connections/{name}"))
            .send(&server)
            .await
            .problem(404);
        let method = name.to_uppercase();
        let response = Request::new(&method, "/api/v1/events").send(&server).await;
        assert!(matches!(response.status, 400 | 405 | 501), "{response:?}");
        let event = format!(r#"{{"type":"{name}","topic":"{name}"}}"#);
        server.publish(&event).await;
        let target = format!("/ws?types={name}&last_event_id={name}");
        let headers = [("User-Agent", name), ("X-Correlation-ID", name)];
        let client = Client::connect_with(server.address(), &target, &headers).await;
        client.close().await;
        server.connected(0).await;
    };
    provoke("first").await;
    let (before, _) = everything().await;

    for name in ["second", "third", "fourth"] {
        provoke(name).await;
    }

    let (after, values) = everything().await;
    assert_eq!(before, after, "{values:?}");
    for value in values {
        let value = value.to_lowercase();
        for chosen in ["first", "second", "third", "fourth"] {
            assert!(!value.contains(chosen), "{value}");
        }
    }
}
