//! A running server: started on a free port, watched, and killed when dropped.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http::Request;
use crate::prometheus::Metrics;
use crate::wait::{DEADLINE, eventually};
use crate::{binary, ws};

/// How much of the end of the log a failing test shows.
const SHOWN_LINES: usize = 60;

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Setup {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    file: Option<TempDir>,
    wrapper: Vec<OsString>,
}

impl Setup {
    /// Starts it with another program, which is given the server's command line.
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        let words = wrapper.into_iter().map(|word| word.as_ref().to_owned());
        self.wrapper = words.collect();
        self
    }

    /// Adds arguments of the command line.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds a configuration file with this text.
    pub fn file(mut self, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stoat.toml");
        std::fs::write(&path, text).expect("a file");
        self.file = Some(folder);
        self.args([OsStr::new("--config"), path.as_os_str()])
    }

    /// Adds a variable to the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Lets the server open so many files at most.
    pub fn most_files(self, most: u32) -> Self {
        let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        self.under(["/bin/sh", "-c", &script])
    }

    /// Starts the server and waits until it listens.
    ///
    /// It listens on a free port unless `--listen` is given. It sends no heartbeats, and its
    /// timers for connections take hours unless their flags are given: on a slow machine they
    /// would come in between, and each wakes a connection and hides that nothing else did.
    pub fn start(mut self) -> Server {
        for (flag, value) in [
            ("--listen", "127.0.0.1:0"),
            ("--ws-heartbeat-interval", "0"),
            ("--ws-ping-interval", "5h"),
            ("--ws-pong-timeout", "10h"),
            ("--ws-write-timeout", "5h"),
        ] {
            if !self.args.iter().any(|arg| arg == flag) {
                self = self.args([flag, value]);
            }
        }
        let mut command = match self.wrapper.split_first() {
            None => program(binary::stoat()),
            Some((wrapper, words)) => {
                let mut command = program(Path::new(wrapper));
                command.args(words).arg(binary::stoat());
                command
            }
        };
        command.args(&self.args).envs(self.env);
        // It has read the file once it listens.
        let _file = self.file;
        Server::launch(command)
    }
}

/// A command for `program` without the caller's settings, that ends with the test at the latest.
pub fn program(program: &Path) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STOAT_") {
            command.env_remove(name);
        }
    }
    command
        .env("RUST_BACKTRACE", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Collects what a stream says in the background.
pub fn keep(stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = stream.read_until(b'\n', &mut line) {
            kept.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    (text, reader)
}

/// A running server. Dropping it kills it; when the test fails, the end of its log is shown.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    scheme: &'static str,
    log: Arc<Mutex<String>>,
    stdout: mpsc::Receiver<String>,
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    /// A server with these arguments; see [`Setup::start`].
    pub fn start(args: &[&str]) -> Self {
        Setup::default().args(args).start()
    }

    /// Starts the example that embeds the hub as a library.
    pub fn library_service() -> Self {
        let mut command = program(binary::library_service());
        command.arg("127.0.0.1:0");
        Self::launch(command)
    }

    /// Starts a program and waits until it says where it listens.
    fn launch(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let (log, log_reader) = keep(child.stderr.take().expect("a pipe"));
        let (lines, first_line) = mpsc::channel();
        let stdout = child.stdout.take().expect("a pipe");
        let stdout_reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            scheme: "http",
            log,
            stdout: first_line,
            readers: vec![log_reader, stdout_reader],
        };
        let line = server.stdout.recv_timeout(DEADLINE);
        let said = line.as_deref().unwrap_or_default();
        let url = said
            .strip_prefix("listening on ")
            .and_then(|url| url.split_once("://"));
        let place = match url {
            Some(("http", address)) => Some(("http", address)),
            Some(("https", address)) => Some(("https", address)),
            _ => None,
        };
        (server.scheme, server.address) = place
            .and_then(|(scheme, address)| Some((scheme, address.parse().ok()?)))
            .unwrap_or_else(|| {
                panic!("expected `listening on http://ADDR:PORT` in time, got {line:?}")
            });
        server
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDR:PORT`, or with `https` where it speaks TLS.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Further lines on standard output, if any.
    pub fn more_output(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server still runs");
    }

    /// Asks it to end, as an operator does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it has ended; its log is complete then.
    pub async fn exit(&mut self) -> ExitStatus {
        let status = eventually("the server ends", async || self.child.try_wait().unwrap()).await;
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader of its output");
        }
        status
    }

    /// Waits until it has ended, and says how long that took.
    pub async fn exit_within(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let status = self.exit().await;
        (status, start.elapsed())
    }

    /// Publishes one event and returns its ID.
    pub async fn publish(&self, body: &str) -> String {
        let response = Request::publish(body).send(self).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()["event_id"]
            .as_str()
            .expect("an event ID")
            .to_owned()
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        let response = Request::get("/metrics").send(self).await;
        assert_eq!(response.status, 200, "{response:?}");
        Metrics::parse(&response.text())
    }

    /// Waits until so many WebSocket clients are connected.
    pub async fn connected(&self, clients: usize) {
        eventually(&format!("{clients} connected clients"), async || {
            let now = self
                .metrics()
                .await
                .value("stoat_ws_connected_clients", &[]);
            (now == Some(clients as f64)).then_some(())
        })
        .await;
    }

    /// A new WebSocket client on `/ws`.
    pub async fn client(&self) -> ws::Client {
        ws::Client::connect(self, "/ws").await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- the server's log ---\n{}\n---", shown.join("\n"));
        }
    }
}
