//! What the rounds of the fan-out tell those who watch them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};

use stoat_ws_hub::{ConnectionManager, Round};
use support::{Client, numbered, serve, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_task_has_each_event_in_one_round_and_all_connections_are_counted() {
    const EVENTS: u64 = 200;
    let rounds: Arc<Mutex<Vec<Round>>> = Arc::default();
    let hub = ConnectionManager::in_memory();
    let kept = Arc::clone(&rounds);
    hub.observe_rounds(move |round| kept.lock().unwrap().push(*round));
    hub.observe_rounds(|_| unreachable!("only the first is called"));
    let address = serve(&hub).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(address, "").await);
    }
    // Who sees an event has its place in a row from then on.
    hub.broadcast(numbered(0)).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.number().await, 0);
    }

    for n in 1..EVENTS {
        hub.broadcast(numbered(n)).await.unwrap();
    }

    let of_row = |row| {
        let mut rounds = rounds.lock().unwrap().clone();
        rounds.retain(|round| round.row == row);
        rounds
    };
    let mut last = 0;
    for row in 0..3 {
        until(|| of_row(row).last().is_some_and(|round| round.to == EVENTS)).await;
        let rounds = of_row(row);
        assert!(rounds.iter().all(|round| round.rows == 3), "{rounds:?}");
        for pair in rounds.windows(2) {
            assert_eq!(pair[1].after, pair[0].to, "{pair:?}");
            assert!(pair[1].started >= pair[0].ended, "{pair:?}");
        }
        last += rounds.last().unwrap().offered;
    }
    assert_eq!(last, 5);
}
