//! `fuzz`: builds the fuzz targets and runs each for a bounded time.

use std::fs;
use std::path::Path;

use crate::{Result, process, workspace};

/// How long each target runs unless it is said otherwise.
const SECONDS: u32 = 60;
/// How long each runs in CI.
const SECONDS_IN_CI: u32 = 5;

/// What makes a fuzzer see which code an input reached. These flags of the code generator are
/// part of stable Rust; the sanitizers are not, and safe Rust gains little from them.
const FLAGS: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

pub(crate) fn run(args: &[&str]) -> Result {
    let all = targets()?;
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if *arg == "--secs" {
            let value = args.next().ok_or("--secs needs a number")?;
            seconds = value.parse().map_err(|_| "--secs needs a number")?;
        } else if all.iter().any(|target| target == arg) {
            chosen.push((*arg).to_owned());
        } else {
            return Err(format!("no fuzz target `{arg}`; there are {}", all.join(", ")).into());
        }
    }
    fuzz(if chosen.is_empty() { &all } else { &chosen }, seconds)
}

/// Runs every target briefly: the inputs that are kept, and what it makes of them.
pub(crate) fn check() -> Result {
    fuzz(&targets()?, SECONDS_IN_CI)
}

fn fuzz(targets: &[String], seconds: u32) -> Result {
    let host = process::host()?;
    // With a target named, build scripts and macros are spared the flags.
    let build = [
        "build",
        "--release",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        &host,
    ];
    process::cargo(build)
        .env("CARGO_ENCODED_RUSTFLAGS", &FLAGS.join("\u{1f}"))
        .run()?;
    let folder = workspace::root().join("fuzz");
    let built = folder.join("target");
    for target in targets {
        // Finds are kept apart from the inputs that are in the repository.
        let found = built.join("corpus").join(target);
        fs::create_dir_all(&found)?;
        let program = built.join(&host).join("release").join(target);
        let options = [
            format!("-max_total_time={seconds}"),
            // An input is short, and bounded in what it costs.
            "-timeout=10".to_owned(),
            "-rss_limit_mb=1024".to_owned(),
            "-print_final_stats=1".to_owned(),
            "-verbosity=0".to_owned(),
            format!("-artifact_prefix={}/{target}-", built.display()),
            found.display().to_string(),
            folder.join("corpus").join(target).display().to_string(),
        ];
        process::program(&program, options.iter().map(String::as_str)).run()?;
    }
    Ok(())
}

/// The names of the targets, as Cargo finds them.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let name = |path: &Path| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(name(&entry?.path()));
    }
    names.sort();
    Ok(names)
}
