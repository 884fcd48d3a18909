//! What one round of the fan-out did, for those who trace it.

use std::time::Instant;

/// Events that one task of the fan-out brought to its connections, one after the other.
///
/// Each task has every event of the log in exactly one of its rounds, also where nobody
/// wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// Which of the tasks, from 0.
    pub row: usize,
    /// How many tasks there are.
    pub rows: usize,
    /// The sequence number before the first event.
    pub after: u64,
    /// The sequence number of the last event.
    pub to: u64,
    /// When the task had read the events, and began to look for connections to write them to.
    pub started: Instant,
    /// When the last one had been.
    pub ended: Instant,
    /// Connections that were looked at. One that takes no more is left to its own task.
    pub offered: usize,
    /// When the last of the writes that took all of the events was done; nothing where there was
    /// none. With it, each event was counted in
    /// [`publish_to_socket`](crate::HubStats::publish_to_socket) at the age that it had then.
    pub written: Option<Instant>,
}
