//! What goes into a log, and what comes back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stoat_correlation::CorrelationId;

use crate::{Event, EventId, IdempotencyKey, Timestamp};

/// Events that are appended whole and contiguous, or not at all.
///
/// ```
/// use stoat_events::{Batch, Event, EventType};
///
/// let event = Event::builder(EventType::ScanStarted).build();
/// let batch = Batch::from(vec![event]);
/// assert_eq!(batch.events.len(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    /// The events in order.
    pub events: Vec<Event>,
    /// Makes a repeat return the first answer and append nothing.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl From<Event> for Batch {
    fn from(event: Event) -> Self {
        vec![event].into()
    }
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Self {
        Self {
            events,
            idempotency_key: None,
        }
    }
}

/// The acknowledgement of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its position in the log.
    pub event_id: EventId,
    /// When it was built.
    pub timestamp: Timestamp,
    /// The request that caused it.
    pub correlation_id: Option<CorrelationId>,
}

/// The acknowledgement of a batch: it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// One receipt an event, in order.
    pub receipts: Arc<[Receipt]>,
    /// This is the first answer to the same idempotency key; nothing was appended
    /// this time.
    pub replayed: bool,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// An event is longer than the log takes.
    TooLarge {
        /// Index of the event in its batch.
        index: usize,
        /// Length of its JSON text in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The idempotency key was used with other content.
    KeyReused,
    /// The log cannot take events at present, a broker or a disk being away.
    Unavailable {
        /// Why, for the log lines.
        reason: String,
        /// When a retry may succeed.
        retry_after: Duration,
    },
}

impl AppendError {
    /// The same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { index, len, max } => {
                write!(
                    f,
                    "event {index} has {len} bytes, at most {max} are allowed"
                )
            }
            Self::KeyReused => f.write_str("the idempotency key was used with other content"),
            Self::Unavailable { reason, .. } => write!(f, "the log is unavailable: {reason}"),
        }
    }
}

impl std::error::Error for AppendError {}
