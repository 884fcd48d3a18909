//! JSON in colours, for a terminal.

use std::fmt::Write as _;

const KEY: &str = "\x1b[34m";
const STRING: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[33m";
const WORD: &str = "\x1b[35m";
const PLAIN: &str = "\x1b[0m";

/// Colours the text of one JSON value. It stays the same JSON, but what a terminal would obey, or
/// what would turn around the text beside it, is escaped.
pub(super) fn paint(json: &str) -> String {
    let mut painted = String::with_capacity(json.len() * 2);
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let (colour, len) = match first {
            '"' => {
                let len = string_len(rest);
                let is_key = rest[len..].trim_start().starts_with(':');
                (if is_key { KEY } else { STRING }, len)
            }
            '-' | '0'..='9' => (NUMBER, word_len(rest)),
            'a'..='z' => (WORD, word_len(rest)),
            _ => ("", first.len_utf8()),
        };
        let (token, behind) = rest.split_at(len);
        painted.push_str(colour);
        for c in token.chars() {
            push(&mut painted, c);
        }
        if !colour.is_empty() {
            painted.push_str(PLAIN);
        }
        rest = behind;
    }
    painted
}

/// The length of the string that the text begins with, quotation marks included.
fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

fn word_len(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

fn push(painted: &mut String, c: char) {
    let is_sly = c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if is_sly {
        // Writing to a string cannot fail. All of these are in the first plane.
        let _ = write!(painted, "\\u{:04x}", u32::from(c));
    } else {
        painted.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(painted: &str) -> String {
        let mut text = painted.to_owned();
        for code in [KEY, STRING, NUMBER, WORD, PLAIN] {
            text = text.replace(code, "");
        }
        text
    }

    #[test]
    fn the_json_stays_what_it_was() {
        let json = r#"{"a\"b":["x\\",-1.5e+10,true,null, "ü"],"c" : {}}"#;
        let painted = paint(json);
        assert_eq!(plain(&painted), json);
        assert!(painted.contains(&format!("{KEY}\"a\\\"b\"{PLAIN}:")));
        assert!(painted.contains(&format!("{STRING}\"x\\\\\"{PLAIN},{NUMBER}-1.5e+10{PLAIN}")));
        assert!(painted.contains(&format!("{KEY}\"c\"{PLAIN} :")));
        assert!(painted.contains(&format!("{WORD}null{PLAIN}")));
    }

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        let painted = paint("{\"a\":\"\u{9b}2J\u{7f}\u{202e}\"}");
        assert_eq!(plain(&painted), r#"{"a":"\u009b2J\u007f\u202e"}"#);
        assert_eq!(plain(&paint("\"")), "\"");
        assert_eq!(plain(&paint("\"\\")), "\"\\");
    }
}
