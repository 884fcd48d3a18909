//! A publish that is repeated with its `Idempotency-Key`.

use futures_util::future::join_all;
use stoat_tests::{Request, Server, eventually};

fn keyed(key: &str, body: &str) -> Request {
    Request::publish(body).header("Idempotency-Key", key)
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_publishes_nothing() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let bodies = [
        Request::publish(r#"{"type":"a"}"#),
        Request::publish(r#"[{"type":"a"},{"type":"b"}]"#),
        Request::publish_lines("{\"type\":\"a\"}\n{\"type\":\"b\"}\n"),
    ];

    for (request, (key, events)) in bodies.iter().zip([("one", 1), ("two", 2), ("!~", 2)]) {
        let request = request.clone().header("Idempotency-Key", key);
        let first = request.send(&server).await;
        assert_eq!(first.status, 201, "{}", first.text());
        assert_eq!(first.header("idempotency-replayed"), None);
        for _ in 0..3 {
            let repeat = request.send(&server).await;
            assert_eq!(repeat.status, 201);
            assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
            assert_eq!(repeat.text(), first.text());
        }
        client.events(events).await;
    }

    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

#[tokio::test]
async fn fifty_at_once_with_one_key_publish_once() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let request = keyed("k", r#"{"type":"a","payload":{"n":1}}"#);

    let responses = join_all((0..50).map(|_| request.send(&server))).await;

    let first = responses
        .iter()
        .filter(|response| response.header("idempotency-replayed").is_none());
    assert_eq!(first.count(), 1);
    for response in &responses {
        assert_eq!(response.status, 201);
        assert_eq!(response.text(), responses[0].text());
    }
    assert_eq!(client.event().await.n(), 1);
    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

#[tokio::test]
async fn the_key_belongs_to_its_body() {
    let server = Server::start(&[]);
    let mut client = server.client().await;
    let body = r#"{"type":"a","payload":{"n":1}}"#;

    let first = keyed("k", body).send(&server).await;
    let other = keyed("k", r#"{"type":"a","payload":{"n":2}}"#);
    other.send(&server).await.problem(422);
    let again = keyed("k", body).send(&server).await;

    assert_eq!(again.text(), first.text());
    assert_eq!(client.event().await.n(), 1);
    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

#[tokio::test]
async fn a_refused_publish_does_not_use_up_its_key() {
    let server = Server::start(&[]);

    keyed("k", r#"{"type":"BAD"}"#)
        .send(&server)
        .await
        .problem(422);

    let good = keyed("k", r#"{"type":"good"}"#).send(&server).await;
    assert_eq!(good.status, 201, "{}", good.text());
    assert_eq!(good.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn a_malformed_key_is_refused() {
    let server = Server::start(&[]);
    let body = r#"{"type":"a"}"#;
    let longest = "k".repeat(128);

    for bad in ["", "a b", "ä", &"k".repeat(129)] {
        keyed(bad, body).send(&server).await.problem(400);
    }
    let twice = keyed("a", body).header("Idempotency-Key", "b");
    twice.send(&server).await.problem(400);
    assert_eq!(keyed(&longest, body).send(&server).await.status, 201);
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time() {
    let server = Server::start(&["--idempotency-ttl", "1s"]);
    let request = keyed("k", r#"{"type":"a"}"#);
    let first = request.send(&server).await;

    let later = eventually("the key is forgotten", async || {
        let repeat = request.send(&server).await;
        repeat
            .header("idempotency-replayed")
            .is_none()
            .then_some(repeat)
    })
    .await;

    assert_eq!(later.status, 201);
    assert_ne!(later.json()["event_id"], first.json()["event_id"]);
}
