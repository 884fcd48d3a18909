#![doc = include_str!("../README.md")]

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
