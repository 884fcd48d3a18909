//! Runs the soak for as long as it is told: `soak SECONDS [SEED]`.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for developers"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |what| args.next().map(|text| text.parse::<u64>().expect(what));
    let seconds = number("SECONDS is a number").unwrap_or(600);
    let seed = number("SEED is a number").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_millis() as u64)
    });
    println!("seed {seed}");
    let report = stoat_tests::soak::run(Duration::from_secs(seconds), seed).await;
    println!("{report}");
}
