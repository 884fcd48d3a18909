#![doc = include_str!("../README.md")]
// A kit for tests fails them by panicking.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "it is called by tests alone"
)]

mod client;
mod pipe;

pub use client::TestClient;
