//! Runs stoat, the plain loop and the peers under the same loads, one after the other in each
//! round, and reports medians, spreads and ratios.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks through its two streams"
)]

mod contender;
mod plot;
mod report;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use contender::Contender;
use results::{Figures, LOADS, Load, Results};
use stoat_bench::arguments::Arguments;
use stoat_bench::process;

const USAGE: &str = "\
usage: cargo xtask bench [OPTIONS]

Runs stoat and others under the same loads and prints medians, spreads and ratios.

  --runs N      rounds; each runs every load on every server once [5]
  --secs T      seconds to measure for in each run [5]
  --clients N   [1000]
  --only NAMES  these servers only, such as stoat,plain
  --write       write docs/benchmarks.md and docs/benchmarks.svg
  --quick       one round of 1 s with 50 clients: shows that all of it works, and no figure
                worth keeping
";

struct Options {
    runs: usize,
    secs: f64,
    warmup: f64,
    clients: usize,
    write: bool,
    only: Option<String>,
}

fn main() -> ExitCode {
    let flags = &["--write", "--quick", "--help"];
    let values = &["--runs", "--secs", "--clients", "--only"];
    let arguments = Arguments::parse(std::env::args().skip(1), flags, values);
    let outcome = match arguments {
        Ok(arguments) if arguments.has("--help") => {
            print!("{USAGE}");
            Ok(())
        }
        Ok(arguments) => options(&arguments).and_then(|options| run(&options)),
        Err(error) => Err(format!("{error}\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &Arguments) -> Result<Options, String> {
    let quick = arguments.has("--quick");
    let options = Options {
        runs: arguments
            .number("--runs")?
            .unwrap_or(if quick { 1 } else { 5 }),
        secs: arguments
            .number("--secs")?
            .unwrap_or(if quick { 1.0 } else { 5.0 }),
        warmup: if quick { 0.2 } else { 1.0 },
        clients: arguments
            .number("--clients")?
            .unwrap_or(if quick { 50 } else { 1000 }),
        write: arguments.has("--write"),
        only: arguments.text("--only").map(str::to_owned),
    };
    if options.runs == 0 || options.clients == 0 {
        return Err("at least one run and one client".to_owned());
    }
    if options.write && (quick || options.only.is_some() || options.clients != 1000) {
        return Err("what is written is the whole comparison".to_owned());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let contenders = contender::all(&folder()?, options.only.as_deref())?;
    let results = measure(options, &contenders)?;
    let tables = report::tables(&results, &contenders);
    println!("\n{tables}");
    let faults = results.faults(&contenders);
    for fault in &faults {
        eprintln!("bench: {fault}");
    }
    if !faults.is_empty() {
        return Err("figures of a server that loses events mean nothing".to_owned());
    }
    if options.write {
        write(options, &contenders, &results, &tables)?;
    }
    Ok(())
}

/// Where the programs are: beside this one.
fn folder() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().map(Path::to_path_buf);
    folder.ok_or("this program is nowhere".to_owned())
}

fn measure(options: &Options, contenders: &[Contender]) -> Result<Results, String> {
    let cores = process::cores().map_err(|error| error.to_string())?;
    let load = folder()?.join("load");
    let mut results = Results::default();
    for round in 0..options.runs {
        for kind in LOADS {
            for position in 0..contenders.len() {
                // Another one begins each round, so that what is slow at first hits each in turn.
                let contender = &contenders[(position + round) % contenders.len()];
                let mut command = Command::new(&load);
                if let [first, second, ..] = cores.as_slice() {
                    command.args(["--server-core", &first.to_string()]);
                    command.args(["--core", &second.to_string()]);
                }
                let figures = run_once(command, options, kind, contender).map_err(|error| {
                    format!("{} under load {}: {error}", contender.name, kind.name)
                })?;
                println!(
                    "{}/{} {} {:<20} {}",
                    round + 1,
                    options.runs,
                    kind.name,
                    contender.name,
                    report::brief(&figures)
                );
                results.add(kind, contender, figures);
            }
        }
    }
    Ok(results)
}

fn run_once(
    mut command: Command,
    options: &Options,
    kind: &Load,
    contender: &Contender,
) -> Result<Figures, String> {
    let port = free_port()?;
    command
        .args(["--port", &port.to_string(), "--publish", contender.publish])
        .args(["--clients", &options.clients.to_string()])
        .args(["--secs", &options.secs.to_string()])
        .args(["--warmup", &options.warmup.to_string()])
        .args(kind.arguments)
        .arg("--")
        .args(contender.command(port)?)
        // One core for each server, so one thread for each that has a choice.
        .env("TOKIO_WORKER_THREADS", "1");
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(said.trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// A port that nobody uses now.
fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

fn write(
    options: &Options,
    contenders: &[Contender],
    results: &Results,
    tables: &str,
) -> Result<(), String> {
    let command = format!(
        "cargo xtask bench --runs {} --secs {} --write",
        options.runs, options.secs
    );
    let document = report::document(&command, options, contenders, tables);
    let plot = plot::svg(results, contenders);
    for (name, text) in [("benchmarks.md", document), ("benchmarks.svg", plot)] {
        let path = Path::new("docs").join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
