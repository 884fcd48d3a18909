//! `fmt`: rustfmt over the workspace.

use crate::{Result, process};

pub(crate) fn run(fix: bool) -> Result {
    let check: &[&str] = if fix { &[] } else { &["--check"] };
    process::cargo([&["fmt", "--all"], check].concat())
        .run()
        .map_err(|error| {
            if fix {
                error
            } else {
                format!("{error}; `cargo xtask fmt --fix` rewrites the files").into()
            }
        })
}
