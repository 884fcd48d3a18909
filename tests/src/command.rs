//! Runs of the program that are no server: to their end, or line by line.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::binary;
use crate::server::program;
use crate::wait::within;

/// How a run ended, and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the program with these arguments to its end.
pub async fn run(args: &[&str]) -> Output {
    run_with(args, &[], "").await
}

/// As [`run`], with variables in its environment and text on its standard input.
pub async fn run_with(args: &[&str], env: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::from(program(binary::stoat()));
    let mut child = command
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let write = async move {
        // A program that does not read its input is no error here.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    let what = format!("the end of stoat {args:?}");
    let ((), output) = within(&what, async {
        tokio::join!(write, child.wait_with_output())
    })
    .await;
    let output = output.expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text in UTF-8");
    Output {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A run that goes on, read line by line; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts the program with these arguments.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::from(program(binary::stoat()))
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// The next line of its standard output.
    pub async fn line(&mut self) -> String {
        let line = within("a line", self.lines.next_line()).await;
        line.expect("a pipe").expect("a line before the end")
    }

    /// Waits for its end; returns the exit code, and the lines that came before.
    pub async fn end(&mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = Vec::new();
        while let Ok(Some(line)) = within("the end", self.lines.next_line()).await {
            rest.push(line);
        }
        let status = within("the end", self.child.wait()).await;
        (status.expect("its status").code(), rest)
    }
}
