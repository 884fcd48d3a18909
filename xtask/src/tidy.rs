//! `tidy`: the house rules that no compiler knows, each a small function over the same tree.

mod book;
mod code;
mod crates;
mod directions;
mod fences;
pub(crate) mod links;
mod sources;
mod tree;

use crate::Result;
use tree::Tree;

/// A rule looks at the tree and returns one line for each violation.
type Rule = fn(&Tree) -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("crates depend in one direction", directions::normal),
    ("no cycle through tests", directions::cycles),
    ("fences around dependencies", fences::names),
    ("tungstenite in two files", fences::tungstenite_files),
    ("a file opens with a sentence", sources::opening),
    ("a file over 500 lines has a reason", sources::length),
    ("nothing unfinished, no unsafe", sources::words),
    ("crates are documented", crates::documents),
    ("examples have names of their own", crates::example_names),
    ("crates inherit from the workspace", crates::inheritance),
    ("clippy knows our pitfalls", crates::clippy_lists),
    ("the changelog is open", crates::changelog),
    ("links lead to files", links::ours),
    ("links lead to headings", book::anchors),
    ("the book has every page", book::complete),
];

pub(crate) fn run() -> Result {
    let tree = Tree::load()?;
    let mut count = 0;
    for (name, rule) in RULES {
        for violation in rule(&tree) {
            println!("{name}: {violation}");
            count += 1;
        }
    }
    if count == 0 {
        println!(
            "tidy: {} rules hold for {} files",
            RULES.len(),
            tree.files.len()
        );
        Ok(())
    } else {
        Err(format!("tidy found {count} violations").into())
    }
}
