//! Follows the links of the Markdown files that lead to files of ours.

use super::tree::Tree;

/// READMEs of crates name files in full, since they are read elsewhere, too.
const IN_FULL: &str = "https://github.com/stoat-rs/stoat/blob/main/";

pub(super) fn ours(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in tree.markdown() {
        for (number, line) in prose(text) {
            for target in targets(&line) {
                let file = target.split('#').next().unwrap_or_default();
                if file.is_empty() || is_elsewhere(target) {
                    continue;
                }
                let found = match file.strip_prefix(IN_FULL) {
                    Some(file) => Some(file.to_owned()),
                    None => resolve(path, file),
                };
                let exists =
                    found.is_some_and(|file| file.is_empty() || tree.paths.contains(&file));
                if !exists {
                    violations.push(format!("{path}:{number}: {target} leads nowhere"));
                }
            }
        }
    }
    violations
}

/// The numbered lines outside code blocks, without code spans.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    prose_with_code(text).map(|(number, line)| (number, without_code_spans(line)))
}

/// The numbered lines outside code blocks.
pub(crate) fn prose_with_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, None) => Some((at + 1, line)),
            (None, Some(mark)) => {
                fence = Some(mark);
                None
            }
            (Some(open), Some(mark)) if open == mark => {
                fence = None;
                None
            }
            (Some(_), _) => None,
        }
    })
}

fn without_code_spans(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return line.to_owned();
    }
    parts.into_iter().step_by(2).collect::<Vec<_>>().join("`")
}

/// Targets of `[text](target)` and of `[name]: target`.
pub(crate) fn targets(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").filter_map(|(at, opening)| {
        let rest = &line[at + opening.len()..];
        rest.split_once(')').map(|(target, _)| target)
    });
    let definition = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"))
        .map(|(_, target)| target);
    inline
        .chain(definition)
        // A title may follow the target.
        .filter_map(|target| target.split_whitespace().next())
        .map(|target| target.trim_matches(['<', '>']))
        .collect()
}

pub(crate) fn is_absolute(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

fn is_elsewhere(target: &str) -> bool {
    is_absolute(target) && !target.starts_with(IN_FULL)
}

/// The path in the tree; None when it leaves the tree.
pub(crate) fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<String> {
        ours(&Tree::of(&[
            ("README.md", ""),
            ("docs/a.md", text),
            ("docs/b.md", ""),
        ]))
    }

    #[test]
    fn links_to_files_pass() {
        for text in [
            "[b](b.md)",
            "[b](b.md#part \"title\") and [r](../README.md)",
            "[docs](../docs/)",
            "[top](../)",
            "[b]: b.md",
            "[web](https://example.org/x.md)",
            "[b](https://github.com/stoat-rs/stoat/blob/main/docs/b.md#part)",
            "[here](#part)",
            "`[x](gone.md)`",
            "```\n[x](gone.md)\n```",
        ] {
            assert!(broken(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn links_to_nothing_fail() {
        for text in [
            "[x](gone.md)",
            "[b](b.md) [x](gone.md#part)",
            "[x]: gone.md",
            "[x](../../outside.md)",
            "[x](https://github.com/stoat-rs/stoat/blob/main/docs/gone.md)",
            "```\n```\n[x](/gone.md)",
        ] {
            assert_eq!(broken(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn the_line_is_named() {
        assert_eq!(
            broken("a\n[x](gone.md)"),
            ["docs/a.md:2: gone.md leads nowhere"]
        );
    }
}
