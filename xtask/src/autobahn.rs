//! `autobahn`: the Autobahn WebSocket suite against an echo made of the hub's connections.

use std::path::PathBuf;

use crate::{Result, process, setup, workspace};

/// Names the folder that holds the Python program `run`, which runs the suite.
pub(crate) const FOLDER: &str = "STOAT_AUTOBAHN";

/// The cases of sections 1 to 7, 9 and 10. Sections 12 and 13 are about compression, which
/// stoat does not offer.
const CASES: usize = 301;
const LEFT_OUT: [&str; 2] = ["12.*", "13.*"];

pub(crate) fn run() -> Result {
    let Some(folder) = std::env::var_os(FOLDER) else {
        println!(
            "skipped: the Autobahn suite is not there. It is `autobahntestsuite` on PyPI; set {FOLDER} \
             to a folder with a Python program `run` that takes `URL --exclude SECTION… --jobs N --out FOLDER`, \
             runs its fuzzingclient against URL, and ends with `N passed, M failed`"
        );
        return Ok(());
    };
    let suite = PathBuf::from(folder).join("run");
    let suite = suite.to_str().ok_or("the path of the suite is not UTF-8")?;
    setup::run()?;
    let python = setup::usable_python().ok_or("no Python that can make a virtual environment")?;
    // With these features, since `test` needs the very same.
    let all = ["--workspace", "--all-features", "--example", "echo"];
    process::cargo([&["build"], all.as_slice()].concat()).run()?;
    // It is beside us.
    let echo = std::env::current_exe()?.with_file_name("examples/echo");
    let mut echo = process::program(echo, []).start()?;
    let line = echo.first_line()?;
    let url = line
        .trim()
        .strip_prefix("listening on ")
        .ok_or_else(|| format!("the echo says {line:?}"))?;

    let reports = workspace::root().join("target/autobahn");
    let reports = reports.to_str().ok_or("the path is not UTF-8")?;
    let options = ["--jobs", "2", "--agent", "stoat", "--out", reports];
    let args = [&[suite, url, "--exclude"], &LEFT_OUT[..], &options].concat();
    // It fails where a case does, and shows which.
    judge(&process::program(python, args).last_line()?)
}

/// A suite that ran less than all of it has shown nothing.
fn judge(summary: &str) -> Result {
    if summary == format!("{CASES} passed, 0 failed") {
        Ok(())
    } else {
        Err(format!("expected `{CASES} passed, 0 failed`, got `{summary}`").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_less_than_all_of_it_will_do() {
        assert!(judge("301 passed, 0 failed").is_ok());
        for summary in [
            "",
            "300 passed, 0 failed",
            "301 passed, 1 failed",
            "301 passed, 0 failed, 1 skipped",
        ] {
            assert!(judge(summary).is_err(), "{summary}");
        }
    }
}
