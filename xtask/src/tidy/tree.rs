//! The workspace as the rules see it: texts and packages, with paths relative to its root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::code;
use crate::Result;
use crate::workspace::{self, Package};

/// Folders that hold no source of ours.
const SKIPPED: &[&str] = &[".git", ".tools", "node_modules", "target", "__pycache__"];

#[derive(Default)]
pub(super) struct Tree {
    /// Text of each `.rs`, `.md` and `.toml` file.
    pub(super) files: BTreeMap<String, String>,
    /// Every file and folder.
    pub(super) paths: BTreeSet<String>,
    pub(super) packages: Vec<Package>,
}

impl Tree {
    pub(super) fn load() -> Result<Self> {
        let mut tree = Self {
            packages: workspace::members()?,
            ..Self::default()
        };
        tree.walk(&workspace::root(), "")?;
        Ok(tree)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Path and text of the Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_extension(".rs")
    }

    /// Path and text of the Rust files, without comments and literals.
    pub(super) fn rust_code(&self) -> impl Iterator<Item = (&str, String)> {
        self.rust().map(|(path, text)| (path, code::only(text)))
    }

    pub(super) fn markdown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_extension(".md")
    }

    fn with_extension<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(end))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> Result {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            // What a link leads to is not ours; it may even lead back up.
            if entry.file_type()?.is_dir() {
                if SKIPPED.contains(&name.as_str()) {
                    continue;
                }
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if [".rs", ".md", ".toml"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                let text =
                    fs::read_to_string(entry.path()).map_err(|error| format!("{path}: {error}"))?;
                self.files.insert(path.clone(), text);
            }
            self.paths.insert(path);
        }
        Ok(())
    }
}

#[cfg(test)]
impl Tree {
    /// A made-up tree of these files.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.files.insert((*path).to_owned(), (*text).to_owned());
            for (slash, _) in path.match_indices('/') {
                tree.paths.insert(path[..slash].to_owned());
            }
            tree.paths.insert((*path).to_owned());
        }
        tree
    }

    /// Adds a made-up package, as `cargo metadata` would describe it.
    pub(super) fn with_package(mut self, package: serde_json::Value) -> Self {
        self.packages.push(serde_json::from_value(package).unwrap());
        self
    }
}
