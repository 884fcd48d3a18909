//! `model`: tests in which a scheduler of their own chooses who goes on at each lock.

use crate::{Result, process};

pub(crate) fn run() -> Result {
    // In a folder of their own, since the flag would have everything else built anew.
    let crates = ["--package", "stoat-events", "--package", "stoat-ws-hub"];
    let build = ["test", "--lib", "--target-dir", "target/model"];
    process::cargo([&build, crates.as_slice(), &["model::"]].concat())
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg=shuttle")
        .run()
}
