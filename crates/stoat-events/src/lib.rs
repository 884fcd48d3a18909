#![doc = include_str!("../README.md")]
//!
//! # How the parts fit
//!
//! ```text
//! a struct of yours ──▶ Event ──▶ EncodedEvent ──▶ EventLog::append ──▶ Receipt (EventId, time)
//! (TypedEvent, or       checked    JSON and frame,   numbers it, keeps it, wakes readers
//!  build_event)                    made once                │
//!                                                          ▼
//! ReceivedEvent ◀── your client ◀── socket ◀── Filter ◀── a cursor: attach, then read after read
//! ```
//!
//! | to | begin with |
//! |---|---|
//! | make events | [`build_event`], [`Event::builder`], [`TypedEvent`], [`EventType`], [`Payload`], [`Topic`] |
//! | keep and follow them | [`EventLog`], [`MemoryLog`], [`Batch`], [`Attachment`], [`ReadLimit`], [`ReadStatus`] |
//! | choose | [`Filter`], [`Scope`], [`TopicPattern`] |
//! | resume | [`EventId`], [`Resume`], [`Gap`] |
//! | give them another form | [`CloudEvent`], [`sse`], [`Format`] |
//! | read them in a client | [`ReceivedEvent`] |

mod cloud_event;
mod encoded;
mod event;
mod event_type;
mod filter;
mod id;
mod json;
mod log;
mod name;
mod notice;
mod payload;
mod received;
#[cfg(feature = "schema")]
mod schema;
mod scope;
pub mod sse;
mod timestamp;
mod topic;

pub use cloud_event::{CloudEvent, Format, InvalidFormat};
pub use encoded::EncodedEvent;
pub use event::{Event, EventBuilder, TypedEvent, build_event};
pub use event_type::{CustomType, EventType};
pub use filter::{Filter, InvalidFilter};
pub use id::{Epoch, EventId, InvalidEventId};
pub use log::{
    AppendError, AppendFuture, Appended, Attachment, Batch, EventLog, FetchFuture, Head, HeadWatch,
    IdempotencyKey, InvalidIdempotencyKey, LogBounds, LogClosed, LogEntry, MemoryLog,
    MemoryLogBuilder, NotReady, PrepareFuture, ReadLimit, ReadStatus, Receipt, Resume, Retention,
    Ring,
};
pub use name::InvalidName;
pub use notice::{Gap, GapReason, heartbeat};
pub use payload::{InvalidPayload, Payload};
pub use received::{DecodeError, ReceivedEvent};
#[cfg(feature = "schema")]
pub use schema::Catalog;
pub use scope::Scope;
pub use stoat_correlation::CorrelationId;
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use topic::{Topic, TopicPattern};
