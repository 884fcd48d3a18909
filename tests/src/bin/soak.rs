//! Runs the soak for as long as it is told: `soak tcp|tls SECONDS [SEED]`.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for developers"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stoat_tests::soak::{self, Over};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let over = match args.next().as_deref() {
        Some("tcp") => Over::Tcp,
        Some("tls") => Over::Tls,
        other => panic!("over `tcp` or `tls`, not {other:?}"),
    };
    let mut number = |what| args.next().map(|text| text.parse::<u64>().expect(what));
    let seconds = number("SECONDS is a number").unwrap_or(600);
    let seed = number("SEED is a number").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_millis() as u64)
    });
    println!("seed {seed}");
    let report = soak::run(over, Duration::from_secs(seconds), seed).await;
    println!("{report}");
}
