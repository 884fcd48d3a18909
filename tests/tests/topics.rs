//! Tokens that are good for some topics only: live, replayed, in the history and on publishing.
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::json;
use stoat_tests::access::{BOSS, READER, TEAM, refused, setup};
use stoat_tests::{Event, Request, Server};

/// What the events of [`publish_all`] are called that the team may see.
const SEEN: [&str; 3] = ["mine", "deep", "news"];

/// One event of each kind of topic.
async fn publish_all(server: &Server) {
    for (event_type, topic) in [
        ("mine", Some("team.a.x")),
        ("theirs", Some("team.b.x")),
        ("none", None),
        ("deep", Some("team.a.y.z")),
        ("stem", Some("team.a")),
        ("news", Some("news")),
        ("below", Some("news.today")),
    ] {
        let mut event = json!({ "type": event_type });
        if let Some(topic) = topic {
            event["topic"] = topic.into();
        }
        server.publish_as(BOSS, &event.to_string()).await;
    }
}

fn types(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.event_type.as_str())
        .collect()
}

#[tokio::test]
async fn a_token_sees_its_topics_only_live_and_replayed() {
    let server = setup().start();
    publish_all(&server).await;
    for query in [
        "",
        "&topics=*",
        "&topics=team.*,news,news.*",
        "&topics=team.a.*,news",
    ] {
        let target = format!("/ws?last_event_id=earliest{query}");
        let mut client = server.client_as(TEAM, &target).await;
        assert_eq!(types(&client.events(3).await), SEEN, "{query}");
        client.ping().await;
    }
    let mut live = server.client_as(TEAM, "/ws").await;
    let mut narrow = server.client_as(TEAM, "/ws?topics=news").await;
    let mut all = server.client_as(READER, "/ws").await;
    publish_all(&server).await;
    assert_eq!(types(&live.events(3).await), SEEN);
    assert_eq!(types(&narrow.events(1).await), ["news"]);
    assert_eq!(all.events(7).await.len(), 7);
    // What a ping is answered after has been passed over.
    for client in [&mut live, &mut narrow, &mut all] {
        client.ping().await;
    }
}

#[tokio::test]
async fn a_subscription_can_only_narrow() {
    let server = setup().start();
    let mut client = server.client_as(TEAM, "/ws").await;
    for (topics, seen) in [
        ("null", &SEEN[..]),
        (r#"["*"]"#, &SEEN),
        (r#"["team.b.*","team.a.*"]"#, &["mine", "deep"]),
        ("[]", &[]),
        (r#"["news.*","news"]"#, &["news"]),
    ] {
        let subscribe = format!(r#"{{"action":"subscribe","types":null,"topics":{topics}}}"#);
        client.send(&subscribe).await;
        client.ping().await;
        publish_all(&server).await;
        assert_eq!(types(&client.events(seen.len()).await), seen, "{topics}");
        client.ping().await;
    }
}

#[tokio::test]
async fn the_list_shows_what_the_client_asked_for() {
    let server = setup().start();
    let _client = server.client_as(TEAM, "/ws?types=a").await;
    let list = Request::get("/api/v1/connections").bearer(BOSS);
    let listed = list.send(&server).await.json();
    let filters = json!({ "types": ["a"], "topics": null });
    assert_eq!(listed["connections"][0]["filters"], filters);
}

#[tokio::test]
async fn the_history_has_its_topics_only() {
    let server = setup().start();
    publish_all(&server).await;
    for query in ["", "?topics=*", "?topics=team.*,news", "?limit=3"] {
        let history = Request::get(&format!("/api/v1/events{query}")).bearer(TEAM);
        let page = history.send(&server).await.json();
        let events = page["events"].as_array().expect("events").iter();
        let types: Vec<&str> = events.filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(types, SEEN, "{query}");
        assert_eq!(page["gap"], false);
    }
    // The answer for a topic that is out of reach is that for one that nobody uses.
    let history =
        |topic: &str| Request::get(&format!("/api/v1/events?topics={topic}")).bearer(TEAM);
    let forbidden = history("team.b.x").send(&server).await;
    let absent = history("nobody.knows").send(&server).await;
    assert_eq!(forbidden.text(), absent.text());
    assert_eq!(forbidden.status, 200);
}

#[tokio::test]
async fn a_token_publishes_to_its_topics_only() {
    let server = setup().start();
    publish_all(&server).await;
    let mut all = server.client_as(READER, "/ws").await;
    let publish = |body: &str| Request::publish(body).bearer(TEAM);

    let mut answers = Vec::new();
    for body in [
        r#"{"type":"a","topic":"team.b.x"}"#,
        r#"{"type":"a","topic":"nobody.knows"}"#,
        r#"{"type":"a","topic":"team.a"}"#,
        r#"{"type":"a","topic":"news.today"}"#,
        r#"{"type":"a"}"#,
        r#"{"type":"a","topic":null}"#,
    ] {
        let response = publish(body).send(&server).await;
        answers.push(refused(&response, 403));
        assert_eq!(response.problem(403)["field"], "topic");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all: {answers:?}");

    // All or nothing.
    let batch = r#"[{"type":"a","topic":"news"},{"type":"a","topic":"team.b.x"}]"#;
    let response = publish(batch).send(&server).await;
    refused(&response, 403);
    assert_eq!(response.problem(403)["index"], 1);

    server
        .publish_as(TEAM, r#"{"type":"ok","topic":"team.a.x"}"#)
        .await;
    server
        .publish_as(
            TEAM,
            r#"[{"type":"ok","topic":"news"}]"#.trim_matches(['[', ']']),
        )
        .await;
    assert_eq!(types(&all.events(2).await), ["ok", "ok"]);
}
