//! What the log adds to JetStream: acknowledged publishes a second, beside a bare publisher.
//!
//! `cargo bench -p stoat-log-nats` starts a `nats-server` of its own, and lets both take turns:
//! each of 1 and of 64 publishers waits for its answer before it sends the next event. Where there
//! is no `nats-server` it says so, and measures nothing.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use stoat_events::{Event, EventLog, EventType};
use stoat_log_nats::{NatsLog, Servers};

const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

fn main() {
    // `cargo test` only wants to see that it works.
    let is_test = !std::env::args().any(|arg| arg == "--bench");
    let (rounds, time) = match is_test {
        true => (1, Duration::from_millis(50)),
        false => (5, Duration::from_secs(2)),
    };
    let Some(server) = Server::start() else {
        println!("skipped: there is no nats-server");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(compare(&server.url, rounds, time));
}

async fn compare(url: &str, rounds: usize, time: Duration) {
    let servers = Servers::parse(url).expect("an address");
    let log = Arc::new(NatsLog::builder(servers).open().expect("a log"));
    log.opened().await.expect("an open log");
    // The log has waited until the server answers.
    let client = async_nats::connect(url).await.expect("a connection");
    let context = jetstream::new(client);
    context
        .create_stream(jetstream::stream::Config {
            name: "bare".to_owned(),
            subjects: vec!["bare.>".to_owned()],
            ..Default::default()
        })
        .await
        .expect("a stream");

    println!("publishers  what  events/s  p50 ms  p99 ms   (medians of {rounds} rounds)");
    for publishers in [1, 64] {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let context = context.clone();
            let publish = move || {
                let context = context.clone();
                async move {
                    let body = body().payload_json().to_owned();
                    let mut headers = async_nats::HeaderMap::new();
                    headers.insert("Nats-Msg-Id", &*unique());
                    let sent = context.publish_with_headers("bare.event", headers, body.into());
                    sent.await.unwrap().await.unwrap();
                }
            };
            bare.push(measure(publishers, time, publish).await);
            let log = Arc::clone(&log);
            let publish = move || {
                let log = Arc::clone(&log);
                async move {
                    log.append(body().into()).await.unwrap();
                }
            };
            ours.push(measure(publishers, time, publish).await);
        }
        let (bare, ours) = (median(bare), median(ours));
        for (what, [rate, p50, p99]) in [("bare", bare), ("log ", ours)] {
            println!("{publishers:>10}  {what}  {rate:>8.0}  {p50:>6.2}  {p99:>6.2}");
        }
        println!("{:>10}  ratio {:>7.2}", "", ours[0] / bare[0]);
    }
}

/// An event of 256 bytes.
fn body() -> Event {
    let payload = serde_json::json!({ "filler": "x".repeat(242) });
    let builder = Event::builder(EventType::ScanStarted);
    builder.payload(&payload).unwrap().build()
}

fn unique() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("random numbers");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Events a second, and the time for one: the median and the 99th percentile, in ms.
async fn measure<F, P>(publishers: usize, time: Duration, publish: P) -> [f64; 3]
where
    F: Future<Output = ()> + Send,
    P: Fn() -> F + Clone + Send + 'static,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..publishers)
        .map(|_| {
            let publish = publish.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while start.elapsed() < time {
                    let start = Instant::now();
                    publish().await;
                    took.push(start.elapsed().as_secs_f64() * 1000.0);
                }
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let rate = all.len() as f64 / start.elapsed().as_secs_f64();
    all.sort_by(f64::total_cmp);
    [rate, all[all.len() / 2], all[all.len() * 99 / 100]]
}

/// The round whose rate is in the middle.
fn median(mut rounds: Vec<[f64; 3]>) -> [f64; 3] {
    rounds.sort_by(|a, b| a[0].total_cmp(&b[0]));
    rounds[rounds.len() / 2]
}

/// A NATS server; ends when dropped.
struct Server {
    url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        drop(listener);
        let spawn = |program: &str| {
            let mut command = Command::new(program);
            command.args(["-a", "127.0.0.1", "-js", "-p", &port.to_string(), "-sd"]);
            command.arg(folder.path()).stderr(Stdio::null());
            command.spawn().ok()
        };
        let child = PROGRAMS.into_iter().find_map(spawn)?;
        Some(Self {
            url: format!("nats://127.0.0.1:{port}"),
            child,
            _folder: folder,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
