//! Much at once for many clients, which the kernel is given once for all of them.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test")]

use serde_json::json;
use stoat_tests::{Client, Event, Raw, Request, Server, Setup};

const READERS: usize = 20;
/// Who read late, and take a part at a time.
const NARROW: usize = 4;
const BATCHES: u64 = 10;
const EVENTS: u64 = 40;

/// All clients with one worker, so that they are served together on any machine.
fn setup() -> Setup {
    Setup::default().env("TOKIO_WORKER_THREADS", "1")
}

/// The last event is as large as a batch itself.
async fn publish_all(server: &Server) -> u64 {
    let event = |n: u64, size: usize| {
        let payload = json!({"n": n, "filler": "x".repeat(size)});
        json!({"type": "a", "payload": payload}).to_string()
    };
    for batch in 0..BATCHES {
        let from = batch * EVENTS;
        let lines: Vec<_> = (from..from + EVENTS).map(|n| event(n, 2_000)).collect();
        let sent = Request::publish_lines(lines.join("\n")).send(server).await;
        assert_eq!(sent.status, 201, "{}", sent.text());
    }
    server.publish(&event(BATCHES * EVENTS, 40_000)).await;
    BATCHES * EVENTS + 1
}

async fn everyone_gets_everything(server: &Server) {
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(server.client().await);
    }
    let mut narrow = Vec::new();
    for _ in 0..NARROW {
        narrow.push(Raw::open_narrow(server, "/ws").await);
    }
    server.connected(READERS + NARROW).await;
    let count = publish_all(server).await;
    for reader in &mut readers {
        numbers(reader, count).await;
    }
    for client in &mut narrow {
        for n in 0..count {
            let frame = client.frame().await.expect("an open connection");
            assert_eq!(Event::parse(frame.text()).n(), n);
        }
    }
    server.connected(READERS + NARROW).await;
}

async fn numbers(client: &mut Client, count: u64) {
    for n in 0..count {
        assert_eq!(client.event().await.n(), n);
    }
}

#[tokio::test]
async fn it_reaches_everyone_in_order_also_those_who_take_a_part_at_a_time() {
    everyone_gets_everything(&setup().start()).await;
}

#[tokio::test]
async fn a_server_that_may_write_no_files_sends_it_in_the_usual_way() {
    let mut server = setup().under(["prlimit", "--fsize=0"]).start();
    everyone_gets_everything(&server).await;
    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
}
