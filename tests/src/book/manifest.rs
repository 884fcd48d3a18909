//! Parts of a `Cargo.toml` in the pages: the crates and features that they name are there.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::binary;

/// Fails where a dependency on a crate of this workspace names a feature or a version that it has not.
pub(super) fn check(at: &str, text: &str) {
    let page: Table = text.parse().unwrap_or_else(|error| panic!("{at}: {error}"));
    for (name, value) in page.values().filter_map(Value::as_table).flatten() {
        if !name.starts_with("stoat-") {
            continue;
        }
        let folder = binary::workspace().join("crates").join(name);
        let manifest = read(&folder.join("Cargo.toml"));
        let known = manifest.get("features").and_then(Value::as_table);
        let features = value.get("features").and_then(Value::as_array);
        for feature in features.into_iter().flatten().filter_map(Value::as_str) {
            let is_known = known.is_some_and(|known| known.contains_key(feature));
            assert!(is_known, "{at}: {name} has no feature {feature}");
        }
        let version = value
            .as_str()
            .or(value.get("version").and_then(Value::as_str));
        let workspace = read(&binary::workspace().join("Cargo.toml"));
        let own = workspace["workspace"]["package"]["version"].as_str();
        let is_own = own
            .zip(version)
            .is_some_and(|(own, version)| own.starts_with(version));
        assert!(
            is_own,
            "{at}: {name} has the version {own:?}, not {version:?}"
        );
    }
}

fn read(path: &Path) -> Table {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
