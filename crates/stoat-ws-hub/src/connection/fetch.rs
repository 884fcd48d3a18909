//! Waiting for events that the log does not have in memory.

use std::task::{Context, Poll, ready};

use stoat_events::{EventLog, FetchFuture, LogEntry, ReadLimit};

/// The most that is fetched for one connection at a time.
const LIMIT: ReadLimit = ReadLimit {
    events: 512,
    bytes: 128 << 10,
};

/// One read from the log that is under way, outside of the session's lock: the fan-out
/// takes that lock too, and must never wait for a disk.
#[derive(Default)]
pub(super) struct Fetch<'a>(Option<(u64, FetchFuture<'a>)>);

impl<'a> Fetch<'a> {
    /// Begins, goes on, or gives up, as the session wants it now.
    pub(super) fn set(&mut self, log: &'a dyn EventLog, after: Option<u64>) {
        let begun = self.0.as_ref().map(|(after, _)| *after);
        if begun != after {
            self.0 = after.map(|after| (after, log.fetch(after, LIMIT)));
        }
    }

    /// What was fetched, and after which position; pending where nothing is under way.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(u64, Vec<LogEntry>)> {
        let Some((after, future)) = &mut self.0 else {
            return Poll::Pending;
        };
        let after = *after;
        let entries = ready!(future.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready((after, entries))
    }
}
