//! The correlation ID: what one may look like, and the error for what may not.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::trace_parent::TraceId;

/// The ID that ties together all that one request causes: 1 to
/// [`MAX_LEN`](Self::MAX_LEN) visible ASCII characters, no spaces.
///
/// It is checked once, where it is made, and never again: whoever holds one can
/// put it into a header, a log line or a row as it is. A clone shares the text.
///
/// ```
/// use stoat_correlation::CorrelationId;
///
/// let given = CorrelationId::parse("order-4711")?;
/// assert_eq!(given.as_str(), "order-4711");
/// assert!(CorrelationId::parse("two words").is_err());
/// # Ok::<(), stoat_correlation::InvalidCorrelationId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// The longest ID that is accepted, in bytes; a longer one is refused, never cut.
    pub const MAX_LEN: usize = 128;

    /// Checks `text` and copies it.
    ///
    /// # Errors
    ///
    /// `text` is empty, longer than [`MAX_LEN`](Self::MAX_LEN), or holds a byte
    /// outside `0x21..=0x7E` (spaces, control characters, anything but ASCII).
    pub fn parse(text: &str) -> Result<Self, InvalidCorrelationId> {
        let fault = if text.is_empty() {
            Fault::Empty
        } else if text.len() > Self::MAX_LEN {
            Fault::TooLong(text.len())
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Fault::Character
        } else {
            return Ok(Self(Arc::from(text)));
        };
        Err(InvalidCorrelationId {
            fault,
            shown: shorten(text),
        })
    }

    /// Makes a new ID: a random UUID (version 4), hyphenated, in lower case.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn generate() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text: &str = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
        Self(Arc::from(text))
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for CorrelationId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for CorrelationId {
    type Err = InvalidCorrelationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for CorrelationId {
    type Error = InvalidCorrelationId;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for CorrelationId {
    type Error = InvalidCorrelationId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

/// The trace-id as 32 hexadecimal digits in lower case.
impl From<TraceId> for CorrelationId {
    fn from(trace_id: TraceId) -> Self {
        Self(Arc::from(trace_id.to_string()))
    }
}

/// Why a text is not a [`CorrelationId`].
///
/// Its message is safe to log: the refused value appears in it shortened and
/// with everything but printable ASCII escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCorrelationId {
    fault: Fault,
    shown: Box<str>,
}

impl InvalidCorrelationId {
    /// True when the text was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.fault, Fault::Empty)
    }

    /// True when the text was longer than [`CorrelationId::MAX_LEN`], whatever it held.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(self.fault, Fault::TooLong(_))
    }
}

impl fmt::Display for InvalidCorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = CorrelationId::MAX_LEN;
        write!(
            f,
            "correlation_id must be 1 to {max} visible ASCII characters without spaces, "
        )?;
        match self.fault {
            Fault::Empty => f.write_str("but is empty"),
            Fault::TooLong(len) => write!(f, "but is {len} bytes long: \"{}\"", self.shown),
            Fault::Character => write!(f, "but is \"{}\"", self.shown),
        }
    }
}

impl Error for InvalidCorrelationId {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    TooLong(usize),
    Character,
}

/// How many characters of a refused value a message shows.
const SHOWN: usize = 32;

fn shorten(text: &str) -> Box<str> {
    let mut chars = text.chars();
    let mut shown: String = chars
        .by_ref()
        .take(SHOWN)
        .flat_map(char::escape_default)
        .collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_both_ends_of_the_range() {
        for text in ["!", "~", &"x".repeat(128), "a/b?c=\"d\"\\"] {
            assert_eq!(CorrelationId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_what_is_outside_the_grammar() {
        for text in [
            " ",
            "a b",
            "a\tb",
            "a\nb",
            "\u{7f}",
            "\0",
            "é",
            "a\u{202e}b",
        ] {
            let error = CorrelationId::parse(text).unwrap_err();
            assert!(!error.is_empty() && !error.is_too_long(), "{text:?}");
        }
        assert!(CorrelationId::parse("").unwrap_err().is_empty());
        assert!(
            CorrelationId::parse(&"x".repeat(129))
                .unwrap_err()
                .is_too_long()
        );
    }

    #[test]
    fn the_error_names_field_limit_and_an_escaped_value() {
        let error = CorrelationId::parse("a\r\nb\u{1b}[2J\u{9b}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "correlation_id must be 1 to 128 visible ASCII characters without spaces, \
             but is \"a\\r\\nb\\u{1b}[2J\\u{9b}\""
        );
        let long = CorrelationId::parse(&"x".repeat(100_000))
            .unwrap_err()
            .to_string();
        assert!(long.contains("100000 bytes long"), "{long}");
        assert!(long.contains("xxx...\""), "{long}");
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn generates_distinct_version_4_uuids_in_lower_case() {
        let ids: HashSet<_> = (0..1000).map(|_| CorrelationId::generate()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let uuid = Uuid::parse_str(id.as_str()).unwrap();
            assert_eq!(uuid.get_version_num(), 4);
            assert_eq!(uuid.hyphenated().to_string(), id.as_str());
            assert_eq!(CorrelationId::parse(id.as_str()).unwrap(), id);
        }
    }

    #[test]
    fn converts_from_and_to_text() {
        let id: CorrelationId = "r1".parse().unwrap();
        assert_eq!(CorrelationId::try_from("r1").unwrap(), id);
        assert_eq!(CorrelationId::try_from(String::from("r1")).unwrap(), id);
        assert_eq!(id.as_ref(), "r1");
        assert_eq!(format!("{id:>4}"), "  r1");
        assert!(id < CorrelationId::parse("r2").unwrap());
    }

    proptest! {
        #[test]
        fn accepts_exactly_the_grammar(text in prop_oneof![
            any::<String>(),
            "[!-~]{0,140}",
            "[ -~]{0,20}",
            "[!-~]{0,10}\\PC[!-~]{0,10}",
        ]) {
            let in_grammar = (1..=128).contains(&text.chars().count())
                && text.chars().all(|c| ('!'..='~').contains(&c));
            match CorrelationId::parse(&text) {
                Ok(id) => {
                    prop_assert!(in_grammar);
                    prop_assert_eq!(id.to_string(), text);
                }
                Err(error) => {
                    prop_assert!(!in_grammar);
                    let message = error.to_string();
                    prop_assert!(message.bytes().all(|b| (0x20..0x7f).contains(&b)));
                    prop_assert!(message.len() < 512);
                }
            }
        }
    }
}
