#![doc = include_str!("../README.md")]
//!
//! # How the parts fit
//!
//! ```text
//! append ─▶ writer: one thread ─▶ number, commit, one sync for all that wait ─▶ log.redb
//!                                       │ then
//!                                       ▼
//!            the newest events in memory ─▶ head moves ─▶ readers, and the answer
//! read ──▶ in memory? ─ yes ─▶ there it is
//!                     └ no ──▶ Stored ─▶ fetch, on a thread for blocking work ─▶ log.redb
//! ```
//!
//! [`DiskLog::open`] opens one with the usual bounds, [`DiskLog::builder`] with your own
//! ([`DiskLogBuilder`], [`DiskRetention`]). It is an [`EventLog`](stoat_events::EventLog), so whatever
//! takes a log takes it. [`DiskLog::condition`] tells how it is doing ([`Condition`]), and [`OpenError`]
//! why it cannot be opened.

mod builder;
mod disk_log;
mod error;
mod life;
mod shared;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use builder::{DiskLogBuilder, DiskRetention};
pub use disk_log::DiskLog;
pub use error::OpenError;
pub use shared::Condition;
