//! `test`: everything that runs, with the summaries of the test runners as the last lines.

use std::time::Instant;

use crate::{Result, process, setup};

pub(crate) fn run() -> Result {
    setup::run()?;

    // The black-box tests start the built binary; examples are compiled, not run.
    timed("binaries and examples", || {
        process::cargo([
            "build",
            "--workspace",
            "--all-features",
            "--bins",
            "--examples",
        ])
        .run()
    })?;
    if setup::has_nextest() {
        timed("building the tests", || {
            process::cargo([
                "nextest",
                "run",
                "--workspace",
                "--all-features",
                "--no-run",
            ])
            .run()
        })?;
        timed("tests", || {
            process::cargo(["nextest", "run", "--workspace", "--all-features"]).run()
        })?;
    } else {
        println!(
            "cargo-nextest is not installed: using `cargo test`, which does not stop a test that hangs; \
             {}=1 installs it",
            setup::INSTALL_NEXTEST
        );
        timed("tests", plain_tests)?;
    }
    // Brief, so that the summary of the tests stays in sight.
    process::cargo([
        "test",
        "--doc",
        "--workspace",
        "--all-features",
        "--",
        "--quiet",
    ])
    .run()
}

fn plain_tests() -> Result {
    // Tests wait for sockets more than they compute.
    let threads = std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| "4".to_owned());
    process::cargo([
        "test",
        "--workspace",
        "--all-features",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ])
    .env("RUST_TEST_THREADS", &threads)
    .run()
}

fn timed(what: &str, step: impl FnOnce() -> Result) -> Result {
    let start = Instant::now();
    step()?;
    println!("-- {what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
