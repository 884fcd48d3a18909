#![doc = include_str!("../README.md")]

mod admission;
mod close;
mod config;
mod connection;
mod delivery;
mod fan_out;
mod feed;
mod handshake;
mod heartbeat;
mod manager;
mod registry;
#[cfg(feature = "schema")]
mod schema;
#[cfg(feature = "tower")]
mod service;
mod stats;
mod subscribe;

pub use admission::Admission;
pub use close::DisconnectReason;
pub use config::HubConfig;
pub use connection::{Held, TakeTcp, Taken};
pub use delivery::{DeliveryReport, NoDeliveryReport};
pub use fan_out::Round;
pub use feed::{Feed, FeedBatch, FeedPresence};
pub use handshake::{HandshakeError, RejectReason};
pub use manager::{CURSOR_HEADER, ConnectionManager};
pub use registry::{ConnectionId, ConnectionInfo};
#[cfg(feature = "schema")]
pub use schema::{asyncapi, query_schema};
#[cfg(feature = "tower")]
pub use service::HubService;
pub use stats::{Histogram, HubStats};
pub use subscribe::{InvalidSubscription, Subscription};

/// For the fuzz targets; there only where they are built.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::connection::fuzzing::{Said, connection, control};
}
