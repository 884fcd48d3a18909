//! The load generator: one publisher, many WebSocket clients, one thread; prints one JSON object.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks through its two streams"
)]

mod client;
mod course;
mod ledger;
mod publisher;
mod silent;
mod swarm;

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use course::{Course, Figures, Load};
use serde_json::Value;
use silent::{Sinks, Stuck};
use stoat_bench::arguments::Arguments;
use stoat_bench::marker::Template;
use stoat_bench::process::{self, Server};
use swarm::{Swarm, Topic};

const USAGE: &str = "\
usage: load --port P [OPTIONS] -- SERVER [ARGUMENTS]

Starts the server, opens WebSocket clients on it, publishes, and prints what came of it.

  --host A            the address that the server listens on [127.0.0.1]
  --port P            and its port
  --ws PATH           the path of its WebSocket [/ws]
  --publish PATH      the path of its publish URL [/publish]
  --body TEXT         what is published, with {FB} for the marker
  --size BYTES        the length of the published body [256]
  --finished          publish what stoat would make of it, for a server that only passes it on
  --clients N         [1000]
  --topics N          each client subscribes to one of N topics; the events go to each in turn
  --sinks N           so many more clients cost next to nothing: what they get is only counted
  --stuck N           so many more clients never read; waits until the server has dropped them
  --rate R            publish R events per second
  --flat --window W   publish as long as fewer than W events are on their way [64]
  --secs T            measure for T seconds [5]
  --warmup T          after T seconds [1]
  --hold              once the clients are open, print a line, and wait for one with the time that
                      the first event is due at, in nanoseconds since 1970
  --workers N         the server's worker threads, if it has a choice, and its cores [1]
  --server-core C     keep the server on its cores from this one on
  --core C            keep the load generator on this core
";
const FLAGS: &[&str] = &["--finished", "--flat", "--hold", "--launch", "--help"];
const VALUES: &[&str] = &[
    "--host",
    "--port",
    "--ws",
    "--publish",
    "--body",
    "--size",
    "--clients",
    "--topics",
    "--sinks",
    "--stuck",
    "--rate",
    "--window",
    "--secs",
    "--warmup",
    "--workers",
    "--server-core",
    "--core",
];
const WS: &str = "/ws";
const BODY: &str = r#"{"type":"bench","payload":{"m":"{FB}"}}"#;
/// The message that stoat builds of it, for those who build none.
const FINISHED: &str = r#"{"type":"bench","payload":{"m":"{FB}"},"correlation_id":"8ea5365b-8443-40a4-8352-19c4f2d2a5b0","timestamp":"2026-11-25T23:49:47.328809+00:00","event_id":"edb8c76a2cf7009c-12345"}"#;
/// With {T} for the topic.
const TOPIC_BODY: &str = r#"{"type":"bench","topic":"t{T}","payload":{"m":"{FB}"}}"#;

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
        process::pin(core, workers(arguments)?).map_err(|error| format!("core {core}: {error}"))?;
    }
    let error = process::become_program(&arguments.command);
    Err(format!("{}: {error}", arguments.command.join(" ")))
}

fn run(arguments: &Arguments) -> Result<Figures, String> {
    let port = arguments.number("--port")?.ok_or("--port is missing")?;
    let host = arguments.number("--host")?.unwrap_or(Ipv4Addr::LOCALHOST);
    let address = SocketAddrV4::new(host, port);
    let clients = arguments.number("--clients")?.unwrap_or(1000);
    let stuck = arguments.number("--stuck")?.unwrap_or(0);
    let topics = topics(arguments)?;

    process::raise_descriptor_limit().map_err(|error| error.to_string())?;
    // Timers of the kernel may be late by 50 us otherwise; the publisher would be, too.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let server = start(arguments, address)?;
    if let Some(core) = arguments.number("--core")? {
        process::pin(core, 1).map_err(|error| format!("core {core}: {error}"))?;
    }
    let mut course = Course::new(Swarm::new(address, topics)?, server.id());
    course.connect(clients)?;

    let rate: Option<f64> = arguments.number("--rate")?;
    let window: usize = arguments.number("--window")?.unwrap_or(64);
    let load = match (rate, arguments.has("--flat")) {
        (Some(rate), false) if rate > 0.0 => Load::Rate(rate),
        (None, true) if window > 0 => Load::Flat(window),
        (None, false) => return Ok(course.figures),
        _ => return Err("either --rate or --flat with a window".to_owned()),
    };
    let secs = arguments.number("--secs")?.unwrap_or(5.0);
    let warmup = arguments.number("--warmup")?.unwrap_or(1.0);
    let swarm = &mut course.swarm;
    let ws = arguments.text("--ws").unwrap_or(WS);
    swarm.sinks = Sinks::open(address, ws, arguments.number("--sinks")?.unwrap_or(0))?;
    swarm.connect_publisher(arguments.text("--publish").unwrap_or("/publish"))?;
    swarm.rest(0.2)?;
    course.stuck = Stuck::open(address, ws, stuck, server.id())?;
    let due = match arguments.has("--hold") {
        true => hold(swarm)?,
        false => swarm.now() + 1_000_000,
    };
    course.run(&load, due, (warmup, secs))?;
    Ok(course.figures)
}

fn topics(arguments: &Arguments) -> Result<Vec<Topic>, String> {
    let mut size = arguments.number("--size")?.unwrap_or(256);
    let mut plain_body = BODY;
    if arguments.has("--finished") {
        plain_body = FINISHED;
        size += FINISHED.len() - BODY.len();
    }
    let run = format!("{:04x}", std::process::id() & 0xFFFF).into_bytes();
    let run = run.try_into().map_err(|_| "no run")?;
    let topic = |path: String, body: &str| {
        Ok(Topic {
            path,
            template: Template::new(body, size, run)?,
            open: 0,
        })
    };
    let path = arguments.text("--ws").unwrap_or(WS);
    let body = |default| arguments.text("--body").unwrap_or(default);
    match arguments.number::<usize>("--topics")? {
        None => Ok(vec![topic(path.to_owned(), body(plain_body))?]),
        Some(0) => Err("at least one topic".to_owned()),
        Some(count) => (0..count)
            .map(|number| {
                // All of one length, so that the bodies are, too.
                let name = format!("{number:06}");
                let body = body(TOPIC_BODY).replace("{T}", &name);
                topic(format!("{path}?topics=t{name}"), &body)
            })
            .collect(),
    }
}

/// How many worker threads, and cores, the server has.
fn workers(arguments: &Arguments) -> Result<usize, String> {
    Ok(arguments.number("--workers")?.unwrap_or(1))
}

/// Says that the clients are open, and waits to be told when the first event is due.
fn hold(swarm: &mut Swarm) -> Result<u64, String> {
    println!("{}", swarm.open);
    let told = std::thread::spawn(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    while !told.is_finished() {
        swarm.rest(0.02)?;
    }
    let line = told.join().map_err(|_| "no line")?;
    let line = line.map_err(|error| error.to_string())?;
    let due: u64 = line.trim().parse().map_err(|_| "the line is no time")?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let clock = clock.map_err(|error| error.to_string())?.as_nanos() as u64;
    Ok(swarm.now() + due.saturating_sub(clock))
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
    let workers = workers(arguments)?.to_string();
    command
        .args(["--workers", &workers, "--"])
        .args(&arguments.command)
        // For each that has a choice.
        .env("TOKIO_WORKER_THREADS", &workers);
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
