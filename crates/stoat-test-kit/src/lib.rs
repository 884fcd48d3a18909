#![doc = include_str!("../README.md")]
//!
//! # How the parts fit
//!
//! ```text
//! your test ─▶ code under test ─▶ hub.broadcast ─▶ log ─▶ connection of the hub
//!     ▲                                                        │ a pipe in memory
//!     └── event, event_of, typed, nothing_more ── TestClient ◀─┘
//! ```
//!
//! All of it is [`TestClient`].
// A kit for tests fails them by panicking.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "it is called by tests alone"
)]

mod client;
mod pipe;

pub use client::TestClient;
