//! Where the programs under test are; built on demand, once.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The server program: `STOAT_BIN`, else the one beside the running test, else built now.
pub fn stoat() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        find(
            "STOAT_BIN",
            "stoat",
            &["--package", "stoat", "--bin", "stoat"],
        )
    })
}

/// The example that embeds the hub as a library: `LIBRARY_SERVICE_BIN`, else found or built likewise.
pub fn library_service() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        find(
            "LIBRARY_SERVICE_BIN",
            "examples/library_service",
            &["--workspace", "--example", "library_service"],
        )
    })
}

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // Cargo sets it at run time too; the one known at compile time may name another checkout
        // that the target folder was copied from.
        let own = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = own
            .parent()
            .expect("the package is a member of a workspace");
        root.to_path_buf()
    })
}

fn find(variable: &str, name: &str, what: &[&str]) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable} names no file: {}",
            path.display()
        );
        return path;
    }
    let folder = profile_folder();
    let path = folder.join(name);
    if !path.is_file() {
        build(&folder, &path, what);
    }
    path
}

/// `target/debug`, or the folder of whatever profile the running test was built with.
fn profile_folder() -> PathBuf {
    let test = env::current_exe().expect("the running test has a path");
    let deps = test.parent().expect("it is in a folder");
    deps.parent()
        .expect("which is in the profile's folder")
        .to_owned()
}

fn build(folder: &Path, path: &Path, what: &[&str]) {
    let lock = File::create(folder.join(".stoat-tests.lock")).expect("a lock file beside the test");
    lock.lock().expect("the lock on the build");
    if path.is_file() {
        return;
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = folder.parent().expect("the target folder");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args(["build", "--quiet", "--profile", profile])
        .args(what)
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success() && path.is_file(),
        "cannot build {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
