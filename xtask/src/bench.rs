//! `bench`, `bench-logs` and `bench-check`: builds stoat, the load generator and what it is
//! compared with, and runs them.

use crate::{Result, dist, process, training};

/// Measures what `dist` makes, too.
const DIST: &str = "--dist";

pub(crate) fn run(args: &[&str]) -> Result {
    if args.contains(&"--help") {
        // Nothing is measured, so a release build of everything is not needed, which takes minutes.
        let help = ["run", "--quiet", "--package", "stoat-bench", "--bin"];
        return process::cargo([help.as_slice(), &["stoat-bench", "--", "--help"]].concat()).run();
    }
    if args.contains(&DIST) {
        // The page says that it is trained.
        training::check()?;
    }
    // Apart, so that no feature that only the others turn on is in what is measured.
    process::cargo(["build", "--release", "--package", "stoat"]).run()?;
    let bench = [
        "--release",
        "--package",
        "stoat-bench",
        "--features",
        "peers",
    ];
    process::cargo([&["build"], bench.as_slice()].concat()).run()?;
    let runner = ["--quiet", "--bin", "stoat-bench", "--"];
    let released = match args.contains(&DIST) {
        true => Some(dist::make(None, true)?.display().to_string()),
        false => None,
    };
    let others = args.iter().copied().filter(|arg| *arg != DIST);
    let dist = released.iter().flat_map(|path| [DIST, path]);
    let own: Vec<&str> = others.chain(dist).collect();
    process::cargo([&["run"], bench.as_slice(), &runner, &own].concat()).run()
}

/// Publishes to each log, and to the engines below them.
pub(crate) fn logs(args: &[&str]) -> Result {
    let bench = ["bench", "--package", "stoat", "--bench", "logs", "--"];
    process::cargo([bench.as_slice(), args].concat()).run()
}

/// Runs every benchmark once, briefly, and judges no figure: they are debug builds, since `test`
/// needs the very same ones and a release build takes minutes.
pub(crate) fn check() -> Result {
    let all = ["--workspace", "--all-features"];
    process::cargo([&["build"], all.as_slice(), &["--bins"]].concat()).run()?;
    process::cargo([&["test"], all.as_slice(), &["--bench", "*"]].concat()).run()?;
    // It is beside us, who are a debug build, too; `cargo run` would build it anew, with other
    // features of what it depends on.
    let runner = std::env::current_exe()?.with_file_name("stoat-bench");
    process::program(runner, ["--quick", "--scale"]).run()
}
