//! Making text from outside fit to print: escaped, and cut where it is long.

/// Most characters of a value that a message repeats.
const SHOWN: usize = 60;

/// Writes control characters, and those that turn or break a line, as escapes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unfit(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
    }
    out
}

/// The start of a text, escaped; a cut is marked.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = escape(&text.chars().take(SHOWN).collect::<String>());
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// Whether a character does something other than to be seen.
pub(crate) fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_cuts() {
        assert_eq!(
            escape("a\u{1b}[31m\nß\u{202e}"),
            "a\\u{1b}[31m\\nß\\u{202e}"
        );
        assert_eq!(shorten(&"ä".repeat(60)), "ä".repeat(60));
        assert_eq!(shorten(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
    }
}
