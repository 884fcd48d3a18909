//! Takes comments and literals out of Rust source, so that rules see code only.

/// The source with each comment and each string or character literal blanked out; lines stay
/// where they are.
pub(super) fn only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let skipped = if after_word { 0 } else { raw_string(rest) }
            .max(comment(rest))
            .max(string(rest))
            .max(character(rest));
        if skipped == 0 {
            out.push(first);
            after_word = first.is_alphanumeric() || first == '_';
            rest = &rest[first.len_utf8()..];
        } else {
            let (gone, left) = rest.split_at(skipped);
            out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            after_word = false;
            rest = left;
        }
    }
    out
}

/// Whether `word` is there as a word of its own.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

// Each of these returns the length of the thing that the text opens with, or 0.

fn comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if !text.starts_with("/*") {
        return 0;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    if text.starts_with('"') {
        quoted(text, b'"')
    } else {
        0
    }
}

fn raw_string(text: &str) -> usize {
    let bare = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let Some(opening) = bare.strip_prefix('r') else {
        return 0;
    };
    let body = opening.trim_start_matches('#');
    if !body.starts_with('"') {
        return 0;
    }
    let hashes = opening.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len() + 1;
    text[start..]
        .find(&end)
        .map_or(text.len(), |at| start + at + end.len())
}

/// A character literal; a lifetime is none.
fn character(text: &str) -> usize {
    let Some(body) = text.strip_prefix('\'') else {
        return 0;
    };
    let mut chars = body.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(text, b'\''),
        (Some(one), Some('\'')) => one.len_utf8() + 2,
        _ => 0,
    }
}

fn quoted(text: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == quote {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(source: &str) -> String {
        only(source)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_and_literals_are_gone() {
        for (source, left) in [
            ("a // b\nc", "a c"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"a "b \" c" d"#, "a d"),
            (r##"a r#"b " c"# d"##, "a d"),
            (r##"a br#"b"# d"##, "a d"),
            (r"a '\'' b 'x' c", "a b c"),
            (r#"a "//" b"#, "a b"),
            ("a 'é' b", "a b"),
        ] {
            assert_eq!(squeezed(source), left, "{source}");
        }
    }

    #[test]
    fn code_stays() {
        for source in ["fn a<'x>(b: &'x str)", "r#type + bar", "a / b * c"] {
            assert_eq!(only(source), source);
        }
    }

    #[test]
    fn lines_stay() {
        assert_eq!(only("\"a\nb\"\n/*\n*/c").lines().count(), 4);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("a unsafe {", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("is_unsafe", "unsafe"));
    }
}
