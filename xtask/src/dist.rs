//! `dist`: one file to run on any Linux machine, or alone in a container.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Result, process, training, workspace};

/// The profile in `Cargo.toml`.
const PROFILE: &str = "dist";

/// The flag for a program that is not trained.
const UNTRAINED: &str = "--untrained";

/// In a static program the crate getrandom finds the system call by name no more, and reads
/// `/dev/urandom`, which an empty root does not have: it is told to link to it.
const FLAGS: &str = "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";

pub(crate) fn run(args: &[&str]) -> Result {
    let (mut target, mut trains) = (None, true);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--target" => target = Some(*args.next().ok_or("--target needs a TRIPLE")?),
            UNTRAINED => trains = false,
            _ => return Err(format!("`{arg}` is none of --target TRIPLE, {UNTRAINED}").into()),
        }
    }
    make(target, trains).map(drop)
}

/// As [`run`]; where the program is.
pub(crate) fn make(target: Option<&str>, trains: bool) -> Result<PathBuf> {
    let host = process::host()?;
    let target = target.unwrap_or(&host);
    if !target.contains("-linux-") {
        return Err(format!("`{target}` is no Linux: only there a program can be static").into());
    }
    let mut flags = FLAGS.to_owned();
    if trains && target != host {
        println!("not trained: this machine cannot run what is built for `{target}`");
    } else if trains && let Some(profile) = training::profile(target, FLAGS)? {
        flags.push_str(&format!(" -C profile-use={}", profile.display()));
    }
    let program = build(target, &flags, &workspace::root().join("target"))?;
    let bytes = fs::read(&program)?;
    if needs_a_loader(&bytes) {
        return Err(format!(
            "{} is not static: is RUSTFLAGS set, or are `rustflags` configured?",
            program.display()
        )
        .into());
    }
    if target.split('-').next() == host.split('-').next() {
        runs_alone(&program)?;
    }
    let mebibytes = bytes.len() as f64 / f64::from(1 << 20);
    println!("{} ({mebibytes:.1} MiB, static)", program.display());
    Ok(program)
}

/// Builds stoat with these flags below a folder; where the program is.
pub(crate) fn build(target: &str, flags: &str, folder: &Path) -> Result<PathBuf> {
    // A target that is named, even if it is this machine's own, keeps the flags off what is loaded
    // while it is built, such as procedural macros.
    process::cargo([
        "build",
        "--locked",
        "--profile",
        PROFILE,
        "--package",
        "stoat",
        "--target",
        target,
        "--target-dir",
        &folder.display().to_string(),
    ])
    .env(&flags_variable(target), flags)
    .run()?;
    Ok(folder.join(target).join(PROFILE).join("stoat"))
}

/// Starts it where there is no other file, as in the image of `docs/deploy`.
fn runs_alone(program: &Path) -> Result {
    let alone = ["--map-root-user", "--root"];
    if !process::program("unshare", [alone[0], "true"]).works() {
        println!("skipped: no `unshare` here that may give it an empty root");
        return Ok(());
    }
    let root = workspace::root().join("target").join("empty-root");
    fs::create_dir_all(&root)?;
    fs::copy(program, root.join("stoat"))?;
    let place = root.display().to_string();
    let outcome = process::program(
        "unshare",
        [alone[0], alone[1], &place, "/stoat", "--version"],
    )
    .run();
    fs::remove_dir_all(root)?;
    outcome
}

fn flags_variable(target: &str) -> String {
    let target = target.to_ascii_uppercase().replace('-', "_");
    format!("CARGO_TARGET_{target}_RUSTFLAGS")
}

/// Whether a 64-bit ELF file of low byte order asks for a dynamic loader (`PT_INTERP`).
fn needs_a_loader(file: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, width: usize| {
        let bytes = file.get(at..at + width).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|entry| {
        let at = usize::try_from(table + entry * size);
        at.is_ok_and(|at| number(at, 4) == PT_INTERP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    fn this_test_is_not_static() {
        let this = std::env::current_exe().unwrap();
        let mut bytes = fs::read(this).unwrap();
        assert!(needs_a_loader(&bytes));
        // No headers, no loader.
        bytes[56..58].fill(0);
        assert!(!needs_a_loader(&bytes));
    }

    #[test]
    fn the_variable_is_the_one_that_cargo_reads() {
        assert_eq!(
            flags_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS"
        );
    }
}
