//! What happens to the servers of a cluster when their broker does not do what it should.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stoat_tests::cluster::{Publishers, Reader, check, history};
use stoat_tests::{AckEater, Client, Nats, NatsCluster, Proxy, Request, Server, Setup, eventually};

/// All is well again so soon after the broker came back.
const RECOVERY: Duration = Duration::from_secs(10);
/// The servers answer within five seconds; a slow machine needs longer to take the answer.
const BOUND: Duration = Duration::from_secs(15);

fn node(url: &str, args: &[&str]) -> Server {
    Setup::default()
        .args(["--nats-url", url])
        .args(args)
        .start()
}

async fn becomes_ready(server: &Server) {
    eventually("it is ready", async || {
        let ready = Request::get("/health/ready").send(server).await;
        (ready.status == 200).then_some(())
    })
    .await;
}

async fn becomes_unready(server: &Server) {
    let reason = eventually("it is not ready", async || {
        let ready = Request::get("/health/ready").send(server).await;
        (ready.status == 503).then(|| ready.json()["checks"]["broker"].clone())
    })
    .await;
    assert_ne!(reason, "ok");
}

/// A reader of each server, which stays there.
async fn one_each(addresses: &[SocketAddr]) -> Vec<Reader> {
    let mut readers = Vec::new();
    for address in addresses.chunks(1) {
        readers.push(Reader::start(address).await);
    }
    readers
}

/// Ends the publishers, none of which waited too long, and holds what the readers saw against
/// the log of a server.
async fn finish(publishers: Publishers, readers: Vec<Reader>, server: &Server) {
    let (publishers, longest) = publishers.stop().await;
    assert!(longest < BOUND, "{longest:?}");
    check(&publishers, readers, server.address()).await;
}

/// Reads on until the server tells of its readiness.
async fn status(client: &mut Client) -> String {
    loop {
        let event = client.event().await;
        if event.event_type == "health_status" {
            return event.value()["status"]
                .as_str()
                .expect("a status")
                .to_owned();
        }
    }
}

/// The broker takes 1 GB. The server asks again and again, and says once what is wrong.
#[tokio::test]
async fn a_broker_without_room_is_told_of_once_with_advice() {
    let nats = Nats::start().await;
    // Ready to serve after many attempts.
    let server = node(&nats.url(), &["--nats-max-bytes", "2GiB"]);
    becomes_unready(&server).await;
    let log = server.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("10047")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("less than 2147483648 bytes"), "{log}");
}

#[tokio::test]
async fn without_a_broker_a_server_starts_and_says_so() {
    let mut nats = Nats::stopped("");
    let server = node(&nats.url(), &["--nats-timeout", "1s"]);
    becomes_unready(&server).await;
    let live = Request::get("/health/live").send(&server).await;
    assert_eq!(live.status, 200);
    let start = Instant::now();
    let refused = Request::publish(r#"{"type":"a"}"#).send(&server).await;
    assert_eq!(
        refused.problem(503)["type"],
        "urn:stoat:problem:unavailable"
    );
    assert!(refused.header("retry-after").is_some() && start.elapsed() < BOUND);
    for target in ["/api/v1/events", "/ws"] {
        let mut request = Request::get(target);
        if target == "/ws" {
            for (name, value) in [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ] {
                request = request.header(name, value);
            }
        }
        let refused = request.send(&server).await;
        assert_eq!(
            refused.problem(503)["type"],
            "urn:stoat:problem:log-not-ready"
        );
        assert!(refused.header("retry-after").is_some());
    }

    nats.run().await;
    let back = Instant::now();
    becomes_ready(&server).await;
    assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
    server.publish(r#"{"type":"a"}"#).await;
    // A log that was never seen otherwise has nothing of it; on a busy machine the broker may
    // be away once more.
    let events = history(server.address()).await;
    let first = events.first().expect("an event");
    assert!(
        first.event_type == "a" || first.payload.contains(r#""degraded""#),
        "{first:?}"
    );
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_loses_and_repeats_nothing() {
    let mut nats = Nats::start().await;
    let (one, two) = (node(&nats.url(), &[]), node(&nats.url(), &[]));
    let addresses = [one.address(), two.address()];
    let mut watcher = one.client().await;
    let readers = one_each(&addresses).await;
    let publishers = Publishers::start(&addresses, 4);
    for _ in 0..2 {
        publishers.acknowledge(200).await;
        nats.kill();
        publishers.refuse().await;
        becomes_unready(&one).await;
        assert_eq!(status(&mut watcher).await, "degraded");
        nats.run().await;
        let back = Instant::now();
        publishers.acknowledge(8).await;
        becomes_ready(&one).await;
        becomes_ready(&two).await;
        assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
        assert_eq!(status(&mut watcher).await, "ok");
    }
    finish(publishers, readers, &one).await;
}

#[tokio::test]
async fn a_broker_that_is_paused_loses_and_repeats_nothing() {
    let nats = Nats::start().await;
    let (one, two) = (node(&nats.url(), &[]), node(&nats.url(), &[]));
    let addresses = [one.address(), two.address()];
    let mut watcher = two.client().await;
    let readers = one_each(&addresses).await;
    let publishers = Publishers::start(&addresses, 2);
    publishers.acknowledge(100).await;
    nats.pause();
    let paused = Instant::now();
    becomes_unready(&one).await;
    assert_eq!(status(&mut watcher).await, "degraded");
    publishers.refuse().await;
    tokio::time::sleep(Duration::from_secs(30).saturating_sub(paused.elapsed())).await;
    nats.resume();
    let back = Instant::now();
    publishers.acknowledge(8).await;
    becomes_ready(&one).await;
    becomes_ready(&two).await;
    assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
    assert_eq!(status(&mut watcher).await, "ok");
    finish(publishers, readers, &two).await;
}

#[tokio::test]
async fn a_server_that_is_cut_off_catches_up() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let url = proxy.url().replace("http://", "nats://");
    let (one, two) = (node(&url, &[]), node(&nats.url(), &[]));
    let addresses = [one.address(), two.address()];
    let mut watcher = one.client().await;
    // The first is on the server that is cut off, and stays there.
    let readers = one_each(&addresses).await;
    let publishers = Publishers::start(&addresses, 3);
    for _ in 0..3 {
        publishers.acknowledge(100).await;
        proxy.switch(None);
        becomes_unready(&one).await;
        assert_eq!(status(&mut watcher).await, "degraded");
        let ready = Request::get("/health/ready").send(&two).await;
        assert_eq!(ready.status, 200);
        // The other goes on; its clients cannot resume here now, and are not told of a gap.
        let newest = two.publish(r#"{"type":"meanwhile"}"#).await;
        let resume = Request::get(&format!("/api/v1/events?after={newest}"));
        assert_eq!(resume.send(&one).await.status, 503);
        publishers.acknowledge(50).await;
        proxy.switch(Some(nats.address()));
        let back = Instant::now();
        becomes_ready(&one).await;
        assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
        assert_eq!(resume.send(&one).await.status, 200);
        assert_eq!(status(&mut watcher).await, "ok");
    }
    finish(publishers, readers, &two).await;
}

#[tokio::test]
async fn an_acknowledgement_that_is_swallowed_publishes_nothing_twice() {
    let nats = Nats::start().await;
    let eater = AckEater::start(nats.address()).await;
    let server = node(&eater.url(), &[]);
    let addresses = [server.address()];
    let readers = vec![Reader::start(&addresses).await];
    let publishers = Publishers::start(&addresses, 4);
    publishers.acknowledge(40).await;
    for count in [1, 5, 3] {
        eater.eat(count);
        eventually("they are swallowed", async || {
            (eater.appetite() == 0).then_some(())
        })
        .await;
        publishers.acknowledge(40).await;
    }
    // All of them, for longer than a publisher waits.
    eater.eat(usize::MAX);
    publishers.refuse().await;
    eater.eat(0);
    publishers.acknowledge(40).await;
    finish(publishers, readers, &server).await;
    let metrics = server.metrics().await;
    let unconfirmed = metrics.value("stoat_broker_unconfirmed_publishes_total", &[]);
    assert!(unconfirmed > Some(0.0), "{unconfirmed:?}");

    // Under a key the outcome can be found out.
    let request = Request::publish(r#"{"type":"a"}"#).header("Idempotency-Key", "k");
    eater.eat(usize::MAX);
    let unknown = request.send(&server).await;
    assert_eq!(
        unknown.problem(503)["type"],
        "urn:stoat:problem:outcome-unknown"
    );
    assert!(unknown.header("retry-after").is_some());
    eater.eat(0);
    let known = request.send(&server).await;
    assert_eq!(known.status, 201);
    assert_eq!(known.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn clients_of_a_server_that_is_killed_go_on_elsewhere() {
    let nats = Nats::start().await;
    let mut nodes: Vec<_> = (0..3).map(|_| Some(node(&nats.url(), &[]))).collect();
    let addresses: Vec<_> = nodes.iter().flatten().map(Server::address).collect();
    let mut readers = Vec::new();
    for n in 0..30 {
        let mut order = addresses.clone();
        order.rotate_left(n % 3);
        readers.push(Reader::start(&order).await);
    }
    // Some of them publish to a server that will be gone.
    let publishers = Publishers::start(&addresses, 4);
    for node in &mut nodes[..2] {
        publishers.acknowledge(300).await;
        *node = None;
    }
    publishers.acknowledge(300).await;
    let (publishers, _) = publishers.stop().await;
    check(&publishers, readers, addresses[2]).await;
}

#[tokio::test]
async fn leaders_that_are_killed_lose_and_repeat_nothing() {
    let mut nats = NatsCluster::start().await;
    let url = nats.url();
    let replicas = ["--nats-replicas", "3"];
    let (one, two) = (node(&url, &replicas), node(&url, &replicas));
    becomes_ready(&one).await;
    becomes_ready(&two).await;
    let addresses = [one.address(), two.address()];
    let readers = vec![
        Reader::start(&addresses).await,
        Reader::start(&addresses[1..]).await,
    ];
    let publishers = Publishers::start(&addresses, 3);
    for _ in 0..5 {
        publishers.acknowledge(50).await;
        let leader = nats.leader("stoat").await;
        nats.servers[leader].kill();
        // The two others go on without it.
        publishers.acknowledge(50).await;
        nats.servers[leader].run().await;
        let back = Instant::now();
        publishers.acknowledge(8).await;
        becomes_ready(&one).await;
        becomes_ready(&two).await;
        assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
    }
    finish(publishers, readers, &one).await;
}

#[tokio::test]
async fn what_a_server_can_never_see_is_a_gap() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let url = proxy.url().replace("http://", "nats://");
    let few = ["--nats-max-events", "50"];
    let (one, two) = (node(&url, &few), node(&nats.url(), &few));
    let mut client = one.client().await;
    one.publish(r#"{"type":"before"}"#).await;
    assert_eq!(client.event().await.event_type, "before");
    proxy.switch(None);
    becomes_unready(&one).await;
    assert_eq!(status(&mut client).await, "degraded");
    for n in 0..200 {
        two.publish(&format!(r#"{{"type":"a","payload":{{"n":{n}}}}}"#))
            .await;
    }
    proxy.switch(Some(nats.address()));
    let gap = client.event().await;
    assert_eq!(
        (&*gap.event_type, gap.value()["reason"].as_str()),
        ("gap", Some("lagged"))
    );
    for n in 150..200 {
        let event = client.event().await;
        assert_eq!((&*event.event_type, event.n()), ("a", n));
    }
    becomes_ready(&one).await;
}

#[tokio::test]
async fn a_stream_that_went_back_is_not_believed() {
    let mut nats = Nats::start().await;
    let server = node(&nats.url(), &[]);
    server.publish(r#"{"type":"kept"}"#).await;
    nats.kill();
    let saved = nats.saved();
    nats.run().await;
    becomes_ready(&server).await;
    let mut client = server.client().await;
    for _ in 0..3 {
        server.publish(r#"{"type":"lost"}"#).await;
    }
    nats.kill();
    nats.put_back(&saved);
    nats.run().await;
    let reason = eventually("it has noticed", async || {
        let ready = Request::get("/health/ready").send(&server).await;
        let reason = ready.json()["checks"]["broker"].as_str()?.to_owned();
        reason.contains("lost").then_some(reason)
    })
    .await;
    assert_eq!(
        reason,
        "the stream has lost messages that it had acknowledged"
    );
    let refused = Request::publish(r#"{"type":"other"}"#).send(&server).await;
    refused.problem(503);
    // What its clients have is what was published, and nothing else has come since.
    for _ in 0..3 {
        assert_eq!(client.event().await.event_type, "lost");
    }
    let mut types = Vec::new();
    for event in history(server.address()).await {
        if event.event_type != "health_status" {
            types.push(event.event_type);
        }
    }
    assert_eq!(types, ["kept", "lost", "lost", "lost"]);
}
