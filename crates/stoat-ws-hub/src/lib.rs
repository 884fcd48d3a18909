#![doc = include_str!("../README.md")]

mod admission;
mod close;
mod config;
mod connection;
mod fan_out;
mod handshake;
mod heartbeat;
mod manager;
mod registry;
mod stats;
mod subscribe;

pub use admission::Admission;
pub use close::DisconnectReason;
pub use config::HubConfig;
pub use connection::{Held, TakeTcp, Taken};
pub use fan_out::Round;
pub use handshake::{HandshakeError, RejectReason};
pub use manager::{CURSOR_HEADER, ConnectionManager};
pub use registry::{ConnectionId, ConnectionInfo};
pub use stats::{Histogram, HubStats};
pub use subscribe::{InvalidSubscription, Subscription};

/// For the fuzz targets; there only where they are built.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::connection::fuzzing::{Said, connection, control};
}
