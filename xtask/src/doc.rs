//! `doc`: rustdoc over the workspace, with warnings as errors.

use crate::{Result, process};

pub(crate) fn run() -> Result {
    process::cargo(["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}
