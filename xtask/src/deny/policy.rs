//! The part of `deny.toml` that we can check without cargo-deny.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::license;
use crate::workspace::Package;

#[derive(Deserialize)]
pub(super) struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// A crate that may have more licences than the others.
#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

impl Policy {
    pub(super) fn faults(&self, packages: &[Package]) -> Vec<String> {
        packages
            .iter()
            .flat_map(|package| {
                let faults = [
                    self.license_fault(package),
                    self.ban_fault(package),
                    self.source_fault(package),
                ];
                faults
                    .into_iter()
                    .flatten()
                    .map(|fault| format!("{} {}: {fault}", package.name, package.version))
            })
            .collect()
    }

    /// Crates that are built in more than one version.
    pub(super) fn warnings(&self, packages: &[Package]) -> Vec<String> {
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in packages {
            let known = versions.entry(&package.name).or_default();
            known.insert(&package.version);
        }
        versions.retain(|_, versions| versions.len() > 1);
        versions
            .into_iter()
            .map(|(name, versions)| {
                let versions: Vec<&str> = versions.into_iter().collect();
                format!("{name} is there in versions {}", versions.join(" and "))
            })
            .collect()
    }

    fn license_fault(&self, package: &Package) -> Option<String> {
        let Some(expression) = &package.license else {
            return Some("names no licence".to_owned());
        };
        let is_allowed = |name: &str| {
            let of_this_crate = self
                .licenses
                .exceptions
                .iter()
                .filter(|exception| exception.name == package.name)
                .flat_map(|exception| &exception.allow);
            self.licenses
                .allow
                .iter()
                .chain(of_this_crate)
                .any(|allowed| allowed == name)
        };
        match license::is_satisfied(expression, &is_allowed) {
            Ok(true) => None,
            Ok(false) => Some(format!("licence `{expression}` is not allowed")),
            Err(fault) => Some(fault),
        }
    }

    fn ban_fault(&self, package: &Package) -> Option<String> {
        let banned = self.bans.deny.iter().find(|ban| ban.name == package.name)?;
        Some(format!("is banned: {}", banned.reason))
    }

    fn source_fault(&self, package: &Package) -> Option<String> {
        let source = package.source.as_ref()?;
        let is_allowed = source.strip_prefix("registry+").is_some_and(|registry| {
            self.sources
                .allow_registry
                .iter()
                .any(|one| one == registry)
        });
        (!is_allowed).then(|| format!("comes from `{source}`"))
    }
}

/// Dependencies of ours that take any version; a path within the workspace is fine.
pub(super) fn wildcards(members: &[Package]) -> Vec<String> {
    members
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .filter(|dependency| dependency.req == "*" && dependency.path.is_none())
                .map(|dependency| {
                    format!("{} takes any version of {}", package.name, dependency.name)
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

    fn policy() -> Policy {
        toml::from_str(
            r#"
            [licenses]
            allow = ["MIT"]
            exceptions = [{ crate = "special", allow = ["ISC"] }]
            [bans]
            deny = [{ crate = "bad", reason = "because" }]
            [sources]
            allow-registry = ["https://github.com/rust-lang/crates.io-index"]
            "#,
        )
        .unwrap()
    }

    fn package(with: Value) -> Package {
        let mut all = json!({
            "name": "good", "version": "1.0.0", "license": "MIT", "source": CRATES_IO,
            "manifest_path": "Cargo.toml",
        });
        for (key, value) in with.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn faults(with: Value) -> Vec<String> {
        policy().faults(&[package(with)])
    }

    #[test]
    fn a_good_package_passes() {
        assert!(faults(json!({})).is_empty());
        assert!(faults(json!({"source": null})).is_empty());
    }

    #[test]
    fn a_licence_outside_the_list_is_a_fault() {
        assert_eq!(
            faults(json!({"license": "GPL-3.0-only"})),
            ["good 1.0.0: licence `GPL-3.0-only` is not allowed"]
        );
        assert_eq!(
            faults(json!({"license": null})),
            ["good 1.0.0: names no licence"]
        );
    }

    #[test]
    fn an_exception_holds_for_its_crate_only() {
        assert!(faults(json!({"name": "special", "license": "ISC"})).is_empty());
        assert_eq!(faults(json!({"license": "ISC"})).len(), 1);
    }

    #[test]
    fn a_banned_crate_is_a_fault() {
        assert_eq!(
            faults(json!({"name": "bad"})),
            ["bad 1.0.0: is banned: because"]
        );
    }

    #[test]
    fn another_registry_and_git_are_faults() {
        assert_eq!(
            faults(json!({"source": "registry+https://example.org/index"})).len(),
            1
        );
        assert_eq!(
            faults(json!({"source": "git+https://example.org/x"})).len(),
            1
        );
    }

    #[test]
    fn a_second_version_is_a_warning() {
        let both = [package(json!({})), package(json!({"version": "2.0.0"}))];
        assert_eq!(
            policy().warnings(&both),
            ["good is there in versions 1.0.0 and 2.0.0"]
        );
    }

    #[test]
    fn any_version_is_a_fault_except_in_the_workspace() {
        let ours = package(json!({"dependencies": [
            {"name": "loose", "req": "*"},
            {"name": "mine", "req": "*", "path": "/x"},
            {"name": "tight", "req": "^1"},
        ]}));
        assert_eq!(wildcards(&[ours]), ["good takes any version of loose"]);
    }
}
