#![doc = include_str!("../README.md")]
//!
//! # How the parts fit
//!
//! ```text
//! HTTP request ─▶ accept ─▶ handshake ─▶ 101 and a task ─▶ registry (count, list, close, drain)
//!                   │        refused: HandshakeError          │
//!                Admission (topics, until when)               ▼
//! broadcast ─▶ EventLog ─▶ wakes the fan-out ─▶ each connection reads on from its cursor ─▶ socket
//!                      └──▶ Feed: the same events for another transport
//! ```
//!
//! | to | begin with |
//! |---|---|
//! | make a hub | [`ConnectionManager::in_memory`], [`ConnectionManager::new`], [`HubConfig`] |
//! | let clients in | [`ConnectionManager::accept`], [`ConnectionManager::accept_with`], [`Admission`], [`HandshakeError`] |
//! | send | [`ConnectionManager::broadcast`] |
//! | serve another transport | [`ConnectionManager::open_feed`], [`Feed`], [`Subscription`] |
//! | look at it | [`ConnectionManager::list`], [`ConnectionManager::stats`], [`ConnectionInfo`], [`HubStats`] |
//! | end it | [`ConnectionManager::disconnect`], [`ConnectionManager::drain`], [`DisconnectReason`] |

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
