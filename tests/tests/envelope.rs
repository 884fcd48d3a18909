//! What a publish may say, and that its payload arrives as it was sent.

use stoat_tests::{Request, Server};

/// Publishes with this payload and returns the payload that arrives.
async fn carried(server: &Server, client: &mut stoat_tests::Client, payload: &str) -> String {
    server
        .publish(&format!(r#"{{"type":"a","payload":{payload}}}"#))
        .await;
    client.event().await.payload
}

#[tokio::test]
async fn a_payload_arrives_byte_for_byte() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let payloads = [
        r#"{}"#,
        r#"{"big":123456789012345678901234567890,"negative":-9007199254740993}"#,
        r#"{"long":0.1234567890123456789012345678901234567890,"tiny":1e-400}"#,
        r#"{"huge":1e400,"forms":[1.0,1.50,1E5,1e+5,-0,-0.0,0e0]}"#,
        r#"{"a":1,"a":2,"a":{"a":3,"a":4}}"#,
        r#"{"z":1,"y":2,"b":3,"a":4}"#,
        r#"{"text":"Grüße, мир, 世界, 🦦, e\u0301, \u00e9, \ud83e\udda6"}"#,
        r#"{"escapes":"\" \\ \/ / \b \f \n \r \t \u0000 \u001f \u007f"}"#,
        r#"{"keys \u0041 \" 🦦":null,"":true}"#,
        r#"{"nested":[[],{},[[{"a":[null,true,false]}]]]}"#,
        r#"{"type":"b","event_id":"x","payload":{"payload":{}}}"#,
        r#"{"html":"</script><!--&lt;  two spaces"}"#,
    ];

    for payload in payloads {
        assert_eq!(carried(&server, &mut client, payload).await, payload);
    }
}

#[tokio::test]
async fn white_space_between_the_tokens_of_a_payload_is_dropped() {
    let server = Server::start(&[]);
    let mut client = server.client().await;

    let payload = "\t{ \"a b\" :\r\n [ 1 , 2.50 ,\t\" x  y \\\" \" ] , \"c\" : { } }\n ";
    let carried = carried(&server, &mut client, payload).await;

    assert_eq!(carried, r#"{"a b":[1,2.50," x  y \" "],"c":{}}"#);
}

#[tokio::test]
async fn the_frame_is_the_canonical_text_of_the_event() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let bare = server
        .publish(r#"{ "payload": { "n": 1 }, "type": "scan_started" }"#)
        .await;
    let full = server
        .publish(
            r#"{"topic":"project.x","correlation_id":"c-1","payload":{},"type":"own.thing_2"}"#,
        )
        .await;

    let event = client.event().await;
    assert_eq!(
        event.text,
        format!(
            r#"{{"type":"scan_started","payload":{{"n":1}},"correlation_id":"{}","timestamp":"{}","event_id":"{bare}"}}"#,
            event.correlation_id.as_deref().unwrap_or_default(),
            event.timestamp,
        )
    );
    let event = client.event().await;
    assert_eq!(
        event.text,
        format!(
            r#"{{"type":"own.thing_2","payload":{{}},"correlation_id":"c-1","timestamp":"{}","event_id":"{full}","topic":"project.x"}}"#,
            event.timestamp,
        )
    );
}

#[tokio::test]
async fn what_is_empty_counts_as_not_given() {
    let server = Server::start(&[]);
    let mut client = server.client().await;

    for body in [
        r#"{"type":"a"}"#,
        r#"{"type":"a","payload":null}"#,
        r#"{"type":"a","correlation_id":null,"topic":null}"#,
        r#"{"type":"a","correlation_id":""}"#,
    ] {
        let response = Request::publish(body)
            .header("X-Correlation-ID", "of-the-request")
            .send(&server)
            .await;
        assert_eq!(response.status, 201, "{body}: {}", response.text());
        let event = client.event().await;
        assert_eq!(event.payload, "{}", "{body}");
        assert_eq!(event.topic, None, "{body}");
        assert_eq!(event.correlation_id.as_deref(), Some("of-the-request"));
    }
}

#[tokio::test]
async fn an_envelope_that_breaks_the_rules_is_refused_by_the_name_of_the_field() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let long_type = format!(r#"{{"type":"{}"}}"#, "a".repeat(65));
    let long_topic = format!(r#"{{"type":"a","topic":"{}"}}"#, "t".repeat(129));
    let long_id = format!(r#"{{"type":"a","correlation_id":"{}"}}"#, "c".repeat(129));
    let refused = [
        (r#"{"payload":{}}"#, "type"),
        (r#"{"type":null}"#, "type"),
        (r#"{"type":7}"#, "type"),
        (r#"{"type":""}"#, "type"),
        (r#"{"type":"Scan"}"#, "type"),
        (r#"{"type":"1a"}"#, "type"),
        (r#"{"type":"_a"}"#, "type"),
        (r#"{"type":"a."}"#, "type"),
        (r#"{"type":".a"}"#, "type"),
        (r#"{"type":"a..b"}"#, "type"),
        (r#"{"type":"a-b"}"#, "type"),
        (r#"{"type":"ä"}"#, "type"),
        (r#"{"type":"a\n"}"#, "type"),
        (r#"{"type":"gap"}"#, "type"),
        (r#"{"type":"heartbeat"}"#, "type"),
        (
            r#"{"type":"health_status","payload":{"status":"ok"}}"#,
            "type",
        ),
        (&long_type, "type"),
        (r#"{"type":"a","type":"a"}"#, "type"),
        (r#"{"type":"a","payload":{},"payload":{}}"#, "payload"),
        (r#"{"type":"a","payload":[]}"#, "payload"),
        (r#"{"type":"a","payload":"{}"}"#, "payload"),
        (r#"{"type":"a","payload":1}"#, "payload"),
        (r#"{"type":"a","payload":false}"#, "payload"),
        (r#"{"type":"a","topic":""}"#, "topic"),
        (r#"{"type":"a","topic":"a.*"}"#, "topic"),
        (r#"{"type":"a","topic":["a"]}"#, "topic"),
        (&long_topic, "topic"),
        (r#"{"type":"a","correlation_id":7}"#, "correlation_id"),
        (r#"{"type":"a","correlation_id":"a b"}"#, "correlation_id"),
        (r#"{"type":"a","correlation_id":"ä"}"#, "correlation_id"),
        (&long_id, "correlation_id"),
        (r#"{"type":"a","extra_thing":1}"#, "extra_thing"),
        (r#"{"type":"a","event_id":"x"}"#, "event_id"),
        (
            r#"{"type":"a","timestamp":"2026-11-23T12:34:56Z"}"#,
            "timestamp",
        ),
        (r#"{"type":"a","Payload":{}}"#, "Payload"),
    ];

    for (body, field) in refused {
        let response = Request::publish(body).send(&server).await;
        assert_eq!(response.status, 422, "{body}: {}", response.text());
        let problem = response.problem(422);
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(field), "{field} in {problem}");
    }

    let long = format!(
        r#"{{"type":"{}","topic":"{}","correlation_id":"{}"}}"#,
        "a".repeat(64),
        "t".repeat(128),
        "c".repeat(128),
    );
    server.publish(&long).await;
    assert_eq!(client.event().await.event_type.len(), 64);
}

#[tokio::test]
async fn only_an_object_is_an_event() {
    let server = Server::start(&[]);
    let mut client = server.client().await;

    for body in ["7", "null", "\"a\"", "true"] {
        let response = Request::publish(body).send(&server).await;
        assert!(matches!(response.status, 400 | 422), "{body}: {response:?}");
        response.problem(response.status);
    }

    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}
