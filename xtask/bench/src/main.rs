//! Runs stoat, the plain loop and the peers under the same loads, one after the other in each
//! round, and reports medians, spreads and ratios.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks through its two streams"
)]

mod contender;
mod loads;
mod plot;
mod report;
mod results;
mod together;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use contender::Contender;
use loads::{LOADS, Load, Row};
use results::{Figures, Results};
use stoat_bench::arguments::Arguments;
use stoat_bench::process;

const USAGE: &str = "\
usage: cargo xtask bench [OPTIONS]

Runs stoat and others under the same loads, and stoat alone under some more, and prints medians,
spreads and ratios.

  --runs N      rounds; each runs every load on every server once [5]
  --secs T      seconds to measure for in each run [5]
  --clients N   [1000]
  --only NAMES  these servers only, such as stoat,plain
  --loads NAMES these loads only, such as A,D
  --dist        stoat as `cargo xtask dist` makes it, which takes long to build; what
                `cargo build --release` makes is compared with it
  --scale       also the loads that show how stoat scales: many connections, several servers, two
                worker threads; takes several times as long
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
    quick: bool,
    dist: Option<String>,
    only: Option<String>,
    loads: Option<String>,
    scale: bool,
}

impl Options {
    fn runs_load(&self, load: &Load) -> bool {
        match &self.loads {
            Some(names) => names.split(',').any(|name| name == load.name),
            None => self.scale || !load.scale,
        }
    }
}

fn main() -> ExitCode {
    let flags = &["--write", "--quick", "--scale", "--help"];
    let values = &[
        "--runs",
        "--secs",
        "--clients",
        "--dist",
        "--only",
        "--loads",
    ];
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
        quick,
        dist: arguments.text("--dist").map(str::to_owned),
        only: arguments.text("--only").map(str::to_owned),
        loads: arguments.text("--loads").map(str::to_owned),
        scale: arguments.has("--scale"),
    };
    if options.runs == 0 || options.clients == 0 {
        return Err("at least one run and one client".to_owned());
    }
    let names = options.loads.iter().flat_map(|names| names.split(','));
    for name in names {
        if LOADS.iter().all(|load| load.name != name) {
            return Err(format!("no load `{name}`"));
        }
    }
    let some = options.only.is_some() || options.loads.is_some();
    if options.write && (quick || some || options.clients != 1000) {
        return Err("what is written is the whole comparison".to_owned());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let contenders = contender::all(&folder()?, options.dist.as_deref(), options.only.as_deref())?;
    let results = measure(options, &contenders);
    contender::clean();
    let results = results?;
    let tables = report::tables(options, &results, &contenders);
    println!("\n{tables}");
    let faults = results.faults();
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
    let mut results = Results::default();
    for round in 0..options.runs {
        for load in LOADS.iter().filter(|load| options.runs_load(load)) {
            let rows = load.rows(contenders, options.clients);
            let often = if options.quick { 1 } else { load.often };
            for position in 0..rows.len() * often {
                // Another one begins each round, so that what is slow at first hits each in turn.
                let row = &rows[(position + round) % rows.len()];
                let figures = run_once(options, load, row)
                    .map_err(|error| format!("{} under load {}: {error}", row.name, load.name))?;
                println!(
                    "{}/{} {} {:<20} {}",
                    round + 1,
                    options.runs,
                    load.name,
                    row.name,
                    report::brief(&figures)
                );
                results.add(load, row, figures);
            }
        }
    }
    Ok(results)
}

fn run_once(options: &Options, load: &Load, row: &Row<'_>) -> Result<Figures, String> {
    if load.servers > 1 {
        return together::run(options, load, row);
    }
    let mut own = Vec::new();
    let cores = process::cores().map_err(|error| error.to_string())?;
    if let [first, .., last] = cores.as_slice() {
        own.extend(["--server-core".to_owned(), first.to_string()]);
        own.extend(["--core".to_owned(), last.to_string()]);
    }
    let mut command = command(options, load, row, Ipv4Addr::LOCALHOST, &own)?;
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(said.trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// The load generator, and with it the server on an address and a free port.
fn command(
    options: &Options,
    load: &Load,
    row: &Row<'_>,
    address: Ipv4Addr,
    own: &[String],
) -> Result<Command, String> {
    let address = free_port(address)?;
    let mut command = Command::new(folder()?.join("load"));
    command
        .args(["--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .args(["--publish", row.contender.publish])
        .args(["--secs", &(options.secs * load.longer).to_string()])
        .args(["--warmup", &options.warmup.to_string()])
        .args(load.arguments)
        .args(&row.arguments)
        .args(own)
        .args(row.contender.passes_on().then_some("--finished"))
        .arg("--")
        .args(row.contender.command(address, load.settings)?);
    Ok(command)
}

/// An address with a port that nobody uses now.
fn free_port(address: Ipv4Addr) -> Result<SocketAddrV4, String> {
    let listener = TcpListener::bind((address, 0));
    let own = listener.and_then(|listener| listener.local_addr());
    let own = own.map_err(|error| error.to_string())?;
    Ok(SocketAddrV4::new(address, own.port()))
}

fn write(
    options: &Options,
    contenders: &[Contender],
    results: &Results,
    tables: &str,
) -> Result<(), String> {
    let dist = options.dist.as_ref().map_or("", |_| " --dist");
    let scale = if options.scale { " --scale" } else { "" };
    let command = format!(
        "cargo xtask bench{dist} --runs {} --secs {}{scale} --write",
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
