//! `clippy`: each crate alone, with no features, each feature and all features.

use crate::workspace::{self, Package};
use crate::{Result, process};

pub(crate) fn run() -> Result {
    for package in workspace::members()? {
        let sets = package.feature_sets();
        for set in &sets {
            lint(&package, &["--all-targets"], set)?;
        }
        // Tests and examples bring dependencies that turn on features of others: without
        // them is how a consumer builds us.
        if !package.is_private() {
            for set in &sets {
                lint(&package, &["--lib", "--bins"], set)?;
            }
        }
    }
    Ok(())
}

fn lint(package: &Package, targets: &[&str], features: &[&str]) -> Result {
    let features = features.join(",");
    let select = ["clippy", "--quiet", "--package", &package.name];
    let with = ["--no-default-features", "--features", &features];
    let with = if features.is_empty() {
        &with[..1]
    } else {
        &with
    };
    let strict = ["--", "-D", "warnings"];
    process::cargo([&select, targets, with, &strict].concat()).run()
}
