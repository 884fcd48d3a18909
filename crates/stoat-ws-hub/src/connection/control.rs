//! What clients may say: control messages.

use std::borrow::Cow;

use serde::Deserialize;
use stoat_events::Filter;

/// A control message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Replaces the filters.
    Subscribe(Filter),
    /// Asks for [`PONG`].
    Ping,
}

/// The answer to [`Control::Ping`].
pub(super) const PONG: &str = r#"{"action":"pong"}"#;

impl Control {
    /// Reads a text message; `None` for whatever is no control message.
    pub(super) fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Action<'a> {
            #[serde(borrow)]
            action: Cow<'a, str>,
        }
        // What is derived would read the fields from an array, too.
        if !text.trim_start().starts_with('{') {
            return None;
        }
        let Action { action } = serde_json::from_str(text).ok()?;
        match &*action {
            "subscribe" => serde_json::from_str(text).ok().map(Self::Subscribe),
            "ping" => Some(Self::Ping),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages() {
        assert_eq!(Control::parse(r#"{"action":"ping"}"#), Some(Control::Ping));
        assert_eq!(
            Control::parse(r#"{"action":"subscribe","types":null,"topics":null}"#),
            Some(Control::Subscribe(Filter::all()))
        );
        let Some(Control::Subscribe(filter)) =
            Control::parse(r#"{"types":["a"],"action":"subscribe","topics":["x.*"]}"#)
        else {
            panic!("not a subscription");
        };
        assert!(filter.matches("a", Some("x.y")) && !filter.matches("a", None));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "ping",
            "[]",
            "{}",
            r#"{"action":5}"#,
            r#"{"action":"dance"}"#,
            r#"{"action":"subscribe","types":"a"}"#,
            r#"{"action":"subscribe","types":["Not A Name"]}"#,
            r#"{"action":"ping","action":"ping"}"#,
            r#"["ping"]"#,
        ] {
            assert_eq!(Control::parse(text), None, "{text}");
        }
    }

    #[cfg(feature = "schema")]
    #[test]
    fn each_is_described() {
        for (name, schema) in crate::schema::controls() {
            let action = &schema["properties"]["action"]["const"];
            let message = serde_json::json!({ "action": action }).to_string();
            if name == "Pong" {
                assert_eq!(message, PONG);
            } else {
                assert!(Control::parse(&message).is_some(), "{message}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = Control::parse(&text);
        }
    }
}
