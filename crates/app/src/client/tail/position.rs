//! Where a stream of events goes on after a lost connection.

use std::borrow::Cow;

use serde::Deserialize;

use crate::cli::Since;

/// What a message says of itself; the rest of it is the reader's.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) event_id: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Reads the text of a message; nothing where it is no event.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether the event only refreshes the position.
    pub(super) fn is_heartbeat(&self) -> bool {
        self.event_type == "heartbeat"
    }
}

/// The `last_event_id` of the next connection.
#[derive(Debug)]
pub(super) struct Position(Option<String>);

impl Position {
    /// Where the user says to begin; nothing means with the next event.
    pub(super) fn new(since: Option<&Since>) -> Self {
        Self(since.map(|since| since.as_str().to_owned()))
    }

    /// Nothing only before the first connection.
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Takes in that a connection stands, and the newest event ID of the log at that moment.
    ///
    /// Without one the log was empty, so that all it ever retains is newer.
    pub(super) fn connected(&mut self, cursor: Option<&str>) {
        let cursor = cursor.filter(|cursor| !cursor.is_empty());
        self.0
            .get_or_insert_with(|| cursor.unwrap_or(Since::Earliest.as_str()).to_owned());
    }

    /// Takes in the ID of an event that was received. An empty one is no position.
    pub(super) fn saw(&mut self, event_id: &str) {
        if !event_id.is_empty() {
            self.0 = Some(event_id.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resumes_behind_the_last_event() {
        let mut position = Position::new(None);
        assert_eq!(position.as_str(), None);
        position.connected(Some("e-4"));
        assert_eq!(position.as_str(), Some("e-4"));
        position.saw("e-5");
        position.saw("");
        position.connected(Some("e-9"));
        assert_eq!(position.as_str(), Some("e-5"));
    }

    #[test]
    fn a_log_that_was_empty_is_read_from_its_beginning() {
        for cursor in [None, Some("")] {
            let mut position = Position::new(None);
            position.connected(cursor);
            assert_eq!(position.as_str(), Some("earliest"));
        }
    }

    #[test]
    fn the_wish_holds_until_the_first_event() {
        let mut position = Position::new(Some(&Since::After("e-1".to_owned())));
        position.connected(Some("e-9"));
        assert_eq!(position.as_str(), Some("e-1"));
        let mut position = Position::new(Some(&Since::Earliest));
        position.connected(Some("e-9"));
        assert_eq!(position.as_str(), Some("earliest"));
    }

    #[test]
    fn reads_what_it_needs_of_an_event() {
        let event = Envelope::read(
            r#"{"type":"heart\u0062eat","payload":{"n":1e400},"later":1,"event_id":"e-\u0031"}"#,
        )
        .unwrap();
        assert!(event.is_heartbeat());
        assert_eq!(event.event_id, "e-1");
        for text in [
            "",
            "{}",
            r#"{"action":"pong"}"#,
            r#"{"type":"a","event_id":null}"#,
        ] {
            assert!(Envelope::read(text).is_none(), "{text}");
        }
    }
}
