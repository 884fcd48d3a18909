//! `msrv`: whether the oldest Rust that we name builds what others use.

use crate::{Result, process, workspace};

pub(crate) fn run() -> Result {
    let mut packages = workspace::members()?;
    packages.retain(|package| !package.is_private());
    let oldest = packages
        .first()
        .and_then(|package| package.rust_version.clone());
    let oldest = oldest.ok_or("no package names a rust-version")?;
    // Cargo itself knows no toolchains; rustup's does, when it is called by another.
    if !process::program("rustup", ["run", &oldest, "rustc", "--version"]).works() {
        println!("skipped: `rustup toolchain install {oldest}` brings what this needs");
        return Ok(());
    }
    let chosen = packages
        .iter()
        .flat_map(|package| ["--package", &package.name]);
    let check = [
        "run",
        &oldest,
        "cargo",
        "check",
        "--locked",
        "--all-features",
    ];
    // Apart: it would build anew what the current Rust has built, and the other way round.
    process::program("rustup", check.into_iter().chain(chosen))
        .env("CARGO_TARGET_DIR", "target/msrv")
        .run()
}
