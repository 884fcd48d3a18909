//! `semver`: whether the API breaks what was built on an earlier state of it.

use crate::{Result, process, workspace};

/// Against the commit that is named; else the newest release; else the commit before.
pub(crate) fn run(args: &[&str]) -> Result {
    let named = match args {
        [] => None,
        [rev] if !rev.starts_with('-') => Some((*rev).to_owned()),
        _ => return Err("semver takes nothing but a commit".into()),
    };
    if !process::cargo(["semver-checks", "--version"]).works() {
        println!("skipped: `cargo install cargo-semver-checks --locked` brings what this needs");
        return Ok(());
    }
    let newest = [
        "describe",
        "--tags",
        "--match",
        "v[0-9]*",
        "--abbrev=0",
        "HEAD^",
    ];
    let baseline = named
        .or_else(|| process::program("git", newest).output().ok())
        .map_or_else(|| "HEAD^".to_owned(), |rev| rev.trim().to_owned());
    let libraries = workspace::members()?;
    // What the program's own library has is for the program.
    let libraries = libraries
        .iter()
        .filter(|package| !package.is_private() && !package.has_target("bin"))
        .flat_map(|package| ["--package", &package.name]);
    let check = [
        "semver-checks",
        "--all-features",
        "--baseline-rev",
        &baseline,
    ];
    process::cargo(check.into_iter().chain(libraries)).run()
}
