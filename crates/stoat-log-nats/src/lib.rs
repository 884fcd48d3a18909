#![doc = include_str!("../README.md")]

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
