//! `soak`: a release build of the server under everything at once, for minutes.

use std::path::Path;

use crate::{Result, process, workspace};

/// How long it takes unless it is said otherwise.
const SECONDS: u64 = 600;

pub(crate) fn run(args: &[&str]) -> Result {
    let (mut seconds, mut seed, mut over) = (SECONDS, None, "tcp");
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if *arg == "--tls" {
            over = "tls";
            continue;
        }
        let number = || -> Result<u64> {
            let value = args.clone().next().and_then(|text| text.parse().ok());
            Ok(value.ok_or_else(|| format!("{arg} needs a number"))?)
        };
        match *arg {
            "--secs" => seconds = number()?,
            "--seed" => seed = Some(number()?),
            _ => return Err(format!("`{arg}` is none of --tls, --secs, --seed").into()),
        }
        args.next();
    }
    process::cargo(["build", "--release", "--package", "stoat"]).run()?;
    let program = workspace::root().join("target/release/stoat");
    against(&program, over, seconds, seed)
}

/// Puts this program under it, over `tcp` or `tls`, for so many seconds.
pub(crate) fn against(program: &Path, over: &str, seconds: u64, seed: Option<u64>) -> Result {
    let seconds = seconds.to_string();
    let seed = seed.map(|seed| seed.to_string());
    let run = [
        "run",
        "--quiet",
        "--package",
        "stoat-tests",
        "--bin",
        "soak",
        "--",
        over,
        &seconds,
    ];
    process::cargo(run.into_iter().chain(seed.as_deref()))
        .env("STOAT_BIN", &program.display().to_string())
        .run()
}
