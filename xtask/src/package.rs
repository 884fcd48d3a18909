//! `package`: what each crate takes to crates.io, and whether it builds from that alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::workspace::{self, Package};
use crate::{Result, process};

/// Builds each crate from its package, instead of listing it only.
pub(crate) const VERIFY: &str = "--verify";

/// What Cargo adds by itself.
const OF_CARGO: &[&str] = &[
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
];

/// What every package holds: both licences ask for their text to go with each copy.
const OF_ALL: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"];

/// Where else a file may be.
const FOLDERS: &[&str] = &["examples/", "src/", "tests/keys/", "web/"];

pub(crate) fn run(verify: bool) -> Result {
    let mut packages = workspace::members()?;
    packages.retain(|package| !package.is_private());
    let mut count = 0;
    for package in &packages {
        let files = files(package)?;
        let folder = workspace::root().join(package.folder());
        let mut bytes = 0;
        for file in files
            .iter()
            .filter(|file| !OF_CARGO.contains(&file.as_str()))
        {
            bytes += fs::metadata(folder.join(file))?.len();
        }
        println!(
            "{}: {} files, {} KiB",
            package.name,
            files.len(),
            bytes.div_ceil(1 << 10)
        );
        let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap_or_default();
        for violation in metadata(package)
            .into_iter()
            .chain(contents(&files))
            .chain(included(&files, text))
            .chain(links(&text("README.md")))
        {
            println!("{}: {violation}", package.name);
            count += 1;
        }
    }
    if count != 0 {
        return Err(format!("package found {count} violations").into());
    }
    if verify {
        // All together: then Cargo takes for one what it has just packed of another.
        let chosen = packages
            .iter()
            .flat_map(|package| ["--package", &package.name]);
        process::cargo(["package", "--locked"].into_iter().chain(chosen)).run()?;
    }
    Ok(())
}

fn files(package: &Package) -> Result<BTreeSet<String>> {
    let name = package.name.as_str();
    let list = ["package", "--list", "--allow-dirty", "--package", name];
    let list = process::cargo(list).output()?;
    Ok(list.lines().map(|path| path.replace('\\', "/")).collect())
}

/// What crates.io asks for, or would show nothing for.
fn metadata(package: &Package) -> Vec<String> {
    let mut violations = Vec::new();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            violations.push(what.to_owned());
        }
    };
    need(package.description.is_some(), "it has no description");
    need(package.license.is_some(), "it has no licence");
    need(package.repository.is_some(), "it has no repository");
    need(package.readme.is_some(), "it has no readme");
    need(package.rust_version.is_some(), "it has no rust-version");
    let keywords = &package.keywords;
    need(
        (1..=5).contains(&keywords.len()),
        "it has no keywords, or more than five",
    );
    need(
        keywords.iter().all(|word| is_keyword(word)),
        "a keyword is none: up to 20 ASCII letters, digits, `-` and `_`, the first a letter",
    );
    need(
        (1..=5).contains(&package.categories.len()),
        "it has no categories, or more than five",
    );
    // docs.rs shows the default features, unless it is told otherwise.
    let all = package.metadata.pointer("/docs/rs/all-features");
    need(
        package.feature_sets().len() == 1 || all == Some(&serde_json::Value::Bool(true)),
        "docs.rs shows not all of its features (package.metadata.docs.rs)",
    );
    violations
}

fn is_keyword(word: &str) -> bool {
    let others = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    word.len() <= 20
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(others)
}

/// Nothing that is needed is absent, and nothing else is there.
fn contents(files: &BTreeSet<String>) -> Vec<String> {
    let missing = OF_ALL.iter().filter(|file| !files.contains(**file));
    let missing = missing.map(|file| format!("{file} is not in the package"));
    let is_needed = |file: &str| {
        OF_CARGO.contains(&file)
            || OF_ALL.contains(&file)
            || FOLDERS.iter().any(|folder| file.starts_with(folder))
    };
    let others = files.iter().filter(|file| !is_needed(file));
    let others = others.map(|file| format!("{file} does not belong into the package"));
    missing.chain(others).collect()
}

/// What the sources include is there, too.
fn included(files: &BTreeSet<String>, text: impl Fn(&str) -> String) -> Vec<String> {
    let mut violations = Vec::new();
    for source in files.iter().filter(|file| file.ends_with(".rs")) {
        let text = text(source);
        let mut before = "";
        for line in text.lines() {
            // The tests of the documentation are run in the repository.
            let is_for_us = before.trim() == "#[cfg(doctest)]";
            before = line;
            for path in literals(line).filter(|_| !is_for_us) {
                let found = below(source, path).is_some_and(|path| files.contains(&path));
                if !found {
                    violations.push(format!(
                        "{source} includes {path}, which is not in the package"
                    ));
                }
            }
        }
    }
    violations
}

/// The whole paths in `include_str!("…")` and `include_bytes!("…")`. Paths that a macro puts together
/// are left to the compiler.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    ["include_str!(\"", "include_bytes!(\""]
        .into_iter()
        .flat_map(move |opening| line.split(opening).skip(1))
        .filter_map(|rest| Some(rest.split_once('"')?.0))
        .filter(|path| !path.contains('\\'))
}

/// The path, seen from a file, as one within the package; None when it leads out of it.
fn below(file: &str, path: &str) -> Option<String> {
    let mut place = PathBuf::from(file);
    place.pop();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::ParentDir if place.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(place.to_string_lossy().replace('\\', "/"))
}

/// The README is read on crates.io and docs.rs, where a relative link leads nowhere.
fn links(readme: &str) -> Vec<String> {
    let targets = readme.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .filter(|target| !target.starts_with("https://") && !target.starts_with('#'))
        .map(|target| {
            format!("README.md links to {target}, which is not there outside of the repository")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(files: &[&str]) -> BTreeSet<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    fn package() -> serde_json::Value {
        json!({
            "name": "a", "manifest_path": "crates/a/Cargo.toml", "description": "What it does",
            "license": "MIT", "repository": "https://example.org", "readme": "README.md",
            "rust_version": "1.90", "keywords": ["events"], "categories": ["asynchronous"],
        })
    }

    fn violations(package: serde_json::Value) -> usize {
        metadata(&serde_json::from_value(package).unwrap()).len()
    }

    #[test]
    fn each_thing_that_crates_io_asks_for_is_missed() {
        assert_eq!(violations(package()), 0);
        for key in [
            "description",
            "license",
            "repository",
            "readme",
            "rust_version",
            "keywords",
            "categories",
        ] {
            let mut package = package();
            package.as_object_mut().unwrap().remove(key);
            assert_eq!(violations(package), 1, "{key}");
        }
    }

    #[test]
    fn keywords_are_those_that_crates_io_takes() {
        for word in ["no spaces", "ünlike", "9lives", "a-word-that-is-too-long"] {
            let mut package = package();
            package["keywords"] = json!([word]);
            assert_eq!(violations(package), 1, "{word}");
        }
    }

    #[test]
    fn docs_rs_is_told_of_features() {
        let mut package = package();
        package["features"] = json!({"a": []});
        assert_eq!(violations(package.clone()), 1);
        package["metadata"] = json!({"docs": {"rs": {"all-features": true}}});
        assert_eq!(violations(package), 0);
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_is_named() {
        let mut files = set(&[OF_CARGO, OF_ALL, &["src/a/b.rs", "web/a.js"]].concat());
        assert!(contents(&files).is_empty());
        files.insert("notes.txt".to_owned());
        files.remove("LICENSE-MIT");
        assert_eq!(
            contents(&files),
            [
                "LICENSE-MIT is not in the package",
                "notes.txt does not belong into the package"
            ]
        );
    }

    #[test]
    fn what_a_source_includes_is_looked_for_from_where_it_is() {
        let files = set(&["README.md", "src/a/mod.rs"]);
        let check = |source: &str| included(&files, |_| source.to_owned()).len();
        assert_eq!(check("#![doc = include_str!(\"../../README.md\")]"), 0);
        assert_eq!(check("include_bytes!(\"../README.md\")"), 1);
        assert_eq!(check("include_bytes!(\"../../../../README.md\")"), 1);
        assert_eq!(
            check("#[cfg(doctest)]\n#[doc = include_str!(\"../../../README.md\")]"),
            0
        );
    }

    #[test]
    fn a_relative_link_is_found() {
        assert!(links("[a](https://example.org) [b](#b)").is_empty());
        assert_eq!(
            links("[a](https://example.org) [b](web/README.md)").len(),
            1
        );
    }
}
