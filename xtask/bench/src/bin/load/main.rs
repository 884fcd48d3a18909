//! The load generator: one publisher, many WebSocket clients, one thread; prints one JSON object.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks through its two streams"
)]

mod client;
mod ledger;
mod publisher;
mod swarm;

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Command, ExitCode};
use std::time::Duration;

use client::State;
use serde_json::{Map, Value, json};
use stoat_bench::arguments::Arguments;
use stoat_bench::histogram::Histogram;
use stoat_bench::machine::{self, Cpu};
use stoat_bench::marker::Template;
use stoat_bench::process::{self, Server};
use swarm::Swarm;

const USAGE: &str = "\
usage: load --port P [OPTIONS] -- SERVER [ARGUMENTS]

Starts the server, opens WebSocket clients on it, publishes, and prints what came of it.

  --port P            where the server listens on 127.0.0.1
  --ws PATH           the path of its WebSocket [/ws]
  --publish PATH      the path of its publish URL [/publish]
  --body TEXT         what is published, with {FB} for the marker
  --size BYTES        the length of the published body [256]
  --clients N         [1000]
  --rate R            publish R events per second
  --flat --window W   publish as long as fewer than W events are on their way [64]
  --secs T            measure for T seconds [5]
  --warmup T          after T seconds [1]
  --server-core C     keep the server on this core
  --core C            keep the load generator on this core
";
const FLAGS: &[&str] = &["--flat", "--launch", "--help"];
const VALUES: &[&str] = &[
    "--port",
    "--ws",
    "--publish",
    "--body",
    "--size",
    "--clients",
    "--rate",
    "--window",
    "--secs",
    "--warmup",
    "--server-core",
    "--core",
];
const BODY: &str = r#"{"type":"bench","payload":{"m":"{FB}"}}"#;
const SECOND: f64 = 1e9;

type Object = Map<String, Value>;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1), FLAGS, VALUES) {
        Ok(arguments) if arguments.has("--help") || arguments.command.is_empty() => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("load: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcome = if arguments.has("--launch") {
        launch(&arguments)
    } else {
        run(&arguments).map(|figures| println!("{}", Value::Object(figures)))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What this program does as the child that becomes the server.
fn launch(arguments: &Arguments) -> Result<(), String> {
    if let Some(core) = arguments.number("--server-core")? {
        process::pin(core).map_err(|error| format!("core {core}: {error}"))?;
    }
    let error = process::become_program(&arguments.command);
    Err(format!("{}: {error}", arguments.command.join(" ")))
}

fn run(arguments: &Arguments) -> Result<Object, String> {
    let port = arguments.number("--port")?.ok_or("--port is missing")?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let clients = arguments.number("--clients")?.unwrap_or(1000);
    let size = arguments.number("--size")?.unwrap_or(256);
    let body = arguments.text("--body").unwrap_or(BODY);
    let run = format!("{:04x}", std::process::id() & 0xFFFF).into_bytes();
    let run = run.try_into().map_err(|_| "no run")?;
    let template = Template::new(body, size, run)?;

    process::raise_descriptor_limit().map_err(|error| error.to_string())?;
    // Timers of the kernel may be late by 50 us otherwise; the publisher would be, too.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let server = start(arguments, address)?;
    if let Some(core) = arguments.number("--core")? {
        process::pin(core).map_err(|error| format!("core {core}: {error}"))?;
    }
    let mut swarm = Swarm::new(address, arguments.text("--ws").unwrap_or("/ws"), template)?;
    let mut figures = Object::new();
    connect(&mut swarm, clients, server.id(), &mut figures)?;

    let rate: Option<f64> = arguments.number("--rate")?;
    let window: usize = arguments.number("--window")?.unwrap_or(64);
    let load = match (rate, arguments.has("--flat")) {
        (Some(rate), false) if rate > 0.0 => Load::Rate(rate),
        (None, true) if window > 0 => Load::Flat(window),
        (None, false) => return Ok(figures),
        _ => return Err("either --rate or --flat with a window".to_owned()),
    };
    let secs = arguments.number("--secs")?.unwrap_or(5.0);
    let warmup = arguments.number("--warmup")?.unwrap_or(1.0);
    swarm.connect_publisher(arguments.text("--publish").unwrap_or("/publish"))?;
    rest(&mut swarm, 0.2)?;
    let times = (warmup * SECOND, secs * SECOND);
    measure(&mut swarm, &load, times, server.id(), &mut figures)?;
    account(&swarm, &mut figures);
    Ok(figures)
}

enum Load {
    Rate(f64),
    Flat(usize),
}

/// Starts the server and waits until it listens.
fn start(arguments: &Arguments, address: SocketAddrV4) -> Result<Server, String> {
    if TcpStream::connect(address).is_ok() {
        return Err(format!("{address} is taken"));
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg("--launch");
    if let Some(core) = arguments.text("--server-core") {
        command.args(["--server-core", core]);
    }
    command.arg("--").args(&arguments.command);
    let mut server = Server::start(&mut command).map_err(|error| error.to_string())?;
    for _ in 0..1000 {
        if TcpStream::connect(address).is_ok() {
            // Threads that it starts late are part of its idle state.
            std::thread::sleep(Duration::from_millis(300));
            return Ok(server);
        }
        if server.has_ended() {
            return Err("the server ended at once".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the server does not listen".to_owned())
}

fn connect(
    swarm: &mut Swarm,
    clients: usize,
    server: u32,
    figures: &mut Object,
) -> Result<(), String> {
    let memory = machine::resident(server);
    let cpu = Cpu::of(server);
    let took = swarm.connect(clients)?;
    let cpu = Cpu::of(server).since(&cpu);
    rest(swarm, 0.5)?;
    let open = swarm.open;
    if open < clients {
        return Err(format!("only {open} of {clients} clients are open"));
    }
    let each = |total: f64| total / open.max(1) as f64;
    let now = machine::resident(server);
    put(figures, "clients", json!(open));
    put(
        figures,
        "connects_per_s",
        json!(open as f64 / took.as_secs_f64()),
    );
    put(figures, "cpu_us_per_connect", json!(each(cpu as f64 / 1e3)));
    put(figures, "rss_idle", json!(memory));
    put(figures, "rss_connected", json!(now));
    put(
        figures,
        "rss_per_client",
        json!(each(now as f64 - memory as f64)),
    );
    Ok(())
}

/// Warms up, measures, and waits for what is still on its way.
fn measure(
    swarm: &mut Swarm,
    load: &Load,
    (warmup, length): (f64, f64),
    server: u32,
    figures: &mut Object,
) -> Result<(), String> {
    let mut late = Histogram::default();
    let mut due = swarm.now() + 1_000_000;
    let begin = due + warmup as u64;
    let end = begin + length as u64;
    drive(swarm, load, &mut due, begin, &mut late)?;

    swarm.ledger.measured_from = swarm.ledger.next;
    let (deliveries, frames, reads) = (
        swarm.counts.deliveries,
        swarm.counts.frames,
        swarm.counts.reads,
    );
    let own = Cpu::of(std::process::id());
    let (from, cpu) = (swarm.now(), Cpu::of(server));
    drive(swarm, load, &mut due, end, &mut late)?;
    let (cpu, to) = (Cpu::of(server).since(&cpu), swarm.now());
    let own = Cpu::of(std::process::id()).since(&own);
    let published = swarm.ledger.next - swarm.ledger.measured_from;
    let deliveries = swarm.counts.deliveries - deliveries;
    let frames = (swarm.counts.frames - frames) as f64;
    let reads = (swarm.counts.reads - reads).max(1) as f64;
    drain(swarm)?;

    let time = (to - from) as f64;
    let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / deliveries.max(1) as f64;
    put(figures, "secs", json!(time / SECOND));
    put(
        figures,
        "publishes_per_s",
        json!(published as f64 * SECOND / time),
    );
    put(
        figures,
        "deliveries_per_s",
        json!(deliveries as f64 * SECOND / time),
    );
    put(figures, "cpu_us_per_delivery", json!(each(cpu)));
    put(figures, "server_cpu_share", json!(cpu as f64 / time));
    put(figures, "load_cpu_share", json!(own as f64 / time));
    put(figures, "frames_per_read", json!(frames / reads));
    quantiles(figures, "delivery", &swarm.ledger.delivery);
    quantiles(figures, "last", &swarm.ledger.last);
    if let Some(publisher) = &swarm.publisher {
        quantiles(figures, "answer", &publisher.answer);
    }
    if !late.is_empty() {
        quantiles(figures, "publish_late", &late);
    }
    put(figures, "rss_end", json!(machine::resident(server)));
    Ok(())
}

/// Publishes until a time.
fn drive(
    swarm: &mut Swarm,
    load: &Load,
    due: &mut u64,
    end: u64,
    late: &mut Histogram,
) -> Result<(), String> {
    loop {
        let now = swarm.now();
        if now >= end {
            return Ok(());
        }
        match load {
            Load::Rate(rate) => {
                while *due <= now && *due < end {
                    late.record(now - *due);
                    swarm.publish(*due)?;
                    *due += (SECOND / rate) as u64;
                }
                swarm.poll(end.min(*due).min(now + 50_000_000))?;
            }
            Load::Flat(window) => {
                while swarm.ledger.open < *window {
                    let now = swarm.now();
                    swarm.publish(now)?;
                    if swarm.open == 0 {
                        return Err("all clients are gone".to_owned());
                    }
                }
                swarm.ledger.expire(now.saturating_sub(5_000_000_000));
                swarm.poll(end.min(now + 10_000_000))?;
            }
        }
    }
}

/// Waits for what is on its way: 3 s without any delivery, or 15 s in all, are the end of it.
fn drain(swarm: &mut Swarm) -> Result<(), String> {
    let start = swarm.now();
    let mut last = (swarm.counts.deliveries, start);
    while swarm.ledger.open > 0 {
        let now = swarm.now();
        swarm.poll(now + 20_000_000)?;
        if swarm.counts.deliveries != last.0 {
            last = (swarm.counts.deliveries, now);
        }
        if now - last.1 > 3_000_000_000 || now - start > 15_000_000_000 {
            break;
        }
    }
    // What comes once too often comes now.
    rest(swarm, 0.2)
}

fn rest(swarm: &mut Swarm, secs: f64) -> Result<(), String> {
    let end = swarm.now() + (secs * SECOND) as u64;
    while swarm.now() < end {
        swarm.poll(end)?;
    }
    Ok(())
}

/// Every client should have got every event once.
fn account(swarm: &Swarm, figures: &mut Object) {
    let published = swarm.ledger.next;
    let missing = |closed: bool| -> u64 {
        let clients = swarm.clients.iter();
        clients
            .filter(|client| (client.state == State::Closed) == closed)
            .map(|client| published - client.got.count)
            .sum()
    };
    let counts = &swarm.counts;
    let (accepted, refused) = swarm
        .publisher
        .as_ref()
        .map_or((0, 0), |publisher| (publisher.accepted, publisher.refused));
    for (name, count) in [
        ("published", published),
        ("accepted", accepted),
        ("refused", refused),
        ("lost", missing(false)),
        ("lost_on_closed", missing(true)),
        ("duplicates", counts.again),
        ("out_of_order", counts.late),
        ("corrupt", counts.damaged),
        ("foreign", counts.foreign),
        ("other_messages", counts.other),
        ("closed_by_server", counts.closed),
        ("protocol_errors", counts.broken),
        ("expired", swarm.ledger.expired),
    ] {
        put(figures, name, json!(count));
    }
}

fn quantiles(figures: &mut Object, name: &str, histogram: &Histogram) {
    for (quantile, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let value = histogram.quantile(share) as f64 / 1e3;
        put(figures, &format!("{name}_{quantile}_us"), json!(value));
    }
    let largest = histogram.largest() as f64 / 1e3;
    put(figures, &format!("{name}_max_us"), json!(largest));
}

fn put(figures: &mut Object, name: &str, value: Value) {
    figures.insert(name.to_owned(), value);
}
