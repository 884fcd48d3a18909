//! The way in for the fuzz targets, which are a crate of their own.

use stoat_events::Filter;

use super::control::Control;
pub use super::session::fuzz::connection;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A control message that replaces the filters.
    Subscribe(Filter),
    /// A control message that asks for an answer.
    Ping,
    /// No control message.
    Nothing,
}

/// Reads a text message.
pub fn control(text: &str) -> Said {
    match Control::parse(text) {
        Some(Control::Subscribe(filter)) => Said::Subscribe(filter),
        Some(Control::Ping) => Said::Ping,
        None => Said::Nothing,
    }
}
