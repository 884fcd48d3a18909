//! The command line: what is asked of the program, read and checked.

mod args;
mod documents;
mod url;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;

use stoat_events::EventId;

use crate::serve::Description;
use crate::settings::Flags;

pub use url::ServerUrl;

/// Exit code for bad usage or settings.
pub const BAD_USAGE: u8 = 2;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Run the server.
    Serve(Flags),
    /// Print the effective settings.
    CheckConfig(Flags),
    /// Print events as they come.
    Tail(Tail),
    /// Publish events.
    Publish(Publish),
    /// Tell who got an event.
    Delivery(Delivery),
    /// Measure a running server.
    Bench(Bench),
    /// Print a description of the server with these settings.
    Schema(Description, Flags),
}

/// What `stoat tail` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tail {
    /// The server.
    pub url: ServerUrl,
    /// Event types to print; nothing means all.
    pub types: Option<Vec<String>>,
    /// Patterns of topics to print; nothing means all.
    pub topics: Option<Vec<String>>,
    /// Where to begin; nothing means with the next event.
    pub since: Option<Since>,
    /// Exit after so many events; nothing means never.
    pub count: Option<NonZeroU64>,
    /// The file that keeps the position over restarts; what it says wins over `since`.
    pub state: Option<PathBuf>,
    /// Whether events are printed in colours.
    pub colour: Colour,
}

impl Tail {
    /// Follows what is new on one topic.
    pub(crate) fn on_topic(url: ServerUrl, topic: &str) -> Self {
        Self {
            url,
            types: None,
            topics: Some(vec![topic.to_owned()]),
            since: None,
            count: None,
            state: None,
            colour: Colour::Never,
        }
    }
}

/// When to print in colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What `stoat delivery` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The server.
    pub url: ServerUrl,
    /// The event.
    pub event: EventId,
}

/// What `stoat bench` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bench {
    /// The server.
    pub url: ServerUrl,
    /// How many clients follow.
    pub clients: u32,
    /// Events a second.
    pub rate: u32,
    /// For how many seconds events are published.
    pub seconds: u32,
    /// Bytes of filler in each payload.
    pub size: u32,
    /// Whether the progress is shown wherever standard error leads.
    pub progress: bool,
}

/// Where a stream of events begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// With the oldest event that is retained.
    Earliest,
    /// After the event with this ID: 1 to 64 visible ASCII characters.
    After(String),
}

impl Since {
    /// The value of `last_event_id`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Earliest => "earliest",
            Self::After(id) => id,
        }
    }
}

/// What `stoat publish` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publish {
    /// The server.
    pub url: ServerUrl,
    /// What to publish.
    pub input: Input,
    /// Value of the `Idempotency-Key` header: 1 to 128 visible ASCII characters.
    pub idempotency_key: Option<String>,
    /// Whether the progress of `-` is shown wherever standard error leads.
    pub progress: bool,
}

/// Where the events to publish come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One event from the command line; the server checks its fields.
    Event {
        /// The event's type.
        event_type: String,
        /// The text of a JSON object, as it was given.
        payload: Option<String>,
        /// The topic.
        topic: Option<String>,
        /// The correlation ID: 1 to 128 visible ASCII characters.
        correlation_id: Option<String>,
    },
    /// One event a line, from standard input.
    Stdin,
}

/// Why the program ends before it does anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The help or version that was asked for; goes to standard output, exit code 0.
    Text(String),
    /// Bad usage, in one line; goes to standard error, exit code [`BAD_USAGE`].
    Usage(String),
}

/// Reads the command line (the program's name first); `STOAT_URL` and `STOAT_TOKEN` are
/// taken from `environment`.
///
/// # Errors
/// There is nothing to run: help was asked for, or the usage is bad.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &[(String, String)],
) -> Result<Command, Stop> {
    let matches = args::command()
        .try_get_matches_from(arguments)
        .map_err(args::stop)?;
    if let Some(document) = documents::print(&matches, args::command()) {
        return Err(document);
    }
    let variable = |wanted: &str| {
        let found = environment.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let variables = args::Variables {
        url: variable("STOAT_URL"),
        token: variable("STOAT_TOKEN"),
    };
    args::read(&matches, variables).map_err(Stop::Usage)
}
