//! Whether a program said what a page says it does, whatever the time and the log's epoch.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the page calls it, and what it is in this run: the epochs of logs.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// The page's text, with the names of this run.
    pub(super) fn apply(&self, text: &str) -> String {
        let replace = |text: String, (from, to): (&String, &String)| text.replace(from, to);
        self.0.iter().fold(text.to_owned(), replace)
    }

    /// Takes epochs that are new in `expected` to be those that are new in `actual`, in their order.
    fn learn(&mut self, expected: &str, actual: &str) {
        let known: Vec<String> = self.0.values().cloned().collect();
        let new = epochs(&self.apply(expected)).into_iter();
        let new = new.filter(|epoch| !known.contains(epoch));
        let actual = epochs(actual).into_iter();
        let actual: Vec<String> = actual.filter(|epoch| !known.contains(epoch)).collect();
        self.0.extend(new.zip(actual));
    }

    /// Whether the whole output is as expected; `…` stands for anything in a line, and alone for any
    /// lines.
    pub(super) fn is_output(&mut self, expected: &str, actual: &str) -> bool {
        self.learn(expected, actual);
        let (expected, actual) = (plain(&self.apply(expected)), plain(actual));
        let expected: Vec<&str> = expected.trim_end().lines().collect();
        let actual: Vec<&str> = actual.trim_end().lines().collect();
        lines_match(&expected, &actual)
    }

    /// Whether the output has these lines, in this order, with others between them or not.
    pub(super) fn is_within(&mut self, expected: &str, actual: &str) -> bool {
        self.learn(expected, actual);
        let (expected, actual) = (plain(&self.apply(expected)), plain(actual));
        let mut lines = actual.lines();
        let mut wanted = expected.lines().filter(|line| *line != "…");
        wanted.all(|wanted| lines.any(|line| line_matches(wanted, line)))
    }

    /// Whether the output is these JSON values, however they are laid out.
    pub(super) fn is_json(&mut self, expected: &str, actual: &str) -> bool {
        self.learn(expected, actual);
        let (expected, actual) = (
            values(&plain(&self.apply(expected))),
            values(&plain(actual)),
        );
        expected.is_some() && expected == actual
    }

    /// Whether these JSON values are among the lines of the output, in this order.
    pub(super) fn is_json_within(&mut self, expected: &str, actual: &str) -> bool {
        self.learn(expected, actual);
        let actual = plain(actual);
        let mut lines = actual.lines().filter_map(values);
        let expected = values(&plain(&self.apply(expected)));
        expected.is_some_and(|wanted| {
            let mut wanted = wanted.into_iter();
            wanted.all(|value| lines.any(|line| line == [value.clone()]))
        })
    }
}

/// The JSON values of a text; nothing where it is not made of such.
pub(super) fn values(text: &str) -> Option<Vec<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values.collect::<Result<_, _>>().ok()
}

fn lines_match(expected: &[&str], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((&"…", rest)) => (0..=actual.len()).any(|at| lines_match(rest, &actual[at..])),
        Some((line, rest)) => actual
            .split_first()
            .is_some_and(|(own, others)| line_matches(line, own) && lines_match(rest, others)),
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    match expected.split_once('…') {
        None => expected.trim_end() == actual.trim_end(),
        Some((start, rest)) => actual.strip_prefix(start).is_some_and(|actual| {
            let mut places = actual
                .char_indices()
                .map(|(at, _)| at)
                .chain([actual.len()]);
            places.any(|at| line_matches(rest, &actual[at..]))
        }),
    }
}

/// A text with `TIME` for each time and `UUID` for each UUID.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let fits = |shape: &str| {
            rest.len() >= shape.len()
                && rest
                    .bytes()
                    .zip(shape.bytes())
                    .all(|(byte, wanted)| match wanted {
                        b'0' => byte.is_ascii_digit(),
                        b'x' => byte.is_ascii_hexdigit(),
                        _ => byte == wanted,
                    })
        };
        let (stands, length) = if fits("0000-00-00T00:00:00.000000+00:00") {
            ("TIME", 32)
        } else if fits("0000-00-00T00:00:00.000000Z") {
            ("TIME", 27)
        } else if fits("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
            ("UUID", 36)
        } else {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        plain.push_str(stands);
        rest = &rest[length..];
    }
    plain
}

/// The epochs of the event IDs in a text, each once: 16 hexadecimal digits before `-` and a number.
fn epochs(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let words = text.as_bytes().split(|byte| !is_word(byte));
    for word in words.filter_map(|word| std::str::from_utf8(word).ok()) {
        let Some((epoch, number)) = word.split_once('-') else {
            continue;
        };
        let is_epoch = epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_epoch && is_number && !found.iter().any(|known| known == epoch) {
            found.push(epoch.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "id 5f0c9a7be1d24c33-1 at 2026-11-23T12:34:56.789012+00:00\n";
    const RUN: &str = "id 0123456789abcdef-1 at 2031-01-02T03:04:05.000006+00:00\n";

    #[test]
    fn times_and_epochs_stand_for_others_and_numbers_do_not() {
        let mut names = Names::default();
        assert!(names.is_output(PAGE, RUN));
        assert_eq!(names.apply("5f0c9a7be1d24c33-7"), "0123456789abcdef-7");
        assert!(!names.is_output(PAGE, &RUN.replace("-1 ", "-2 ")));
        assert!(!names.is_output(PAGE, &RUN.replace("0123456789abcdef", "1123456789abcdef")));
    }

    #[test]
    fn dots_stand_for_anything() {
        let mut names = Names::default();
        assert!(names.is_output("a…c\n…\ne", "abbbc\nd\nd\ne\n"));
        assert!(!names.is_output("a…c\ne", "abbbc\nd\ne\n"));
        assert!(names.is_within("b\nd", "a\nb\nc\nd\n"));
        assert!(!names.is_within("d\nb", "a\nb\nc\nd\n"));
    }

    #[test]
    fn json_is_compared_as_json() {
        let mut names = Names::default();
        assert!(names.is_json("{\"a\": [1, 2]}\n{}", "{\"a\":[1,2]} {}"));
        assert!(!names.is_json("{\"a\": 1}", "{\"a\":2}"));
        assert!(!names.is_json("{…}", "{…}"));
        assert!(names.is_json_within("{\"a\": 1}", "log\n{\"b\":1}\n{\"a\":1}\n"));
        assert!(!names.is_json_within("{\"a\": 1}", "log\n{\"b\":1}\n"));
    }
}
