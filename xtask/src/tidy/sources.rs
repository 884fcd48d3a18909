//! What every Rust file keeps to.

use super::code;
use super::tree::Tree;

const LONGEST: usize = 500;

/// Files that may be longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

/// A file opens with one `//!` sentence, or with the README of its crate; tests and examples
/// may say it otherwise.
pub(super) fn opening(tree: &Tree) -> Vec<String> {
    tree.rust()
        .filter(|(path, _)| !is_test_or_example(path))
        .filter(|(_, text)| !opens_with_sentence(text))
        .map(|(path, _)| format!("{path} opens with no `//!` sentence"))
        .collect()
}

fn is_test_or_example(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "examples", "benches", "tests.rs"].contains(&part))
}

fn opens_with_sentence(text: &str) -> bool {
    if text.starts_with("#![doc = include_str!(") {
        return true;
    }
    let paragraph: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    paragraph
        .last()
        .is_some_and(|line| line.ends_with(['.', ':', '?', '!']))
}

/// A long file is listed with a reason, and leaves the list when it is short again.
pub(super) fn length(tree: &Tree) -> Vec<String> {
    lengths(tree, LONGER)
}

fn lengths(tree: &Tree, longer: &[(&str, &str)]) -> Vec<String> {
    let long: Vec<(&str, usize)> = tree
        .rust()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    let unlisted = long
        .iter()
        .filter(|(path, _)| !longer.iter().any(|(listed, _)| listed == path))
        .map(|(path, lines)| {
            format!("{path} has {lines} lines: split it, or list it in xtask with the reason")
        });
    let stale = longer
        .iter()
        .filter(|(listed, _)| !long.iter().any(|(path, _)| path == listed))
        .map(|(listed, _)| format!("{listed} is short or gone: take it off the list in xtask"));
    unlisted.chain(stale).collect()
}

/// Code with one of these is not finished, or not ours to write.
pub(super) fn words(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, code) in tree.rust_code() {
        for (number, line) in code.lines().enumerate() {
            let macros = ["todo", "unimplemented", "dbg"]
                .into_iter()
                .filter(|name| code::has_word(line, name) && line.contains(&format!("{name}!")));
            let unsafe_word = code::has_word(line, "unsafe").then_some("unsafe");
            for word in macros.chain(unsafe_word) {
                violations.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_sentence_fails() {
        for text in [
            "",
            "use a;",
            "//! title",
            "// Not a doc comment.",
            "//!\n//! Late.",
        ] {
            assert_eq!(opening(&Tree::of(&[("src/a.rs", text)])).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_sentence_may_be_wrapped_and_the_readme_will_do() {
        for text in [
            "//! One.\n",
            "//! One that\n//! goes on.\n//!\n//! more",
            "#![doc = include_str!(\"../README.md\")]\n",
        ] {
            assert!(
                opening(&Tree::of(&[("src/a.rs", text)])).is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn tests_and_examples_need_no_sentence() {
        for path in [
            "crates/a/tests/b.rs",
            "crates/a/examples/b.rs",
            "crates/a/src/b/tests.rs",
        ] {
            assert!(opening(&Tree::of(&[(path, "use a;")])).is_empty(), "{path}");
        }
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let tree = Tree::of(&[
            ("a.rs", &"\n".repeat(LONGEST + 1)),
            ("b.rs", &"\n".repeat(LONGEST)),
        ]);
        assert_eq!(lengths(&tree, &[]).len(), 1);
        assert!(lengths(&tree, &[("a.rs", "reason")]).is_empty());
    }

    #[test]
    fn a_stale_exception_fails() {
        let tree = Tree::of(&[("a.rs", "")]);
        assert_eq!(lengths(&tree, &[("a.rs", "reason")]).len(), 1);
        assert_eq!(lengths(&tree, &[("gone.rs", "reason")]).len(), 1);
    }

    #[test]
    fn unfinished_code_fails() {
        for text in [
            "fn a() { todo!() }",
            "unimplemented!(\"x\")",
            "dbg!(a)",
            "unsafe { a }",
        ] {
            assert_eq!(words(&Tree::of(&[("a.rs", text)])).len(), 1, "{text}");
        }
    }

    #[test]
    fn talk_of_it_passes() {
        for text in [
            "// todo!()",
            "\"unsafe\"",
            "#![forbid(unsafe_code)]",
            "let todo = !a;",
        ] {
            assert!(words(&Tree::of(&[("a.rs", text)])).is_empty(), "{text}");
        }
    }
}
