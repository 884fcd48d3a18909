//! `bench`: builds stoat, the load generator and the servers to compare with, and runs them.

use crate::{Result, process};

pub(crate) fn run(args: &[&str]) -> Result {
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
    process::cargo([&["run"], bench.as_slice(), &runner, args].concat()).run()
}
