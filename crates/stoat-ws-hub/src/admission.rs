//! On which terms a connection is let in.

use std::time::Instant;

use stoat_events::Scope;

/// What the embedder knows of a client that it lets in: how much it may see, and until when.
/// By default everything, for ever.
///
/// ```
/// use std::time::{Duration, Instant};
/// use stoat_events::{Scope, TopicPattern};
/// use stoat_ws_hub::Admission;
///
/// let topics = [TopicPattern::parse("project.*")?];
/// let admission = Admission::default()
///     .scope(Scope::topics(topics))
///     .until(Instant::now() + Duration::from_secs(900));
/// # drop(admission);
/// # Ok::<(), stoat_events::InvalidName>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Admission {
    pub(crate) scope: Scope,
    pub(crate) until: Option<Instant>,
}

impl Admission {
    /// The client sees events of this scope only, replayed or live, whatever filters it asks for.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// At this time the connection is closed with 1008.
    #[must_use]
    pub fn until(mut self, end: Instant) -> Self {
        self.until = Some(end);
        self
    }
}
