//! Topics, and the patterns that select them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{InvalidName, NAME_RULE, is_name};

const PATTERN_RULE: &str =
    "TOPIC, TOPIC.* or *, where TOPIC is [a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*,";

/// The address that an event was published to; the same grammar as an event
/// type, at most 128 bytes. Cheap to clone.
///
/// ```
/// use stoat_events::{Topic, TopicPattern};
///
/// let topic: Topic = "project.apollo".parse().unwrap();
/// let pattern: TopicPattern = "project.*".parse().unwrap();
/// assert!(pattern.matches(Some(topic.as_str())));
/// assert!(!pattern.matches(Some("project")));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The longest topic, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Parses a topic.
    ///
    /// # Errors
    /// [`InvalidName`] where `text` breaks the grammar or the length.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if is_name(text, Self::MAX_LEN) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new("topic", NAME_RULE, Self::MAX_LEN, text))
        }
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Selects topics: one exactly (`a.b`), all below one (`a.*`: one last segment
/// or more), or every event (`*`, with a topic or without).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// The longest pattern, in bytes: a topic and `.*`.
    pub const MAX_LEN: usize = Topic::MAX_LEN + 2;

    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidName`] where `text` is not a topic, a topic and `.*`, or `*`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let stem = text.strip_suffix(".*").unwrap_or(text);
        if text == "*" || is_name(stem, Topic::MAX_LEN) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new(
                "topics",
                PATTERN_RULE,
                Self::MAX_LEN,
                text,
            ))
        }
    }

    /// Says whether every event is selected.
    pub fn is_all(&self) -> bool {
        &*self.0 == "*"
    }

    /// Says whether an event of this topic, or of none, is selected.
    pub fn matches(&self, topic: Option<&str>) -> bool {
        if self.is_all() {
            return true;
        }
        let Some(topic) = topic else { return false };
        match self.0.strip_suffix('*') {
            // `stem` still ends with its dot.
            Some(stem) => topic.len() > stem.len() && topic.starts_with(stem),
            None => topic == &*self.0,
        }
    }

    /// Says whether it selects one topic only.
    pub fn is_exact(&self) -> bool {
        !self.0.ends_with('*')
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a checked string needs to be a value: text in, text out.
macro_rules! text_value {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_value!(Topic);
text_value!(TopicPattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        let cases = [
            ("a", Some("a"), true),
            ("a", Some("ab"), false),
            ("a", Some("a.b"), false),
            ("a", None, false),
            ("a.*", Some("a.b"), true),
            ("a.*", Some("a.b.c"), true),
            ("a.*", Some("a"), false),
            ("a.*", Some("ab.c"), false),
            ("a.*", None, false),
            ("*", Some("a.b"), true),
            ("*", None, true),
        ];
        for (pattern, topic, expected) in cases {
            let parsed = TopicPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(topic), expected, "{pattern} {topic:?}");
            assert_eq!(parsed.is_exact(), !pattern.contains('*'), "{pattern}");
        }
    }

    #[test]
    fn patterns_refused() {
        for bad in ["", "*a", "a*", "a.*.b", ".*", "**", "*.a", "a..*", "A.*"] {
            assert!(TopicPattern::parse(bad).is_err(), "{bad}");
        }
        let longest = "a".repeat(Topic::MAX_LEN);
        assert!(TopicPattern::parse(&format!("{longest}.*")).is_ok());
        assert!(TopicPattern::parse(&format!("{longest}a.*")).is_err());
        assert!(Topic::parse(&longest).is_ok());
        assert!(Topic::parse(&format!("{longest}a")).is_err());
        assert!(Topic::parse("a.*").is_err());
    }
}
