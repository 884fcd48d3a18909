//! `inspector-soak`: whether the inspector grows, with as many events as an hour has.

use crate::{Result, process, setup};

/// 100 a second, for an hour.
const EVENTS: u64 = 360_000;

pub(crate) fn run(args: &[&str]) -> Result {
    let events = match args {
        [] => EVENTS,
        ["--events", number] => number.parse()?,
        _ => return Err("it takes --events N, and nothing else".into()),
    };
    setup::run()?;
    process::cargo(["build", "--package", "stoat"]).run()?;
    // Not with nextest, which ends tests that take minutes.
    process::cargo([
        "test",
        "--package",
        "stoat-tests",
        "--test",
        "inspector_growth",
        "--",
        "--nocapture",
    ])
    .env("STOAT_INSPECTOR_EVENTS", &events.to_string())
    .run()
}
