//! What every crate brings with it, and what they share.

use std::collections::BTreeMap;

use super::tree::Tree;
use crate::workspace::Package;

/// A crate that others can use has a description, a README that is its documentation, and, as a
/// library, an example.
pub(super) fn documents(tree: &Tree) -> Vec<String> {
    let published = tree.packages.iter().filter(|package| !package.is_private());
    published
        .flat_map(|package| {
            let missing = missing_documents(tree, package);
            missing
                .into_iter()
                .map(|what| format!("{} has no {what}", package.folder()))
        })
        .collect()
}

fn missing_documents(tree: &Tree, package: &Package) -> Vec<&'static str> {
    let mut missing = Vec::new();
    let folder = package.folder();
    if package
        .description
        .as_ref()
        .is_none_or(|text| text.trim().is_empty())
    {
        missing.push("description");
    }
    if !tree.paths.contains(&format!("{folder}/README.md")) {
        missing.push("README.md");
    }
    let lib = tree
        .text(&format!("{folder}/src/lib.rs"))
        .unwrap_or_default();
    if !lib.contains("#![doc = include_str!(\"../README.md\")]") {
        missing.push("README.md as its crate documentation (src/lib.rs)");
    }
    if package.has_target("lib") && !package.has_target("bin") && !package.has_target("example") {
        missing.push("example");
    }
    missing
}

/// All examples are built into one folder, where a second one of the same name replaces the first.
pub(super) fn example_names(tree: &Tree) -> Vec<String> {
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    let mut violations = Vec::new();
    for package in &tree.packages {
        let examples = package.targets.iter().filter(|target| target.is("example"));
        for example in examples {
            if let Some(other) = known.insert(&example.name, package.folder()) {
                let name = &example.name;
                let folder = package.folder();
                violations.push(format!(
                    "{folder} and {other} both have an example `{name}`"
                ));
            }
        }
    }
    violations
}

/// The oldest Rust, the edition, the licence and the lints are written once.
pub(super) fn inheritance(tree: &Tree) -> Vec<String> {
    tree.packages
        .iter()
        .flat_map(|package| {
            let path = package.manifest_path.to_string_lossy().replace('\\', "/");
            not_inherited(tree.text(&path).unwrap_or_default())
                .into_iter()
                .map(move |key| format!("{path}: {key} is not `workspace = true`"))
        })
        .collect()
}

fn not_inherited(manifest: &str) -> Vec<&'static str> {
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let inherits = |value: Option<&toml::Value>| {
        value
            .and_then(|value| value.get("workspace"))
            .and_then(toml::Value::as_bool)
            == Some(true)
    };
    let package = manifest.get("package");
    let mut keys = vec!["rust-version", "edition", "license"];
    keys.retain(|key| !inherits(package.and_then(|package| package.get(key))));
    if !inherits(manifest.get("lints")) {
        keys.push("lints");
    }
    keys
}

/// What `clippy.toml` must go on listing: guards that freeze the server when held across an
/// await, and spawns that lose the correlation ID.
const CLIPPY_LISTS: &[(&str, &[&str])] = &[
    (
        "await-holding-invalid-types",
        &[
            "dashmap::mapref::one::Ref",
            "dashmap::mapref::one::RefMut",
            "dashmap::mapref::entry::Entry",
            "dashmap::mapref::multiple::RefMulti",
            "dashmap::mapref::multiple::RefMutMulti",
        ],
    ),
    (
        "disallowed-methods",
        &[
            "tokio::spawn",
            "tokio::task::spawn",
            "tokio::task::spawn_blocking",
        ],
    ),
];

pub(super) fn clippy_lists(tree: &Tree) -> Vec<String> {
    let settings = tree.text("clippy.toml").unwrap_or_default();
    let settings: toml::Table = settings.parse().unwrap_or_default();
    let mut violations = Vec::new();
    for (key, paths) in CLIPPY_LISTS {
        let listed = settings.get(*key).and_then(toml::Value::as_array);
        let listed: Vec<&str> = listed
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.get("path").unwrap_or(entry).as_str())
            .collect();
        for path in paths.iter().filter(|path| !listed.contains(path)) {
            violations.push(format!("clippy.toml does not list {path} under {key}"));
        }
    }
    violations
}

pub(super) fn changelog(tree: &Tree) -> Vec<String> {
    let text = tree.text("CHANGELOG.md").unwrap_or_default();
    if text
        .lines()
        .any(|line| line.trim_end() == "## [Unreleased]")
    {
        Vec::new()
    } else {
        vec!["CHANGELOG.md has no section `## [Unreleased]`".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const INCLUDED: &str = "#![doc = include_str!(\"../README.md\")]\n";

    fn library(targets: &[&str], publish: Option<&[&str]>) -> serde_json::Value {
        let targets: Vec<_> = targets.iter().map(|kind| json!({"kind": [kind]})).collect();
        json!({
            "name": "a", "manifest_path": "crates/a/Cargo.toml", "description": "What it does",
            "targets": targets, "publish": publish,
        })
    }

    #[test]
    fn a_documented_crate_passes() {
        let files = [
            ("crates/a/README.md", "# a"),
            ("crates/a/src/lib.rs", INCLUDED),
        ];
        let tree = Tree::of(&files).with_package(library(&["lib", "example"], None));
        assert!(documents(&tree).is_empty());
        // A program with a library beside it is run, not shown in an example.
        let tree = Tree::of(&files).with_package(library(&["lib", "bin"], None));
        assert!(documents(&tree).is_empty());
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let mut package = library(&["lib"], None);
        package["description"] = json!(" ");
        let tree = Tree::of(&[("crates/a/src/lib.rs", "//! A.")]).with_package(package);
        assert_eq!(documents(&tree).len(), 4);
    }

    #[test]
    fn a_private_crate_is_left_alone() {
        let tree = Tree::default().with_package(library(&["lib"], Some(&[])));
        assert!(documents(&tree).is_empty());
    }

    #[test]
    fn a_second_example_of_the_same_name_fails() {
        let with_example = |package: &str, example: &str| {
            json!({
                "name": package, "manifest_path": format!("crates/{package}/Cargo.toml"),
                "targets": [{"kind": ["example"], "name": example}],
            })
        };
        let tree = Tree::default()
            .with_package(with_example("a", "one"))
            .with_package(with_example("b", "two"));
        assert!(example_names(&tree).is_empty());
        let tree = tree.with_package(with_example("c", "one"));
        assert_eq!(
            example_names(&tree),
            ["crates/c and crates/a both have an example `one`"]
        );
    }

    #[test]
    fn a_version_of_its_own_fails() {
        let good = "[package]\nrust-version.workspace = true\nedition.workspace = true\n\
                    license.workspace = true\n[lints]\nworkspace = true\n";
        assert!(not_inherited(good).is_empty());
        let own = good.replace("rust-version.workspace = true", "rust-version = \"1.80\"");
        assert_eq!(not_inherited(&own), ["rust-version"]);
        let lax = good.replace("[lints]\nworkspace = true\n", "");
        assert_eq!(not_inherited(&lax), ["lints"]);
    }

    #[test]
    fn a_manifest_of_the_tree_is_read() {
        let tree = Tree::of(&[("crates/a/Cargo.toml", "[package]\n")])
            .with_package(library(&["lib"], None));
        assert_eq!(inheritance(&tree).len(), 4);
    }

    #[test]
    fn a_guard_that_left_the_list_fails() {
        let all: String = CLIPPY_LISTS
            .iter()
            .map(|(key, paths)| format!("{key} = {paths:?}\n"))
            .collect();
        assert!(clippy_lists(&Tree::of(&[("clippy.toml", &all)])).is_empty());
        let fewer = all.replace("\"dashmap::mapref::one::RefMut\", ", "");
        assert_eq!(
            clippy_lists(&Tree::of(&[("clippy.toml", &fewer)])),
            [
                "clippy.toml does not list dashmap::mapref::one::RefMut under await-holding-invalid-types"
            ]
        );
        let table = "disallowed-methods = [{ path = \"tokio::spawn\", reason = \"x\" }]";
        assert_eq!(clippy_lists(&Tree::of(&[("clippy.toml", table)])).len(), 7);
    }

    #[test]
    fn a_closed_changelog_fails() {
        let open = Tree::of(&[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")]);
        assert!(changelog(&open).is_empty());
        assert_eq!(
            changelog(&Tree::of(&[("CHANGELOG.md", "# Changelog\n")])).len(),
            1
        );
        assert_eq!(changelog(&Tree::default()).len(), 1);
    }
}
