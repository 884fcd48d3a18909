//! How the log is doing.

use std::fmt;

/// How the log is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// All is well.
    Good,
    /// The broker cannot be reached, does not answer, or has not told everything yet, for
    /// this reason. The log goes on by itself.
    Away(String),
    /// The stream has lost messages that it had acknowledged, so that an ID could come to
    /// mean another event. The log takes and shows no more; somebody has to look after it.
    Failed(String),
    /// The stream is gone, is another one, or cannot be used. This log has ended; it has to
    /// be opened again.
    Ended(String),
}

impl Condition {
    /// Whether it can become good by itself.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Ended(_))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("ok"),
            Self::Away(reason) | Self::Failed(reason) | Self::Ended(reason) => f.write_str(reason),
        }
    }
}

/// What a log has counted since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsStats {
    /// Messages of the stream that were no events, and were passed over.
    pub skipped_messages: u64,
    /// How often the reading of the stream was begun again.
    pub restarts: u64,
    /// Publishes that were not acknowledged in time, and may be in the stream or not.
    pub unconfirmed: u64,
}
