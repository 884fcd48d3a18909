//! The one grammar that event types and topics share.

use std::fmt;

/// The grammar of names as a regular expression, not anchored.
pub(crate) const NAME_RULE: &str = "[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*";

/// Says whether `text` is `[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)*` and at most
/// `max_len` bytes long.
///
/// `const`, so that a typed event's name is checked when it is compiled.
pub(crate) const fn is_name(text: &str, max_len: usize) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() > max_len {
        return false;
    }
    let mut at_start = true;
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'a'..=b'z' => at_start = false,
            b'0'..=b'9' | b'_' if !at_start => {}
            b'.' if !at_start => at_start = true,
            _ => return false,
        }
        i += 1;
    }
    !at_start
}

/// `text` was not a valid event type, topic or topic pattern.
///
/// Displays the field, the rule it breaks and the value, shortened and escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName {
    field: &'static str,
    rule: &'static str,
    max_len: usize,
    value: Box<str>,
}

impl InvalidName {
    pub(crate) fn new(
        field: &'static str,
        rule: &'static str,
        max_len: usize,
        value: &str,
    ) -> Self {
        Self {
            field,
            rule,
            max_len,
            value: shorten(value).into(),
        }
    }

    /// What was being parsed: `type`, `topic` or `topics`.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The longest value allowed, in bytes.
    pub fn max_len(&self) -> usize {
        self.max_len
    }
}

impl InvalidName {
    /// Writes the rule and the value, of whatever is named.
    pub(crate) fn write(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            max_len,
            value,
            ..
        } = self;
        write!(
            f,
            "{what} must match {rule} and have at most {max_len} bytes, got {value}"
        )
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&format!("`{}`", self.field), f)
    }
}

impl std::error::Error for InvalidName {}

/// Quotes a value for an error message: escaped, and cut after 40 characters.
pub(crate) fn shorten(value: &str) -> String {
    const KEEP: usize = 40;
    let mut cut: String = value
        .chars()
        .take(KEEP)
        .flat_map(char::escape_default)
        .collect();
    if value.chars().nth(KEEP).is_some() {
        cut.push_str(&format!("…\" ({} bytes)", value.len()));
        cut.insert(0, '"');
        cut
    } else {
        format!("\"{cut}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for good in ["a", "scan_started", "a.b", "a1_.b2", "project.created.v2"] {
            assert!(is_name(good, 64), "{good}");
        }
        for bad in [
            "", ".", "a.", ".a", "a..b", "A", "1a", "_a", "a._b", "a-b", "a b", "é", "a\0",
        ] {
            assert!(!is_name(bad, 64), "{bad}");
        }
        assert!(is_name(&"a".repeat(64), 64));
        assert!(!is_name(&"a".repeat(65), 64));
    }

    #[test]
    fn errors_are_short_and_escaped() {
        let text = InvalidName::new("type", "[a-z]", 64, &"\u{1b}".repeat(500)).to_string();
        assert!(text.len() < 400, "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("`type`") && text.contains("64") && text.contains("500 bytes"));
    }
}
