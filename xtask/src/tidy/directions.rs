//! Which crate of ours may depend on which.

use std::collections::BTreeMap;

use super::tree::Tree;
use crate::workspace::Kind;

/// A crate, and the crates of ours that it may depend on outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("stoat-correlation", &[]),
    ("stoat-events", &["stoat-correlation"]),
    ("stoat-ws-hub", &["stoat-events", "stoat-correlation"]),
    (
        "stoat",
        &[
            "stoat-ws-hub",
            "stoat-events",
            "stoat-correlation",
            "stoat-log-*",
        ],
    ),
    // For the tests of others.
    (
        "stoat-test-kit",
        &["stoat-ws-hub", "stoat-events", "stoat-correlation"],
    ),
    // A log engine is a crate of its own, named after the engine.
    ("stoat-log-*", &["stoat-events", "stoat-correlation"]),
];

/// These know the others from outside only, in their tests too.
const OUTSIDERS: &[&str] = &["stoat-tests", "stoat-bench", "xtask"];

/// Normal and build dependencies follow the table; outsiders have none of ours.
pub(super) fn normal(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (from, to, kind) in edges(tree) {
        if OUTSIDERS.contains(&from) {
            violations.push(format!(
                "{from} depends on {to}; it may depend on no crate of ours"
            ));
            continue;
        }
        let allowed = ALLOWED.iter().find(|(name, _)| is_named(from, name));
        let allowed = allowed.map_or(&[] as &[&str], |(_, allowed)| allowed);
        if kind != Some(Kind::Dev) && !allowed.iter().any(|name| is_named(to, name)) {
            violations.push(format!(
                "{from} depends on {to}; it may depend on {allowed:?}"
            ));
        }
    }
    for package in &tree.packages {
        let known = ALLOWED
            .iter()
            .any(|(name, _)| is_named(&package.name, name));
        if !known && !OUTSIDERS.contains(&package.name.as_str()) {
            violations.push(format!(
                "{} is not in the table of directions in xtask",
                package.name
            ));
        }
    }
    violations
}

/// Tests may use any crate of ours, except one that is built on the crate under test.
pub(super) fn cycles(tree: &Tree) -> Vec<String> {
    let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to, _) in edges(tree) {
        graph.entry(from).or_default().push(to);
    }
    graph
        .keys()
        .filter(|start| reaches(&graph, start, start, &mut Vec::new()))
        .map(|start| format!("{start} depends on itself through others"))
        .collect()
}

fn edges(tree: &Tree) -> impl Iterator<Item = (&str, &str, Option<Kind>)> {
    let is_ours = |name: &str| tree.packages.iter().any(|package| package.name == name);
    tree.packages.iter().flat_map(move |package| {
        package
            .dependencies
            .iter()
            .filter(move |dependency| dependency.path.is_some() && is_ours(&dependency.name))
            .map(|dependency| {
                (
                    package.name.as_str(),
                    dependency.name.as_str(),
                    dependency.kind,
                )
            })
    })
}

fn is_named(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn reaches<'a>(
    graph: &BTreeMap<&'a str, Vec<&'a str>>,
    from: &str,
    goal: &str,
    seen: &mut Vec<&'a str>,
) -> bool {
    for next in graph.get(from).into_iter().flatten() {
        if *next == goal {
            return true;
        }
        if !seen.contains(next) {
            seen.push(next);
            if reaches(graph, next, goal, seen) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A name, and the dependencies as (name, kind).
    type MadeUp<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

    fn tree(packages: &[MadeUp<'_>]) -> Tree {
        let all = packages.iter();
        all.fold(Tree::default(), |tree, (name, dependencies)| {
            let dependencies: Vec<_> = dependencies
                .iter()
                .map(|(name, kind)| json!({"name": name, "kind": kind, "path": "/x"}))
                .collect();
            tree.with_package(json!({
                "name": name, "manifest_path": "Cargo.toml", "dependencies": dependencies,
            }))
        })
    }

    #[test]
    fn the_agreed_direction_passes() {
        let tree = tree(&[
            ("stoat-correlation", &[]),
            ("stoat-events", &[("stoat-correlation", None)]),
            ("stoat-log-file", &[("stoat-events", None)]),
            (
                "stoat-ws-hub",
                &[("stoat-events", None), ("stoat-log-file", Some("dev"))],
            ),
            ("stoat", &[("stoat-ws-hub", None), ("stoat-log-file", None)]),
            ("stoat-tests", &[]),
            ("xtask", &[]),
        ]);
        assert!(normal(&tree).is_empty());
        assert!(cycles(&tree).is_empty());
    }

    #[test]
    fn the_other_direction_fails() {
        for kind in [None, Some("build")] {
            let tree = tree(&[
                ("stoat-correlation", &[]),
                ("stoat-events", &[("stoat-ws-hub", kind)]),
                ("stoat-ws-hub", &[]),
            ]);
            assert_eq!(
                normal(&tree),
                [r#"stoat-events depends on stoat-ws-hub; it may depend on ["stoat-correlation"]"#]
            );
        }
    }

    #[test]
    fn outsiders_may_not_even_in_tests() {
        for outsider in OUTSIDERS {
            let tree = tree(&[
                (outsider, &[("stoat-events", Some("dev"))]),
                ("stoat-events", &[]),
            ]);
            assert_eq!(normal(&tree).len(), 1, "{outsider}");
        }
    }

    #[test]
    fn an_unknown_crate_must_be_put_in_the_table() {
        assert_eq!(normal(&tree(&[("stoat-new", &[])])).len(), 1);
    }

    #[test]
    fn a_cycle_through_tests_fails() {
        let tree = tree(&[
            ("stoat-events", &[("stoat-ws-hub", Some("dev"))]),
            ("stoat-ws-hub", &[("stoat-events", None)]),
        ]);
        assert!(normal(&tree).is_empty());
        assert_eq!(cycles(&tree).len(), 2);
    }
}
