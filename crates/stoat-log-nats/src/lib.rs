#![doc = include_str!("../README.md")]
//!
//! # How the parts fit
//!
//! ```text
//! server A: append ─▶ one message (Nats-Msg-Id) ─▶ JetStream stream ─▶ follower of A ─▶ readers of A
//!                          ▲ again until acknowledged      ├──────────▶ follower of B ─▶ readers of B
//!                          └── ready: acknowledged, and    └──────────▶ other clients of NATS
//!                              seen by the own follower
//! read ──▶ in memory? ─ yes ─▶ there it is
//!                     └ no ──▶ Stored ─▶ fetch from the stream
//! ```
//!
//! [`NatsLog::builder`] takes the [`Servers`] and, of a stream that has to be created, [`NatsRetention`]
//! and [`Storage`] ([`NatsLogBuilder`]). It is an [`EventLog`](stoat_events::EventLog), so whatever takes
//! a log takes it. [`NatsLog::condition`] tells how it is doing ([`Condition`]), [`NatsLog::stats`] what it
//! has counted ([`NatsStats`]), and [`OpenError`] why it has ended.

mod builder;
mod condition;
mod error;
mod fetch;
mod follow;
mod keeper;
mod message;
mod nats_log;
mod pack;
mod position;
mod publish;
mod servers;
mod shared;
mod stream;

pub use builder::{NatsLogBuilder, NatsRetention, Storage};
pub use condition::{Condition, NatsStats};
pub use error::OpenError;
pub use nats_log::NatsLog;
pub use servers::{InvalidServers, Servers};
