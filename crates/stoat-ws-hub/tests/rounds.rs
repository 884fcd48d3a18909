//! What the rounds of the fan-out tell those who watch them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};

use stoat_events::{LogEntry, ReadLimit, ReadStatus};
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

/// A hub whose rounds are kept, clients that its fan-out serves, and how many events they had.
struct Watched {
    hub: ConnectionManager,
    rounds: Arc<Mutex<Vec<Round>>>,
    clients: Vec<Client>,
    published: u64,
}

impl Watched {
    async fn with(clients: usize) -> Self {
        let rounds: Arc<Mutex<Vec<Round>>> = Arc::default();
        let hub = ConnectionManager::in_memory();
        let kept = Arc::clone(&rounds);
        hub.observe_rounds(move |round| kept.lock().unwrap().push(*round));
        let address = serve(&hub).await;
        let mut watched = Self {
            hub,
            rounds,
            clients: Vec::new(),
            published: 0,
        };
        for _ in 0..clients {
            watched.clients.push(Client::connect(address, "").await);
        }
        // Who has had an event leaves what comes to the fan-out.
        while watched.newest().is_none_or(|round| round.written.is_none()) {
            watched.publish().await;
            for client in &mut watched.clients {
                client.number().await;
            }
            until(|| {
                watched
                    .newest()
                    .is_none_or(|round| round.to == watched.published)
            })
            .await;
        }
        watched.rounds.lock().unwrap().clear();
        watched
    }

    async fn publish(&mut self) {
        self.hub.broadcast(numbered(self.published)).await.unwrap();
        self.published += 1;
    }

    /// The rounds since the beginning, once there is one with the newest event.
    async fn rounds(&self) -> Vec<Round> {
        until(|| {
            self.newest()
                .is_some_and(|round| round.to == self.published)
        })
        .await;
        self.rounds.lock().unwrap().clone()
    }

    fn newest(&self) -> Option<Round> {
        self.rounds.lock().unwrap().last().copied()
    }

    /// How old each event of a round was at its last write, in seconds.
    fn ages(&self, round: &Round) -> Vec<f64> {
        let at = round.written.unwrap();
        assert!(round.started <= at && at <= round.ended, "{round:?}");
        let limit = ReadLimit {
            events: usize::try_from(round.to - round.after).unwrap(),
            bytes: usize::MAX,
        };
        let mut entries = Vec::new();
        let read = self.hub.log().read(round.after, limit, &mut entries);
        assert_eq!(read, ReadStatus::Read);
        let age = |entry: &LogEntry| at.duration_since(entry.accepted_at()).as_secs_f64();
        entries.iter().map(age).collect()
    }
}

#[tokio::test]
async fn a_round_tells_the_age_at_which_its_events_were_counted() {
    const EVENTS: u64 = 200;
    let mut watched = Watched::with(1).await;
    let before = watched.hub.stats().publish_to_socket;

    for n in 0..EVENTS {
        watched.publish().await;
        if n % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }

    let mut buckets = vec![0; before.counts.len()];
    for round in watched.rounds().await {
        for age in watched.ages(&round) {
            buckets[before.bounds.partition_point(|bound| *bound < age)] += 1;
        }
    }
    let after = watched.hub.stats().publish_to_socket;
    let counted = after.counts.iter().zip(&before.counts);
    assert_eq!(buckets, counted.map(|(a, b)| a - b).collect::<Vec<_>>());
    assert_eq!(buckets.iter().sum::<u64>(), EVENTS);
}

#[tokio::test]
async fn of_all_writes_of_a_round_it_tells_the_last() {
    const CLIENTS: usize = 20;
    let mut watched = Watched::with(CLIENTS).await;
    let before = watched.hub.stats().publish_to_socket;

    watched.publish().await;

    let [round] = watched.rounds().await[..] else {
        panic!("one event has one round");
    };
    let [last] = watched.ages(&round)[..] else {
        panic!("{round:?}");
    };
    let after = watched.hub.stats().publish_to_socket;
    // The clock is read for some of them at a time, so most had it earlier.
    let mean = (after.sum - before.sum) / CLIENTS as f64;
    assert!(0.0 < mean && mean < last, "{mean} {last}");
    let count = |counts: &[u64]| counts.iter().sum::<u64>();
    assert_eq!(count(&after.counts) - count(&before.counts), CLIENTS as u64);
}
