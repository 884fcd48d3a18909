//! The code in the pages of the documentation: which blocks there are, and running them as a reader would.
//!
//! The words behind the language of a block say what becomes of it; `CONTRIBUTING.md` tells which
//! there are.

mod compare;
mod manifest;
mod run;
mod shell;

use std::fs;
use std::path::Path;

use crate::binary;

pub use run::follow;

/// A page, with its blocks in order.
#[derive(Clone, Debug)]
pub struct Page {
    /// Relative to the workspace.
    pub path: String,
    /// All of its fenced blocks.
    pub blocks: Vec<Block>,
    /// Lines of code without a fence, which say no language.
    pub indented: Vec<usize>,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line of its fence, from 1.
    pub line: usize,
    /// The first word behind the fence.
    pub language: String,
    /// What follows it.
    pub marks: String,
    /// The lines between the fences.
    pub text: String,
}

impl Block {
    /// Whether this word is among the marks.
    pub fn has(&self, mark: &str) -> bool {
        self.reason().is_none() && self.marks.split(' ').any(|word| word == mark)
    }

    /// The value of `NAME=VALUE` among the marks.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut words = self.marks.split(' ');
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Why it cannot run here.
    pub fn reason(&self) -> Option<&str> {
        self.marks.strip_prefix("not-run: ")
    }
}

impl Page {
    /// Reads one.
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(binary::workspace().join(path));
        Self::parse(
            path,
            &text.unwrap_or_else(|error| panic!("{path}: {error}")),
        )
    }

    fn parse(path: &str, text: &str) -> Self {
        let (mut blocks, mut indented) = (Vec::new(), Vec::new());
        let mut open: Option<(usize, Block)> = None;
        let mut after_blank = true;
        for (at, line) in text.lines().enumerate() {
            let bare = line.trim_start();
            match (&mut open, bare.strip_prefix("```")) {
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), None) => {
                    let cut = line.len().min(*indent);
                    let inside = if line[..cut].trim().is_empty() {
                        &line[cut..]
                    } else {
                        bare
                    };
                    block.text.push_str(inside);
                    block.text.push('\n');
                }
                (None, Some(info)) => {
                    // Rust's marks stand behind commas.
                    let (language, marks) = info.split_once([' ', ',']).unwrap_or((info, ""));
                    let block = Block {
                        line: at + 1,
                        language: language.to_owned(),
                        marks: marks.to_owned(),
                        text: String::new(),
                    };
                    open = Some((line.len() - bare.len(), block));
                }
                (None, None) if after_blank && line.starts_with("    ") => indented.push(at + 1),
                (None, None) => {}
            }
            after_blank = line.trim().is_empty();
        }
        assert!(open.is_none(), "{path}: a fence is not closed");
        Self {
            path: path.to_owned(),
            blocks,
            indented,
        }
    }

    /// Whether there is something that [`follow`] would do.
    pub fn is_followed(&self) -> bool {
        let passive = |block: &Block| matches!(&*block.language, "text" | "rust");
        self.blocks
            .iter()
            .any(|block| !passive(block) && block.reason().is_none())
    }
}

/// Every page that a reader may follow, in the order of their names.
pub fn pages() -> Vec<Page> {
    let mut paths = vec!["CONTRIBUTING.md".to_owned(), "README.md".to_owned()];
    for folder in ["docs", "crates"] {
        walk(&binary::workspace().join(folder), folder, &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let entry = entry.expect("an entry of the folder");
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("its type").is_dir() {
            if !path.ends_with("/node_modules") && !path.ends_with("/target") {
                walk(&entry.path(), &path, paths);
            }
        } else if path.ends_with(".md") {
            paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_marks() {
        let page = Page::parse(
            "a.md",
            "x\n\n```sh terminal client\na\n```\n\n1. y\n   ```toml file=s.toml\n   b = 1\n     c\n   ```\n\
             ```sh not-run: needs a cluster\nd\n```\n```rust,no_run\n```\n\n    e\n",
        );
        let [shell, toml, not_run, rust] = page.blocks.as_slice() else {
            panic!("{page:?}")
        };
        assert!(shell.has("terminal") && shell.has("client") && shell.value("file").is_none());
        assert_eq!((shell.line, shell.text.as_str()), (3, "a\n"));
        assert_eq!(toml.value("file"), Some("s.toml"));
        assert_eq!(toml.text, "b = 1\n  c\n");
        assert_eq!(not_run.reason(), Some("needs a cluster"));
        assert!(!not_run.has("cluster"));
        assert_eq!(
            (rust.language.as_str(), rust.marks.as_str()),
            ("rust", "no_run")
        );
        assert_eq!(page.indented, [18]);
    }
}
