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

impl Batch {
    /// Checks the length of each event against `max`, in bytes of JSON text, as if the
    /// first had the ID `first`; for implementors of a log.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] names the first that is longer.
    pub fn check_sizes(&self, first: EventId, max: usize) -> Result<(), AppendError> {
        for (index, event) in self.events.iter().enumerate() {
            let sequence = first.sequence() + index as u64;
            let len = event.encoded_len(EventId::new(first.epoch(), sequence));
            if len > max {
                return Err(AppendError::TooLarge { index, len, max });
            }
        }
        Ok(())
    }
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

impl Receipt {
    /// The receipt of an event at its position; for implementors of a log.
    pub fn of(event: &Event, event_id: EventId) -> Self {
        Self {
            event_id,
            timestamp: event.timestamp(),
            correlation_id: event.correlation_id().cloned(),
        }
    }
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

/// Why nothing was appended, or nobody knows.
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
    /// The batch is larger than the log takes in one piece.
    BatchTooLarge {
        /// What was counted: `events` or `bytes`.
        unit: &'static str,
        /// How many the batch has.
        len: usize,
        /// The most allowed.
        max: usize,
    },
    /// The idempotency key was used with other content.
    KeyReused,
    /// There is no room on the disk of the log.
    StorageFull {
        /// When a retry may succeed.
        retry_after: Duration,
    },
    /// The log cannot take events at present, a broker or a disk being away.
    Unavailable {
        /// Why, for the log lines.
        reason: String,
        /// When a retry may succeed.
        retry_after: Duration,
    },
    /// No acknowledgement came in time: the batch may be in the log, whole, or get there
    /// later, or not. A repeat with the same [`IdempotencyKey`] finds out.
    Unconfirmed {
        /// Why, for the log lines.
        reason: String,
        /// When a retry may succeed.
        retry_after: Duration,
    },
}

impl AppendError {
    /// The same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::StorageFull { .. } | Self::Unavailable { .. } | Self::Unconfirmed { .. }
        )
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
            Self::BatchTooLarge { unit, len, max } => {
                write!(f, "the batch has {len} {unit}, at most {max} are allowed")
            }
            Self::KeyReused => f.write_str("the idempotency key was used with other content"),
            Self::StorageFull { .. } => f.write_str("the disk of the log is full"),
            Self::Unavailable { reason, .. } => write!(f, "the log is unavailable: {reason}"),
            Self::Unconfirmed { reason, .. } => {
                write!(f, "the log did not confirm the events in time: {reason}")
            }
        }
    }
}

impl std::error::Error for AppendError {}
