//! The terminals of a reader: one for the commands that end, and one for each that goes on.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::server::program;
use crate::wait::within;

/// A bash that runs one script after the other, with what they leave in its variables.
#[derive(Debug)]
pub(super) struct Shell {
    child: Child,
    input: ChildStdin,
    ends: Lines<BufReader<ChildStdout>>,
    scripts: usize,
}

/// The variables that a reader's terminal has.
pub(super) type Environment = Vec<(&'static str, OsString)>;

impl Shell {
    pub(super) fn start(folder: &Path, environment: &Environment) -> Self {
        let mut child = bash(folder, environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash runs");
        Self {
            input: child.stdin.take().expect("a pipe"),
            ends: BufReader::new(child.stdout.take().expect("a pipe")).lines(),
            child,
            scripts: 0,
        }
    }

    /// Runs a script; what it printed, and whether all of its commands succeeded.
    pub(super) async fn run(&mut self, folder: &Path, script: &str) -> (String, bool) {
        self.scripts += 1;
        // The script may leave the folder.
        let file = folder.join(format!(".block-{}", self.scripts));
        let output = folder.join(format!(".block-{}.out", self.scripts));
        std::fs::write(&file, script).expect("a file");
        let (from, to) = (file.display(), output.display());
        let line = format!("set -eo pipefail; . '{from}' > '{to}' 2>&1 < /dev/null; echo done\n");
        let end = async {
            // It is gone where a command before this one has failed.
            let _ = self.input.write_all(line.as_bytes()).await;
            self.ends.next_line().await.expect("a pipe")
        };
        let end = within(script, end).await;
        let said = std::fs::read(output).unwrap_or_default();
        (String::from_utf8_lossy(&said).into_owned(), end.is_some())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        end(&self.child);
    }
}

/// A script that goes on until it is dropped, or ends by itself.
#[derive(Debug)]
pub(super) struct Terminal {
    child: Child,
    output: std::path::PathBuf,
}

impl Terminal {
    pub(super) fn start(
        folder: &Path,
        environment: &Environment,
        number: usize,
        script: &str,
    ) -> Self {
        let output = folder.join(format!(".terminal-{number}.out"));
        let file = std::fs::File::create(&output).expect("a file");
        let child = bash(folder, environment)
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the file again"))
            .stderr(file)
            .spawn()
            .expect("bash runs");
        Self { child, output }
    }

    /// What it has printed so far.
    pub(super) fn said(&self) -> String {
        let said = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        end(&self.child);
    }
}

/// Leads a group of its own, so that what it has started ends with it.
fn bash(folder: &Path, environment: &Environment) -> Command {
    let mut command = program(Path::new("bash"));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
        .current_dir(folder)
        .envs(environment.iter().cloned());
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

fn end(child: &Child) {
    let leader = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(leader) = leader {
        let _ = kill_process_group(leader, Signal::KILL);
    }
}
