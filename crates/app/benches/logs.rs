//! Acknowledged publishes of each log, beside the bare engine that it is built on.
//!
//! `cargo xtask bench-logs` runs it; without arguments all is run once, briefly, and nothing judged.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use redb::{Database, TableDefinition};
use stoat_events::{Event, EventLog, EventType, MemoryLog, build_event};
use stoat_log_disk::DiskLog;
use stoat_log_nats::{NatsLog, Servers};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Publishers at a time; each waits for its answer before it publishes again.
const PUBLISHERS: [usize; 2] = [1, 64];
/// The length of a payload in bytes, and of the whole event in a bare engine.
const PAYLOAD: usize = 256;
const EVENT: usize = 393;

/// What publishes are acknowledged by.
struct Row {
    name: &'static str,
    /// The row that it is compared with.
    beside: Option<&'static str>,
    /// Nothing where the machine lacks a server for it.
    open: fn(&Path) -> Option<Opened>,
}

/// An engine, and the broker where there is one.
type Opened = (Option<Broker>, Engine);

enum Engine {
    Log(Arc<dyn EventLog>),
    JetStream(Box<jetstream::Context>),
    /// A writer that takes what waits, and commits it with one sync.
    Redb(mpsc::Sender<oneshot::Sender<()>>),
}

const ROWS: &[Row] = &[
    Row {
        name: "memory",
        beside: None,
        open: |_| Some((None, Engine::Log(Arc::new(MemoryLog::default())))),
    },
    Row {
        name: "disk",
        beside: Some("bare redb"),
        open: |dir| Some((None, Engine::Log(Arc::new(DiskLog::open(dir).unwrap())))),
    },
    Row {
        name: "bare redb",
        beside: None,
        open: |dir| Some((None, Engine::Redb(bare_redb(dir)))),
    },
    Row {
        name: "JetStream",
        beside: Some("bare JetStream"),
        open: |dir| {
            let broker = Broker::start(dir)?;
            let servers = Servers::parse(&broker.url).expect("an address");
            let log = Arc::new(NatsLog::builder(servers).open().expect("a log"));
            Handle::current().block_on(log.opened()).expect("a stream");
            Some((Some(broker), Engine::Log(log)))
        },
    },
    Row {
        name: "bare JetStream",
        beside: None,
        open: |dir| {
            let broker = Broker::start(dir)?;
            let context = Handle::current().block_on(bare_stream(&broker.url));
            Some((Some(broker), Engine::JetStream(Box::new(context))))
        },
    },
];

/// The figures of one run.
#[derive(Clone, Copy)]
struct Run {
    per_second: f64,
    p50: f64,
    p99: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    // Cargo says so where it is to measure.
    let measures = args.iter().any(|arg| arg == "--bench");
    let runs = number("--runs").unwrap_or(if measures { 5.0 } else { 1.0 }) as usize;
    let secs = number("--secs").unwrap_or(if measures { 2.0 } else { 0.05 });

    let mut results = vec![[const { Vec::new() }; PUBLISHERS.len()]; ROWS.len()];
    for round in 0..runs {
        for place in 0..ROWS.len() {
            // Another one begins each round.
            let at = (place + round) % ROWS.len();
            for (column, publishers) in PUBLISHERS.into_iter().enumerate() {
                let run = run(&ROWS[at], publishers, Duration::from_secs_f64(secs));
                results[at][column].extend(run);
            }
        }
    }
    let page = page(&results, runs, secs);
    println!("{page}");
    if args.iter().any(|arg| arg == "--write") {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        std::fs::write(docs.join("benchmarks-logs.md"), page).expect("the page");
    }
}

fn run(row: &Row, publishers: usize, time: Duration) -> Option<Run> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    // The broker outlives what is connected to it.
    let (_broker, engine) = (row.open)(dir.path())?;
    let engine = Arc::new(engine);
    let begun = Instant::now();
    let warm = begun + time / 4;
    let end = warm + time;
    let tasks: Vec<_> = (0..publishers)
        .map(|_| runtime.spawn(publisher(Arc::clone(&engine), warm, end)))
        .collect();
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        took.extend(runtime.block_on(task).expect("a publisher"));
    }
    took.sort_unstable();
    let quantile = |share: f64| {
        let at = (took.len() as f64 * share) as usize;
        took.get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    Some(Run {
        per_second: took.len() as f64 / time.as_secs_f64(),
        p50: quantile(0.5),
        p99: quantile(0.99),
    })
}

/// Publishes one event after the other; returns how long each took that was begun in between.
async fn publisher(engine: Arc<Engine>, warm: Instant, end: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    loop {
        let begun = Instant::now();
        if begun >= end {
            return took;
        }
        engine.publish().await;
        if begun >= warm {
            took.push(begun.elapsed());
        }
    }
}

impl Engine {
    async fn publish(&self) {
        match self {
            Self::Log(log) => drop(log.append(event().into()).await.expect("an answer")),
            Self::JetStream(context) => {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Nats-Msg-Id", &*uuid::Uuid::new_v4().to_string());
                let body = vec![b'x'; EVENT].into();
                let sent = context.publish_with_headers("bare.event", headers, body);
                sent.await.expect("a connection").await.expect("an answer");
            }
            Self::Redb(writer) => {
                let (done, answer) = oneshot::channel();
                writer.send(done).expect("a writer");
                answer.await.expect("an answer");
            }
        }
    }
}

fn event() -> Event {
    let payload = serde_json::json!({ "text": "x".repeat(PAYLOAD - 11) });
    build_event(EventType::ScanStarted, &payload, None).expect("an event")
}

async fn bare_stream(url: &str) -> jetstream::Context {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let client = options.connect(url).await.expect("a connection");
    let context = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: "bare".to_owned(),
        subjects: vec!["bare.>".to_owned()],
        ..Default::default()
    };
    while context.create_stream(config.clone()).await.is_err() {
        // It is still starting.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    context
}

/// A NATS server; ends when dropped.
struct Broker {
    url: String,
    child: Child,
}

impl Broker {
    fn start(dir: &Path) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        drop(listener);
        let spawn = |program: &str| {
            let mut command = Command::new(program);
            command.args(["-a", "127.0.0.1", "-js", "-p", &port.to_string(), "-sd"]);
            command.arg(dir).stderr(Stdio::null());
            command.spawn().ok()
        };
        // Debian puts it where not every user looks.
        let child = ["nats-server", "/usr/sbin/nats-server"]
            .into_iter()
            .find_map(spawn)?;
        Some(Self {
            url: format!("nats://127.0.0.1:{port}"),
            child,
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bare_redb(dir: &Path) -> mpsc::Sender<oneshot::Sender<()>> {
    const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
    let database = Database::create(dir.join("bare.redb")).expect("a store");
    let (sender, jobs) = mpsc::channel::<oneshot::Sender<()>>();
    thread::spawn(move || {
        let event = [b'x'; EVENT];
        let mut sequence = 0_u64;
        while let Ok(first) = jobs.recv() {
            let mut waiting = vec![first];
            waiting.extend(jobs.try_iter());
            let transaction = database.begin_write().expect("a transaction");
            let mut events = transaction.open_table(EVENTS).expect("a table");
            for _ in &waiting {
                sequence += 1;
                events.insert(sequence, &event[..]).expect("room");
            }
            drop(events);
            transaction.commit().expect("a sync");
            for done in waiting {
                // A publisher may be gone at the end.
                let _ = done.send(());
            }
        }
    });
    sender
}

fn page(results: &[[Vec<Run>; PUBLISHERS.len()]], runs: usize, secs: f64) -> String {
    let mut page = format!(
        "# What an acknowledged publish costs

Written by `cargo xtask bench-logs --runs {runs} --secs {secs} --write`; every figure below comes from
that run. Each publisher waits for its answer before it publishes again; payloads of {PAYLOAD} bytes,
without HTTP. All rows take turns in each of the {runs} rounds, {secs} s each. A cell is the median
(smallest to largest) and its ratio to the bare engine, which is given {EVENT} bytes per event and
does nothing else: no IDs, no retention, no idempotency, no readers. JetStream answers before its file
is synced.

"
    );
    for (column, publishers) in PUBLISHERS.into_iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "## {publishers} at a time\n\n| | publishes per second | p50, ms | p99, ms |\n|---|---|---|---|"
        );
        for (row, runs) in ROWS.iter().zip(results) {
            if runs[column].is_empty() {
                continue;
            }
            let beside = ROWS.iter().position(|other| Some(other.name) == row.beside);
            let cell = |of: fn(&Run) -> f64, decimals: usize| {
                let own = Spread::of(&runs[column], of);
                let ratio =
                    beside.map(|at| own.median / Spread::of(&results[at][column], of).median);
                let ratio = ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} ×"));
                let Spread {
                    median,
                    least,
                    most,
                } = own;
                format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$}){ratio}")
            };
            let (rate, p50, p99) = (
                cell(|r| r.per_second, 0),
                cell(|r| r.p50, 2),
                cell(|r| r.p99, 2),
            );
            let _ = writeln!(page, "| {} | {rate} | {p50} | {p99} |", row.name);
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page + "\n"
}

struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(runs: &[Run], of: fn(&Run) -> f64) -> Self {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: f64::midpoint(at(values.len() / 2), at(values.len().saturating_sub(1) / 2)),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }
}
