//! One heartbeat for all connections.

use std::sync::Arc;

use stoat_events::{EncodedEvent, EventLog, LogBounds, Timestamp, heartbeat};
use tokio::sync::watch;

/// One beat, built once and shared.
#[derive(Debug)]
pub(crate) struct Beat {
    /// Counted from 1.
    pub(crate) number: u64,
    /// The position in the log whose ID the beat carries. Only a reader that has
    /// everything up to there, and nothing after it, may be sent these bytes.
    pub(crate) sequence: u64,
    pub(crate) built_at: Timestamp,
    pub(crate) event: Arc<EncodedEvent>,
}

impl Beat {
    /// The beat for a reader that has everything up to `position` and nothing after it. With
    /// the ID of another position, a resume would repeat or miss events.
    pub(crate) fn at(&self, position: u64, log: &dyn EventLog) -> Arc<EncodedEvent> {
        if self.sequence == position {
            Arc::clone(&self.event)
        } else {
            Arc::new(heartbeat(log.bounds().id(position), self.built_at))
        }
    }
}

/// The newest beat, and who waits for the next.
#[derive(Debug)]
pub(crate) struct Beats(watch::Sender<Option<Arc<Beat>>>);

pub(crate) type BeatWatch = watch::Receiver<Option<Arc<Beat>>>;

impl Beats {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Builds the next beat and wakes all connections.
    pub(crate) fn beat(&self, bounds: &LogBounds, now: Timestamp) {
        let event = Arc::new(heartbeat(bounds.id(bounds.last), now));
        self.0.send_modify(|newest| {
            let number = number(newest.as_ref()) + 1;
            *newest = Some(Arc::new(Beat {
                number,
                sequence: bounds.last,
                built_at: now,
                event,
            }));
        });
    }

    /// The newest beat.
    pub(crate) fn newest(&self) -> Option<Arc<Beat>> {
        self.0.borrow().clone()
    }

    /// Follows the beats from here on.
    pub(crate) fn watch(&self) -> BeatWatch {
        self.0.subscribe()
    }
}

/// The number of a beat; 0 before the first.
pub(crate) fn number(beat: Option<&Arc<Beat>>) -> u64 {
    beat.map_or(0, |beat| beat.number)
}
