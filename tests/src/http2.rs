//! An HTTP/2 client that others wrote (Python's `h2`), driven line by line.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::binary;
use crate::foreign;
use crate::server::Server;
use crate::wait::within;

/// One connection; ended when dropped. Its streams are numbered from 0.
#[derive(Debug)]
pub struct Http2 {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    opened: usize,
    kept: Vec<Value>,
}

impl Http2 {
    /// Connects; with a certificate to trust over TLS, else with prior knowledge.
    pub async fn connect(server: &Server, trusted: Option<&Path>) -> Self {
        Self::start(server, trusted, "takes").await
    }

    /// Connects with prior knowledge, and never takes more than the first 64 KiB of answers.
    pub async fn connect_lazy(server: &Server) -> Self {
        Self::start(server, None, "lazy").await
    }

    async fn start(server: &Server, trusted: Option<&Path>, how: &str) -> Self {
        let python = binary::workspace().join(".tools/venv/bin/python");
        assert!(
            python.exists(),
            "{} is missing: run `cargo xtask setup`",
            python.display()
        );
        let script = foreign::clients().join("http2.py");
        let address = server.address();
        let mut child = Command::new(python)
            .arg(script)
            .args([address.ip().to_string(), address.port().to_string()])
            .arg(how)
            .args(trusted)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python runs");
        let output = child.stdout.take().expect("a pipe");
        Self {
            input: child.stdin.take().expect("a pipe"),
            output: BufReader::new(output).lines(),
            opened: 0,
            kept: Vec::new(),
            _child: child,
        }
    }

    /// Sends the head of a request, and says which stream it has.
    pub async fn open(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        end: bool,
    ) -> usize {
        let mut head = vec![
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
        ];
        head.extend(fields);
        self.command(&json!({"open": head, "end": end})).await;
        self.opened += 1;
        self.opened - 1
    }

    /// Asks for a WebSocket, with further fields.
    pub async fn open_websocket(&mut self, path: &str, fields: &[(&str, &str)]) -> usize {
        let mut all = vec![(":protocol", "websocket")];
        all.extend(fields);
        self.open("CONNECT", path, &all, false).await
    }

    /// Sends a request without a body and waits for its answer.
    pub async fn get(&mut self, path: &str) -> (Value, Vec<u8>) {
        let stream = self.open("GET", path, &[], true).await;
        self.answer(stream).await
    }

    /// Sends a part of a body, or of what a WebSocket carries.
    pub async fn send(&mut self, stream: usize, data: &[u8], end: bool) {
        let command = json!({"stream": stream, "data": hex(data), "end": end});
        self.command(&command).await;
    }

    /// Takes a request back.
    pub async fn reset(&mut self, stream: usize) {
        self.command(&json!({"stream": stream, "reset": 8})).await;
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) {
        self.command(&json!({"raw": hex(bytes)})).await;
    }

    /// The head of an answer.
    pub async fn head(&mut self, stream: usize) -> Value {
        let said = self
            .until("a head", |said| {
                said["stream"] == stream && said["headers"].is_object()
            })
            .await;
        said["headers"].clone()
    }

    /// The head of an answer, and its body to the end.
    pub async fn answer(&mut self, stream: usize) -> (Value, Vec<u8>) {
        let head = self.head(stream).await;
        let mut body = Vec::new();
        loop {
            let said = self.until("a body", |said| said["stream"] == stream).await;
            assert_eq!(said.get("reset"), None, "{said}");
            if said["end"] == true {
                return (head, body);
            }
            body.extend(bytes(&said["data"]));
        }
    }

    /// Data on a stream; none once it has ended.
    pub async fn data(&mut self, stream: usize) -> Option<Vec<u8>> {
        let said = self.until("data", |said| said["stream"] == stream).await;
        said.get("data").map(bytes)
    }

    /// Waits until the client says something of this kind; what it says before is kept.
    pub async fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.kept.iter().position(&is_it) {
            return self.kept.remove(found);
        }
        loop {
            let line = within(what, self.output.next_line()).await.expect("a pipe");
            let line = line.unwrap_or_else(|| panic!("it ended without {what}: {:?}", self.kept));
            let said: Value = serde_json::from_str(&line).expect("a line of JSON");
            if is_it(&said) {
                return said;
            }
            self.kept.push(said);
        }
    }

    /// Waits until the server has ended the connection.
    pub async fn closed(&mut self) {
        self.until("the end", |said| said["closed"] == true).await;
    }

    async fn command(&mut self, command: &Value) {
        let line = format!("{command}\n");
        // A client whose connection has ended is gone, which is no error here.
        let _ = within("room for a command", self.input.write_all(line.as_bytes())).await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().expect("digits").as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
