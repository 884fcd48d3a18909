//! The reference names what there is: metrics, features of the crates, names of the browser client.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use stoat_tests::{Nats, Request, Server, binary};
use toml::{Table, Value};

fn read(path: &str) -> String {
    let text = fs::read_to_string(binary::workspace().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the tables of a page whose first cell is code, as cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| {
        let inside = line.trim_matches('|').split(" | ");
        inside.map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

/// The texts between backticks.
fn codes(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[tokio::test]
async fn the_metrics_are_those_of_a_server() {
    let nats = Nats::start().await;
    let server = Server::start(&["--nats-url", &nats.url()]);
    // Requests have no series before the first of them.
    server.publish(r#"{"type":"a"}"#).await;
    let text = Request::get("/metrics").send(&server).await.text();

    let mut served: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            served.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        }
    }
    for sample in server.metrics().await.all() {
        let family = served.iter_mut().find(|(name, (kind, _))| {
            let ends = if kind == "histogram" {
                &["_bucket", "_sum", "_count"][..]
            } else {
                &[""]
            };
            ends.iter().any(|end| sample.name == format!("{name}{end}"))
        });
        let (_, (_, labels)) = family.expect("a family of that name");
        labels.extend(sample.labels.keys().filter(|label| *label != "le").cloned());
    }

    let written: BTreeMap<String, (String, BTreeSet<String>)> =
        rows(&read("docs/reference/metrics.md"))
            .into_iter()
            .map(|row| {
                let name = codes(&row[0]).next().expect("a name");
                (name, (row[1].clone(), codes(&row[2]).collect()))
            })
            .collect();
    assert_eq!(written, served);
}

#[test]
fn the_features_are_those_of_the_manifests() {
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(binary::workspace().join("crates")).expect("the crates") {
        let folder = entry.expect("a crate").path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let manifest: Table = manifest.parse().expect("TOML");
        let name = manifest["package"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        let features = manifest.get("features").and_then(Value::as_table);
        let defaults = features.and_then(|features| features.get("default")?.as_array());
        for feature in features
            .into_iter()
            .flat_map(Table::keys)
            .filter(|feature| *feature != "default")
        {
            let mut defaults = defaults.into_iter().flatten();
            let is_default = defaults.any(|default| default.as_str() == Some(feature));
            let default = if is_default { "yes" } else { "no" };
            known.insert((name.clone(), feature.clone(), default.to_owned()));
        }
    }
    let rows = rows(&read("docs/reference/crates.md"));
    let written: BTreeSet<(String, String, String)> = rows
        .iter()
        .map(|row| {
            let mut names = row[..2].iter().flat_map(|cell| codes(cell));
            let (name, feature) = (names.next(), names.next());
            (
                name.expect("a crate"),
                feature.expect("a feature"),
                row[2].clone(),
            )
        })
        .collect();
    assert_eq!(written, known);
}

#[test]
fn the_names_of_the_browser_client_are_those_of_its_types() {
    let types = read("crates/app/web/stoat.d.ts");
    let mut known = BTreeSet::new();
    for interface in ["Options extends Filter", "Filter", "Client"] {
        let start = format!("export interface {interface} {{");
        let (_, rest) = types.split_once(&start).expect("an interface");
        let (body, _) = rest.split_once("\n}").expect("its end");
        for line in body.lines().filter_map(|line| line.strip_prefix("  ")) {
            let name = line.strip_prefix("readonly ").unwrap_or(line);
            let end = name.find(|letter: char| !letter.is_ascii_alphanumeric());
            let name = &name[..end.unwrap_or(name.len())];
            if !name.is_empty() {
                known.insert(name.to_owned());
            }
        }
    }
    let (_, states) = types
        .split_once("export type State = ")
        .expect("the states");
    let (states, _) = states.split_once(';').expect("their end");
    known.extend(states.split('"').skip(1).step_by(2).map(str::to_owned));

    let written: BTreeSet<String> = rows(&read("docs/reference/browser-client.md"))
        .iter()
        .flat_map(|row| codes(&row[0]).collect::<Vec<_>>())
        .map(|name| name.split('(').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(written, known);
}
