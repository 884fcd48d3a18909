//! A server under everything at once, and an account of every event.

mod follower;
mod ledger;
mod nuisance;
mod publisher;
mod random;
mod reload;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::http::Request;
use crate::prometheus::Metrics;
use crate::raw::Raw;
use crate::relay::Relay;
use crate::server::Setup;
use crate::tls::Identity;
use crate::wait::eventually;
use ledger::{Ledger, Record};

const PUBLISHERS: u64 = 3;
const FOLLOWERS: u64 = 24;
const NUISANCES: u64 = 16;

/// What the log and a bad moment of the allocator may leave behind.
const MEMORY_LEFT: f64 = (32 << 20) as f64;

/// Short deadlines, so that all of them come. The log is long enough that only a client that
/// does not read falls behind it.
const SETTINGS: &[&str] = &[
    "--ws-heartbeat-interval",
    "500ms",
    "--ws-ping-interval",
    "1s",
    "--ws-pong-timeout",
    "10s",
    "--ws-write-timeout",
    "2s",
    "--idempotency-ttl",
    "5s",
    "--ws-replay-buffer-size",
    "8000",
    "--ws-replay-ttl-seconds",
    "0",
    "--log-level",
    "error",
];

/// How the clients get to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Plain TCP.
    Tcp,
    /// TLS, with a certificate that is replaced again and again.
    Tls,
}

/// What all who take part share.
struct Scene {
    /// Where the clients connect to.
    address: SocketAddr,
    seed: u64,
    ledger: Ledger,
    publishing: watch::Sender<bool>,
    /// The last event of all, once it is known.
    ending: watch::Sender<Option<u64>>,
}

impl Scene {
    fn is_ending(&self) -> bool {
        !*self.publishing.borrow()
    }
}

/// Runs it for so long.
///
/// # Panics
/// Where an event was lost, repeated or out of order, or something is left behind.
pub async fn run(over: Over, duration: Duration, seed: u64) -> Report {
    let identity = Identity::new();
    let mut server = match over {
        // With two workers each has so many of the clients that they are sent large batches from
        // one copy.
        Over::Tcp => Setup::default()
            .env("TOKIO_WORKER_THREADS", "2")
            .args(SETTINGS)
            .args(["--handshake-timeout", "2s"])
            .start(),
        // On a busy machine a handshake of TLS may take that long.
        Over::Tls => identity.serve(&[SETTINGS, &["--handshake-timeout", "20s"]].concat()),
    };
    let relay = match over {
        Over::Tcp => None,
        Over::Tls => Some(Relay::start(server.address(), &identity.cert()).await),
    };
    let address = relay.as_ref().map_or(server.address(), Relay::address);
    // What the first connection brings stays for all that follow.
    drop(Raw::open_to(address, "/ws").await);
    let before = eventually("the first connection is gone", async || {
        let now = Footprint::of(address).await;
        (now.connected == 0.0).then_some(now)
    })
    .await;
    let scene = Arc::new(Scene {
        address,
        seed,
        ledger: Ledger::default(),
        publishing: watch::Sender::new(true),
        ending: watch::Sender::new(None),
    });

    let mut followers = JoinSet::new();
    let ready = Arc::new(AtomicUsize::new(0));
    for number in 0..FOLLOWERS {
        let ready = Arc::clone(&ready);
        let is_ready = move || {
            ready.fetch_add(1, Ordering::Relaxed);
        };
        followers.spawn(follower::follow(Arc::clone(&scene), number, is_ready));
    }
    // They begin before the first event, so that all are theirs.
    eventually("all followers are there", async || {
        (ready.load(Ordering::Relaxed) == FOLLOWERS as usize).then_some(())
    })
    .await;
    let mut others = JoinSet::new();
    for number in 0..PUBLISHERS {
        others.spawn(publisher::publish(Arc::clone(&scene), 1000 + number));
    }
    for number in 0..NUISANCES {
        others.spawn(nuisance::bother(Arc::clone(&scene), 2000 + number));
    }

    let mut reloads = 0;
    tokio::select! {
        () = sleep(duration) => {}
        () = reload::again_and_again(&server, &identity, relay.as_ref(), &mut reloads) => {}
        // Who ends early has panicked.
        Some(ended) = others.join_next() => drop(ended.expect("it goes on")),
        Some(ended) = followers.join_next() => drop(ended.expect("it goes on")),
    }
    scene.publishing.send_replace(false);
    let mut total = Tally {
        reloads,
        ..Tally::default()
    };
    while let Some(tally) = others.join_next().await {
        total.add(&tally.expect("it ends well"));
    }
    scene.ending.send_replace(Some(scene.ledger.last()));
    let mut records: Vec<Record> = Vec::new();
    while let Some(ended) = followers.join_next().await {
        let (record, tally) = ended.expect("it ends well");
        records.push(record);
        total.add(&tally);
    }
    for (number, record) in records.iter().enumerate() {
        scene.ledger.check(&format!("follower {number}"), record);
    }
    assert_eq!(scene.ledger.last(), total.acknowledged);

    let mut seen = String::new();
    let after = eventually("nothing is left behind", async || {
        let after = Footprint::of(address).await;
        if after.is_as_before(&before) {
            return Some(after);
        }
        if seen != after.to_string() {
            seen = after.to_string();
            eprintln!("before {before}\nnow    {after}");
        }
        None
    })
    .await;
    server.terminate();
    let status = server.exit().await;
    assert!(status.success(), "{status}");
    Report {
        over,
        seed,
        duration,
        total,
        before,
        after,
    }
}

/// What happened.
#[derive(Debug)]
pub struct Report {
    over: Over,
    seed: u64,
    duration: Duration,
    total: Tally,
    before: Footprint,
    after: Footprint,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            over,
            seed,
            duration,
            total,
            before,
            after,
        } = self;
        writeln!(f, "{duration:?} over {over:?} with seed {seed}")?;
        writeln!(f, "events acknowledged           {}", total.acknowledged)?;
        writeln!(
            f,
            "publishes cut and repeated    {}",
            total.repeated_publishes
        )?;
        writeln!(f, "events delivered to followers {}", total.delivered)?;
        writeln!(f, "  lost, repeated, out of order, unasked for: 0")?;
        writeln!(
            f,
            "followers' resumes            {} ({} after a reset, {} after a Close, {} dropped)",
            total.resumes, total.resets, total.closes, total.dropped
        )?;
        writeln!(f, "changes of subscription       {}", total.subscriptions)?;
        writeln!(
            f,
            "clients that misbehaved       {} ({} gaps announced to slow ones)",
            total.nuisances, total.lagged
        )?;
        writeln!(f, "certificates replaced         {}", total.reloads)?;
        writeln!(f, "before {before}")?;
        write!(f, "after  {after}")
    }
}

/// How often something happened.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    repeated_publishes: u64,
    delivered: u64,
    resumes: u64,
    resets: u64,
    closes: u64,
    dropped: u64,
    subscriptions: u64,
    nuisances: u64,
    lagged: u64,
    reloads: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.repeated_publishes += other.repeated_publishes;
        self.delivered += other.delivered;
        self.resumes += other.resumes;
        self.resets += other.resets;
        self.closes += other.closes;
        self.dropped += other.dropped;
        self.subscriptions += other.subscriptions;
        self.nuisances += other.nuisances;
        self.lagged += other.lagged;
        self.reloads += other.reloads;
    }
}

/// What the server holds.
#[derive(Debug)]
struct Footprint {
    connected: f64,
    slow: f64,
    descriptors: f64,
    memory: f64,
}

impl Footprint {
    async fn of(address: SocketAddr) -> Self {
        let metrics = Request::get("/metrics").send_to(address).await;
        let metrics = Metrics::parse(&metrics.text());
        let value = |name| metrics.value(name, &[]).unwrap_or_else(|| panic!("{name}"));
        Self {
            connected: value("stoat_ws_connected_clients"),
            slow: value("stoat_ws_slow_clients"),
            descriptors: value("process_open_fds"),
            memory: value("process_resident_memory_bytes"),
        }
    }

    fn is_as_before(&self, before: &Self) -> bool {
        self.connected == 0.0
            && self.slow == 0.0
            && self.descriptors <= before.descriptors
            && self.memory <= before.memory + MEMORY_LEFT
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connected,
            slow,
            descriptors,
            memory,
        } = self;
        let memory = memory / f64::from(1 << 20);
        write!(
            f,
            "connected {connected}, slow {slow}, descriptors {descriptors}, memory {memory:.1} MiB"
        )
    }
}
