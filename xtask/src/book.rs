//! `book`: the documentation as a website, with mdBook where it is installed.

use std::fs;
use std::path::Path;

use crate::tidy::links;
use crate::{Result, process, workspace};

/// Where links lead that leave the documentation.
const REPOSITORY: &str = "https://github.com/stoat-rs/stoat/blob/main";

/// The folder of the documentation.
const DOCS: &str = "docs";

pub(crate) fn run() -> Result {
    if !process::program("mdbook", ["--version"]).works() {
        println!("mdbook is not installed: the book is skipped (cargo install mdbook)");
        return Ok(());
    }
    // A copy, in which links to files outside of it lead to the repository.
    let book = workspace::root().join("target").join("book");
    let source = book.join("source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    copy(&workspace::root().join(DOCS), &source, DOCS)?;
    let folder = source.display().to_string();
    let site = book.join("html").display().to_string();
    process::program("mdbook", ["build", &folder, "--dest-dir", &site]).run_without_warnings()?;
    println!("the book is in target/book/html");
    Ok(())
}

fn copy(from: &Path, to: &Path, path: &str) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (target, path) = (to.join(&name), format!("{path}/{name}"));
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, &path)?;
        } else if name.ends_with(".md") && name != "SUMMARY.md" {
            fs::write(target, outward(&path, &fs::read_to_string(entry.path())?))?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The text of a page, with links that hold on the website.
fn outward(path: &str, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (number, line) in links::prose(text) {
        for target in links::targets(&line) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.is_empty() || links::is_absolute(target) {
                continue;
            }
            let Some(found) = links::resolve(path, file) else {
                continue;
            };
            let hash = if anchor.is_empty() { "" } else { "#" };
            let there = if !found.starts_with("docs/") || is_folder(&found) {
                format!("{REPOSITORY}/{found}{hash}{anchor}")
            } else if let Some(folder) = file.strip_suffix("README.md") {
                // mdBook makes an index of such a page, but not of links to it.
                format!("{folder}index.html{hash}{anchor}")
            } else {
                continue;
            };
            let line = &mut lines[number - 1];
            *line = line.replace(&format!("]({target})"), &format!("]({there})"));
        }
    }
    lines.join("\n") + "\n"
}

/// A website has no lists of files.
fn is_folder(path: &str) -> bool {
    workspace::root().join(path).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_book_lead_to_the_repository() {
        let page = "[a](../crates/x/README.md#part) [b](b.md#part) [c](../docs/c.md) [w](https://w.example)\n\
                    `[a](../README.md)` [d](decisions/README.md#part)\n";
        let expected = page
            .replace("](../crates/x", &format!("]({REPOSITORY}/crates/x"))
            .replace("(decisions/README.md", "(decisions/index.html");
        assert_eq!(outward("docs/a.md", page), expected);
    }
}
