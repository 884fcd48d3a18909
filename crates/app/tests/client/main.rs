//! `stoat tail` and `stoat publish` against small servers that misbehave on purpose.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "all of this is test code, the helpers included"
)]

mod publish;
mod tail;

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The running program.
struct Stoat {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
}

/// How the program ended.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    /// The lines that were not read before.
    stdout: Vec<String>,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn assert_code(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
    }
}

impl Stoat {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoat"))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program does not run");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        Self {
            child,
            stdin,
            stdout: stdout.map(|stdout| BufReader::new(stdout).lines()),
        }
    }

    /// The next line of standard output.
    async fn line(&mut self) -> Option<String> {
        let lines = self.stdout.as_mut().unwrap();
        in_time(lines.next_line()).await.unwrap()
    }

    /// Closes standard input and waits for the end.
    async fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let mut lines = Vec::new();
        if let Some(stdout) = &mut self.stdout {
            while let Some(line) = in_time(stdout.next_line()).await.unwrap() {
                lines.push(line);
            }
        }
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        in_time(pipe.read_to_string(&mut stderr)).await.unwrap();
        Ended {
            status: in_time(self.child.wait()).await.unwrap(),
            stdout: lines,
            stderr,
        }
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it takes too long")
}

/// A listener, and its address for the command line.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// An address at which nobody listens.
async fn nowhere() -> String {
    listen().await.1
}
