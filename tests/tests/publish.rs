//! Publishing over HTTP: order, batches, and publishes that are refused.
#![allow(clippy::expect_used, reason = "a test")]

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;
use stoat_tests::event::split_id;
use stoat_tests::{Client, Connection, Event, Foreign, Request, Server};

const PUBLISHERS: usize = 4;
const EACH: usize = 500;

/// One publish as its publisher saw it.
struct Acknowledged {
    id: String,
    sent: Instant,
    answered: Instant,
}

async fn publish_all(server: &Server, publisher: usize) -> Vec<Acknowledged> {
    let mut connection = Connection::open(server.address()).await;
    let mut all = Vec::with_capacity(EACH);
    for n in 0..EACH {
        let body = json!({"type": "scan_started", "payload": {"publisher": publisher, "n": n}});
        let sent = Instant::now();
        let response = connection.send(&Request::publish(body.to_string())).await;
        assert_eq!(response.status, 201, "{response:?}");
        let body = response.json();
        all.push(Acknowledged {
            id: body["event_id"].as_str().expect("an ID").to_owned(),
            sent,
            answered: Instant::now(),
        });
    }
    all
}

async fn texts(client: &mut Client) -> Vec<String> {
    let mut texts = Vec::with_capacity(PUBLISHERS * EACH);
    while texts.len() < PUBLISHERS * EACH {
        texts.push(client.text().await);
    }
    texts
}

#[tokio::test]
async fn fifty_clients_get_all_events_in_the_order_of_their_acknowledgement() {
    let server = Server::start(&[]);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(server.client().await);
    }
    let (mut python, mut node) = tokio::join!(
        Foreign::python(&server, "/ws", 5),
        Foreign::node(&server, "/ws", 5)
    );

    let (acknowledged, in_rust, in_python, in_node) = tokio::join!(
        join_all((0..PUBLISHERS).map(|publisher| publish_all(&server, publisher))),
        join_all(clients.iter_mut().map(texts)),
        python.texts(PUBLISHERS * EACH),
        node.texts(PUBLISHERS * EACH),
    );

    let first = &in_rust[0];
    for texts in &in_rust {
        assert!(texts == first, "a Rust client got something else");
    }
    for client in in_python.iter().chain(in_node) {
        assert!(&client.texts == first, "another client got something else");
    }
    let events: Vec<Event> = first.iter().map(|text| Event::parse(text)).collect();
    let delivered: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    for publisher in &acknowledged {
        let order = |ack: &Acknowledged| split_id(&ack.id).1;
        assert!(publisher.is_sorted_by_key(order), "a publisher's own order");
    }
    let mut acknowledged: Vec<Acknowledged> = acknowledged.into_iter().flatten().collect();
    acknowledged.sort_by_key(|ack| split_id(&ack.id).1);
    let ids: Vec<&str> = acknowledged.iter().map(|ack| ack.id.as_str()).collect();
    assert_eq!(delivered, ids);
    // What was answered before another was sent comes before it.
    let mut latest_sent = acknowledged[0].sent;
    for ack in &acknowledged {
        assert!(ack.answered >= latest_sent, "{} is too late", ack.id);
        latest_sent = latest_sent.max(ack.sent);
    }
}

#[tokio::test]
async fn the_answer_to_a_publish_names_the_event_that_arrives() {
    let server = Server::start(&[]);
    let mut client = server.client().await;

    let response = Request::publish(r#"{"type":"scan_completed","topic":"project.a.scans"}"#)
        .send(&server)
        .await;

    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let event = client.event().await;
    assert_eq!(
        response.json(),
        json!({
            "event_id": event.id,
            "timestamp": event.timestamp,
            "correlation_id": event.correlation_id,
        })
    );
    assert_eq!(event.event_type, "scan_completed");
    assert_eq!(event.payload, "{}");
    assert_eq!(event.topic.as_deref(), Some("project.a.scans"));
}

fn long(size: usize) -> String {
    format!(r#"{{"type":"a","payload":{{"x":"{}"}}}}"#, "x".repeat(size))
}

/// Each of these is refused with its status; then a good one arrives, and nothing before it.
#[tokio::test]
async fn refused_publishes_harm_no_client() {
    let server = Server::start(&["--max-event", "4KiB", "--max-body", "16KiB"]);
    let mut client = server.client().await;
    let refused: [(Vec<u8>, u16); 11] = [
        (b"".to_vec(), 400),
        (b"{".to_vec(), 400),
        (b"{\"type\":\"a\"} x".to_vec(), 400),
        (b"{\"type\":\"a\"}{\"type\":\"a\"}".to_vec(), 400),
        (br#"{"type":"a","payload":{"x":NaN}}"#.to_vec(), 400),
        (br#"{"type":"a","payload":{"x":-Infinity}}"#.to_vec(), 400),
        (br#"{"type":"a","payload":{"x":01}}"#.to_vec(), 400),
        (br#"{"type":"a","payload":{"x":1,}}"#.to_vec(), 400),
        (
            b"{\"type\":\"a\",\"payload\":{\"x\":\"\xff\"}}".to_vec(),
            400,
        ),
        (long(5000).into_bytes(), 413),
        (long(17_000).into_bytes(), 413),
    ];

    for (body, status) in refused {
        let response = Request::publish(body.clone()).send(&server).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(response.status, status, "{shown}: {}", response.text());
        response.problem(status);
    }

    server.publish(&long(3000)).await;
    assert_eq!(
        client.event().await.payload.len(),
        3000 + r#"{"x":""}"#.len()
    );
}

#[tokio::test]
async fn no_event_on_the_wire_is_longer_than_allowed() {
    let server = Server::start(&["--max-event", "1024"]);
    let mut client = server.client().await;
    let (mut accepted, mut refused) = (0, 0);

    for size in (500..=1100).step_by(20) {
        match Request::publish(long(size)).send(&server).await {
            response if response.status == 201 => accepted += 1,
            response => {
                response.problem(413);
                refused += 1;
            }
        }
    }

    assert!(accepted > 10 && refused > 4, "{accepted} and {refused}");
    for event in client.events(accepted).await {
        assert!(event.text.len() <= 1024, "{} bytes", event.text.len());
    }
}

#[tokio::test]
async fn deep_nesting_does_not_bring_the_server_down() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let depth = 30_000;
    let payload = format!(r#"{{"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let deep = format!(r#"{{"type":"a","payload":{payload}}}"#);

    let response = Request::publish(deep).send(&server).await;

    if response.status == 201 {
        assert!(client.text().await.contains(&payload));
    } else {
        assert!(matches!(response.status, 400 | 422), "{response:?}");
    }
    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let array = r#"[{"type":"a","payload":{"n":0}},{"type":"b","topic":"t","payload":{"n":1}}]"#;
    let lines = "{\"type\":\"a\",\"payload\":{\"n\":2}}\n{\"type\":\"c\",\"payload\":{\"n\":3}}\n";
    let unended =
        "{\"type\":\"a\",\"payload\":{\"n\":4}}\r\n{\"type\":\"c\",\"payload\":{\"n\":5}}";
    let requests = [
        Request::publish(array),
        Request::publish_lines(lines),
        Request::publish_lines(unended),
    ];

    for (request, first) in requests.iter().zip([0, 2, 4]) {
        let response = request.send(&server).await;
        assert_eq!(response.status, 201, "{}", response.text());
        let events = client.events(2).await;
        let expected: Vec<_> = events
            .iter()
            .map(|event| {
                json!({
                    "event_id": event.id,
                    "timestamp": event.timestamp,
                    "correlation_id": event.correlation_id,
                })
            })
            .collect();
        assert_eq!(response.json(), json!({ "events": expected }));
        assert_eq!((events[0].n(), events[1].n()), (first, first + 1));
        assert_eq!(
            events[1].correlation_id.as_deref(),
            response.header("x-correlation-id")
        );
    }
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_the_refusal_names_the_place() {
    let server = Server::start(&["--max-event", "4KiB"]);
    let mut client = server.client().await;
    let good = r#"{"type":"a"}"#;
    let bad_type = r#"{"type":"Bad Type"}"#;
    let bad_payload = r#"{"type":"a","payload":[]}"#;
    let too_long = long(5000);

    let invalid = [
        (
            Request::publish(format!("[{good},{good},{bad_type}]")),
            ["2", "type"],
        ),
        (
            Request::publish(format!("[{bad_payload},{good}]")),
            ["0", "payload"],
        ),
        (Request::publish(format!("[{good},7]")), ["1", "object"]),
        (
            Request::publish_lines(format!("{good}\n{bad_type}\n{good}\n")),
            ["1", "type"],
        ),
    ];
    for (request, named) in invalid {
        let problem = request.send(&server).await.problem(422);
        let detail = problem["detail"].as_str().expect("text");
        for name in named {
            assert!(detail.contains(name), "{name} in {problem}");
        }
    }
    let broken = [
        (Request::publish(format!("[{good},{{]")), 400),
        (
            Request::publish_lines(format!("{good}\n{{\"type\":\n")),
            400,
        ),
        (Request::publish_lines(format!("{good}\n{too_long}\n")), 413),
        (Request::publish(format!("[{good},{too_long}]")), 413),
    ];
    for (request, status) in broken {
        request.send(&server).await.problem(status);
    }

    server.publish(r#"{"type":"after_all"}"#).await;
    let next = client.event().await;
    assert_eq!(next.event_type, "after_all", "nothing of the batches came");
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_events() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let array = |count: usize| format!("[{}]", vec![r#"{"type":"a"}"#; count].join(","));
    let lines = |count: usize| "{\"type\":\"a\"}\n".repeat(count);

    Request::publish("[]").send(&server).await.problem(422);
    Request::publish_lines("").send(&server).await.problem(422);
    for too_many in [
        Request::publish(array(1001)),
        Request::publish_lines(lines(1001)),
    ] {
        too_many.send(&server).await.problem(413);
    }
    let all = Request::publish(array(1000)).send(&server).await;
    assert_eq!(all.status, 201, "{}", all.text());
    let one = Request::publish_lines(lines(1)).send(&server).await;
    assert_eq!(one.json()["events"].as_array().map(Vec::len), Some(1));

    client.events(1001).await;
    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

#[tokio::test]
async fn batches_stay_whole_among_other_publishers() {
    const BATCHES: usize = 20;
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let publisher = async |publisher: usize| {
        let mut connection = Connection::open(server.address()).await;
        for batch in 0..BATCHES {
            let name = publisher * BATCHES + batch;
            let events: Vec<_> = (0..10)
                .map(|n| json!({"type": "a", "payload": {"batch": name, "n": n}}))
                .collect();
            let request = Request::publish(json!(events).to_string());
            assert_eq!(connection.send(&request).await.status, 201);
        }
    };

    let ((), (), (), events) = tokio::join!(
        publisher(0),
        publisher(1),
        publisher(2),
        client.events(3 * BATCHES * 10)
    );

    for batch in events.chunks(10) {
        let name = &batch[0].value()["batch"];
        for (n, event) in (0..).zip(batch) {
            assert_eq!((&event.value()["batch"], event.n()), (name, n));
        }
    }
}

#[tokio::test]
async fn a_publish_says_that_it_is_json() {
    let server = Server::start(&[]);
    let publish = |content_type: &str| {
        Request::new("POST", "/api/v1/events").body(content_type, r#"{"type":"a"}"#)
    };

    for wrong in ["text/plain", "application/xml", "application/jsonx", ""] {
        publish(wrong).send(&server).await.problem(415);
    }
    for right in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/x-ndjson",
    ] {
        let response = publish(right).send(&server).await;
        assert_eq!(response.status, 201, "{right}: {}", response.text());
    }
}
