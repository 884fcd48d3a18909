//! The profile that a `dist` build is guided by: what an instrumented build did under load.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Result, dist, process, soak, workspace};

/// The load generator of the benchmark.
const LOAD: [&str; 8] = [
    "run",
    "--quiet",
    "--release",
    "--package",
    "stoat-bench",
    "--bin",
    "load",
    "--",
];

/// Publishes to many and to few, at a pace and as fast as they go, to all and to one topic of many;
/// and whether the log is on disk.
const LOADS: [(&str, bool); 5] = [
    ("--clients 300 --rate 100 --secs 5", false),
    ("--clients 1000 --flat --secs 3", false),
    ("--clients 10 --flat --secs 3", false),
    ("--clients 1000 --topics 100 --rate 200 --secs 3", false),
    ("--clients 10 --flat --secs 3", true),
];

/// Seconds of everything at once: each way to follow, filters, resuming, clients that do harm.
const SOAK_SECONDS: u64 = 15;

const MISSING: &str = "no `llvm-profdata`; `rustup component add llvm-tools` brings it";

/// Builds stoat for this machine with counters in it, has it do what servers do, and makes one
/// profile of the counts. `None` where the toolchain has no tool for that.
pub(crate) fn profile(target: &str, flags: &str) -> Result<Option<PathBuf>> {
    let merge = llvm_profdata(target)?;
    if !merge.exists() {
        println!("not trained: {MISSING}");
        return Ok(None);
    }
    let folder = workspace::root().join("target").join("training");
    let (counts, log) = (folder.join("counts"), folder.join("log"));
    for old in [&counts, &log] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let flags = format!("{flags} -C profile-generate={}", counts.display());
    let program = dist::build(target, &flags, &folder)?;

    let (shown, log) = (program.display().to_string(), log.display().to_string());
    for (load, on_disk) in LOADS {
        let port = free_port()?.to_string();
        let own = ["--publish", "/api/v1/events", "--port", &port];
        let listen = format!("127.0.0.1:{port}");
        let server = ["--", &shown, "--listen", &listen, "--log-level", "error"];
        let disk = ["--log-dir", &log].into_iter().filter(|_| on_disk);
        let words = LOAD.into_iter().chain(load.split(' ')).chain(own);
        process::cargo(words.chain(server).chain(disk)).run()?;
    }
    for over in ["tcp", "tls"] {
        soak::against(&program, over, SOAK_SECONDS, None)?;
    }

    for old in fs::read_dir(&folder)? {
        let old = old?.path();
        if old.extension().is_some_and(|kind| kind == "profdata") {
            fs::remove_file(old)?;
        }
    }
    // Cargo builds anew for another name of a profile, but not for another content.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let profile = folder.join(format!("stoat-{now}.profdata"));
    let (to, from) = (profile.display().to_string(), counts.display().to_string());
    process::program(merge, ["merge", "--output", &to, &from]).run()?;
    Ok(Some(profile))
}

/// Fails where a program cannot be trained here.
pub(crate) fn check() -> Result {
    match llvm_profdata(&process::host()?)?.exists() {
        true => Ok(()),
        false => Err(MISSING.into()),
    }
}

/// Where this toolchain has the tool, if it does.
fn llvm_profdata(target: &str) -> Result<PathBuf> {
    let sysroot = process::program("rustc", ["--print", "sysroot"]).output()?;
    let tools = PathBuf::from(sysroot.trim()).join("lib/rustlib");
    Ok(tools.join(target).join("bin/llvm-profdata"))
}

/// One that nobody uses now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
