//! `deny`: licences, banned crates and sources of all dependencies, by the policy in `deny.toml`.

mod license;
mod policy;

use std::fs;

use crate::workspace::{all_packages, members, root};
use crate::{Result, process};
use policy::Policy;

/// The first cargo-deny that reads our `deny.toml` and the package IDs of today's cargo.
const OLDEST_CARGO_DENY: (u32, u32) = (0, 16);

pub(crate) fn run() -> Result {
    match usable_cargo_deny() {
        Ok(()) => process::cargo([
            "deny",
            "--all-features",
            "check",
            "licenses",
            "bans",
            "sources",
        ])
        .run(),
        Err(why) => {
            println!(
                "cargo-deny is skipped ({why}): checking by ourselves what deny.toml asks for"
            );
            check_by_ourselves()
        }
    }
}

fn usable_cargo_deny() -> std::result::Result<(), String> {
    let Ok(answer) = process::cargo(["deny", "--version"]).output() else {
        return Err("not installed".to_owned());
    };
    if version(&answer).is_some_and(|version| version >= OLDEST_CARGO_DENY) {
        Ok(())
    } else {
        let (major, minor) = OLDEST_CARGO_DENY;
        Err(format!("{} is older than {major}.{minor}", answer.trim()))
    }
}

/// Major and minor of an answer such as `cargo-deny 0.18.3`.
fn version(answer: &str) -> Option<(u32, u32)> {
    let mut numbers = answer.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn check_by_ourselves() -> Result {
    let policy: Policy = toml::from_str(&fs::read_to_string(root().join("deny.toml"))?)?;
    let packages = all_packages()?;
    for warning in policy.warnings(&packages) {
        println!("warning: {warning}");
    }
    let mut faults = policy.faults(&packages);
    faults.extend(policy::wildcards(&members()?));
    for fault in &faults {
        println!("error: {fault}");
    }
    if faults.is_empty() {
        println!("deny: {} packages pass", packages.len());
        Ok(())
    } else {
        Err(format!("deny.toml is broken in {} places", faults.len()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_answer() {
        assert_eq!(version("cargo-deny 0.14.2\n"), Some((0, 14)));
        assert_eq!(version("what"), None);
    }
}
