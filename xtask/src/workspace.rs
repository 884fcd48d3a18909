//! What `cargo metadata` knows of the workspace and its dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Result, process};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    // Cargo sets it at run time too; the one known at compile time may name another
    // checkout that shares our target folder.
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map(Path::to_path_buf).unwrap_or(own)
}

/// Where `setup` puts what is not of the machine.
pub(crate) fn tools() -> PathBuf {
    root().join(".tools")
}

/// The packages of this workspace, with paths relative to its root.
pub(crate) fn members() -> Result<Vec<Package>> {
    let mut packages = metadata(&["--no-deps"])?;
    for package in &mut packages {
        package.manifest_path = package.manifest_path.strip_prefix(root())?.to_path_buf();
    }
    Ok(packages)
}

/// All packages that a build with all features may use, ours included.
pub(crate) fn all_packages() -> Result<Vec<Package>> {
    metadata(&["--all-features"])
}

fn metadata(args: &[&str]) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let args = [&["metadata", "--format-version", "1"], args].concat();
    let json = process::cargo(args).output()?;
    Ok(serde_json::from_str::<Metadata>(&json)?.packages)
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) readme: Option<PathBuf>,
    pub(crate) rust_version: Option<String>,
    #[serde(default)]
    pub(crate) keywords: Vec<String>,
    #[serde(default)]
    pub(crate) categories: Vec<String>,
    /// What the manifest says to other tools.
    #[serde(default)]
    pub(crate) metadata: serde_json::Value,
    /// None for a package of this workspace.
    pub(crate) source: Option<String>,
    /// The registries it may go to: none listed means that it is private.
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) req: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) path: Option<PathBuf>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Build,
    Dev,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Target {
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

impl Package {
    pub(crate) fn is_private(&self) -> bool {
        self.publish.as_ref().is_some_and(Vec::is_empty)
    }

    pub(crate) fn has_target(&self, kind: &str) -> bool {
        self.targets.iter().any(|target| target.is(kind))
    }

    /// The folder of the package, with `/` between its parts.
    pub(crate) fn folder(&self) -> String {
        let folder = self.manifest_path.parent().unwrap_or(Path::new(""));
        folder.to_string_lossy().replace('\\', "/")
    }

    /// The sets of features worth a build: none, each alone, all; sets that come to the
    /// same are listed once.
    pub(crate) fn feature_sets(&self) -> Vec<Vec<&str>> {
        let none = Vec::new();
        let each = self.features.keys().map(|feature| vec![feature.as_str()]);
        let all = self.features.keys().map(String::as_str).collect();
        let mut seen = BTreeSet::new();
        std::iter::once(none)
            .chain(each)
            .chain([all])
            .filter(|set| seen.insert(self.enabled_by(set)))
            .collect()
    }

    /// The features that a set turns on, `default` itself left out.
    fn enabled_by<'a>(&'a self, set: &[&'a str]) -> BTreeSet<&'a str> {
        let mut enabled = BTreeSet::new();
        let mut open = set.to_vec();
        while let Some(feature) = open.pop() {
            if enabled.insert(feature) {
                let implied = self.features.get(feature).into_iter().flatten();
                open.extend(implied.map(String::as_str));
            }
        }
        enabled.remove("default");
        enabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_sets_are_none_each_and_all_without_repeats() {
        let package: Package = serde_json::from_value(serde_json::json!({
            "name": "x",
            "manifest_path": "crates/x/Cargo.toml",
            "features": {"default": ["a"], "a": [], "b": ["dep:b"]},
        }))
        .unwrap();
        assert_eq!(
            package.feature_sets(),
            [vec![], vec!["a"], vec!["b"], vec!["a", "b", "default"]]
        );
    }

    #[test]
    fn a_package_without_features_is_built_once() {
        let package: Package = serde_json::from_value(serde_json::json!({
            "name": "x", "manifest_path": "x/Cargo.toml", "features": {"default": []},
        }))
        .unwrap();
        assert_eq!(package.feature_sets(), [Vec::<&str>::new()]);
    }
}
