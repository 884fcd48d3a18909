//! How much one publisher may publish, and whose address counts behind a proxy.
#![allow(clippy::expect_used, reason = "a test")]

use stoat_tests::access::{BOSS, TEAM, WRITER, tokens};
use stoat_tests::{Client, Request, Response, Server, Setup, eventually};

const EVENT: &str = r#"{"type":"a"}"#;

fn batch(events: usize) -> String {
    format!("[{}]", vec![EVENT; events].join(","))
}

/// Checks an answer that asks to come later.
fn later(response: &Response) {
    let problem = response.problem(429);
    assert_eq!(problem["type"], "urn:stoat:problem:rate-exceeded");
    let seconds = response.header("retry-after").expect("a time");
    assert!(seconds.parse::<u64>().is_ok_and(|n| n >= 1), "{seconds}");
}

fn from(address: &str) -> Request {
    Request::publish(EVENT).header("X-Forwarded-For", address)
}

/// A server with this rate, and these arguments.
fn limited(rate: &str, more: &[&str]) -> Server {
    Setup::default()
        .args(["--publish-rate", rate])
        .args(more)
        .start()
}

#[tokio::test]
async fn a_batch_counts_as_its_events_and_one_that_never_fits_is_told_so() {
    let server = limited("5", &[]);
    let publish = |n| Request::publish(batch(n));
    let response = publish(6).send(&server).await;
    let problem = response.problem(413);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("6 events, at most 5"), "{detail}");
    assert_eq!(publish(5).send(&server).await.status, 201);
    let refusal = eventually("five more in the same second", async || {
        let response = publish(5).send(&server).await;
        (response.status == 429).then_some(response)
    })
    .await;
    later(&refusal);
}

#[tokio::test]
async fn over_the_rate_nothing_is_published_and_after_a_while_it_is() {
    let server = limited("1", &[]);
    let mut client = server.client().await;
    let mut answers = Vec::new();
    let refusal = eventually("a refusal", async || {
        let response = Request::publish(EVENT).send(&server).await;
        answers.push(response.status);
        (response.status == 429).then_some(response)
    })
    .await;
    later(&refusal);
    eventually("a second publish", async || {
        let response = Request::publish(EVENT).send(&server).await;
        answers.push(response.status);
        (response.status == 201).then_some(())
    })
    .await;
    let published = answers.iter().filter(|status| **status == 201).count();
    client.events(published).await;
    client.ping().await;
}

#[tokio::test]
async fn each_token_has_its_own_share() {
    let server = Setup::default()
        .file(&format!("publish_rate = 1\n{}", tokens()))
        .start();
    let publish = |token: &str| Request::publish(EVENT).bearer(token);
    eventually("a refusal of one", async || {
        let response = publish(BOSS).send(&server).await;
        (response.status == 429).then_some(())
    })
    .await;
    assert_eq!(publish(WRITER).send(&server).await.status, 201);
    // Who is refused for another reason has used up nothing.
    assert_eq!(publish(TEAM).send(&server).await.status, 403);
    let own = Request::publish(r#"{"type":"a","topic":"news"}"#).bearer(TEAM);
    assert_eq!(own.send(&server).await.status, 201);
}

#[tokio::test]
async fn an_address_behind_a_trusted_proxy_counts_for_itself() {
    let server = limited("1", &["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"]);
    let used_up = async |address: &str| {
        eventually("a refusal", async || {
            let response = from(address).send(&server).await;
            (response.status == 429).then_some(())
        })
        .await;
    };
    used_up("192.0.2.1").await;
    assert_eq!(from("192.0.2.2").send(&server).await.status, 201);
    // The client made up what is on the left; the proxies wrote the rest.
    assert_eq!(
        from("192.0.2.1, 192.0.2.3, 10.0.0.9")
            .send(&server)
            .await
            .status,
        201
    );
    for odd in [
        "",
        "unknown",
        "192.0.2.9,",
        "192.0.2.9, 1.2.3",
        &"9,".repeat(3000),
    ] {
        let response = from(odd).send(&server).await;
        assert!(
            matches!(response.status, 201 | 429),
            "{odd:?}: {response:?}"
        );
    }
}

#[tokio::test]
async fn the_address_of_the_client_is_listed_and_limited() {
    let server = Server::start(&[
        "--trusted-proxies",
        "127.0.0.1",
        "--max-connections-per-ip",
        "1",
        "--log-level",
        "debug",
    ]);
    let connect = async |value: &str| {
        let headers = [("X-Forwarded-For", value)];
        Client::connect_with(server.address(), "/ws", &headers).await
    };
    let _one = connect("192.0.2.1").await;
    let _two = connect("198.51.100.7, 192.0.2.2:4711").await;
    let _odd = connect("198.51.100.7, nonsense").await;

    let listed = Request::get("/api/v1/connections")
        .send(&server)
        .await
        .json();
    let addresses = listed["connections"]
        .as_array()
        .expect("connections")
        .iter();
    let addresses: Vec<&str> = addresses
        .filter_map(|c| c["remote_addr"].as_str())
        .collect();
    assert_eq!(addresses[..2], ["192.0.2.1:0", "192.0.2.2:4711"]);
    assert!(addresses[2].starts_with("127.0.0.1:"), "{addresses:?}");

    let again = stoat_tests::Raw::handshake(&server, "/ws", "X-Forwarded-For: 192.0.2.1\r\n");
    let connection = stoat_tests::Connection::open(server.address()).await;
    let (_, response) = stoat_tests::Raw::upgrade(connection, &again).await;
    response.problem(429);
    eventually("the address in the log", async || {
        server.log().contains("192.0.2.1:0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let server = Server::start(&["--trusted-proxies", "10.0.0.0/8"]);
    let headers = [("X-Forwarded-For", "192.0.2.1")];
    let _client = Client::connect_with(server.address(), "/ws", &headers).await;
    let listed = Request::get("/api/v1/connections")
        .send(&server)
        .await
        .json();
    let address = listed["connections"][0]["remote_addr"].as_str();
    assert!(
        address.is_some_and(|a| a.starts_with("127.0.0.1:")),
        "{listed}"
    );
}
