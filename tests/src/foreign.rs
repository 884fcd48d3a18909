//! Clients that others wrote: Python's `websockets` and Node's `ws`, several in one process.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::binary;
use crate::event::Event;
use crate::server::Server;
use crate::wait::within;

/// A process with several connected clients; killed when dropped.
#[derive(Debug)]
pub struct Foreign {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    received: Vec<Received>,
}

/// What one of the clients got so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Whether its handshake is done.
    pub open: bool,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
    /// The texts, in order.
    pub texts: Vec<String>,
    /// The code and the reason of the Close that it got.
    pub close: Option<(u16, String)>,
}

impl Received {
    /// The texts as events.
    pub fn events(&self) -> Vec<Event> {
        self.texts.iter().map(|text| Event::parse(text)).collect()
    }
}

impl Foreign {
    /// So many clients of Python's `websockets`.
    pub async fn python(server: &Server, target: &str, count: usize) -> Self {
        Self::python_offering(server, target, count, "").await
    }

    /// As [`Foreign::python`], offering these subprotocols.
    pub async fn python_offering(server: &Server, target: &str, count: usize, offer: &str) -> Self {
        let python = binary::workspace().join(".tools/venv/bin/python");
        let url = format!("ws://{}{target}", server.address());
        Self::start(&[], &python, &python, "clients.py", &url, count, offer).await
    }

    /// As [`Foreign::python`], over TLS, where the certificate in this file is trusted.
    pub async fn python_trusting(file: &Path, server: &Server, target: &str) -> Self {
        let python = binary::workspace().join(".tools/venv/bin/python");
        let url = format!("wss://{}{target}", server.address());
        let env = [("SSL_CERT_FILE", file)];
        Self::start(&env, &python, &python, "clients.py", &url, 1, "").await
    }

    /// So many clients of Node's `ws`.
    pub async fn node(server: &Server, target: &str, count: usize) -> Self {
        Self::node_offering(server, target, count, "").await
    }

    /// As [`Foreign::node`], offering these subprotocols.
    pub async fn node_offering(server: &Server, target: &str, count: usize, offer: &str) -> Self {
        let module = clients().join("node_modules/ws");
        let url = format!("ws://{}{target}", server.address());
        Self::start(
            &[],
            &module,
            Path::new("node"),
            "clients.js",
            &url,
            count,
            offer,
        )
        .await
    }

    async fn start(
        env: &[(&str, &Path)],
        needed: &Path,
        program: &Path,
        script: &str,
        url: &str,
        count: usize,
        offer: &str,
    ) -> Self {
        assert!(
            needed.exists(),
            "{} is missing: run `cargo xtask setup`",
            needed.display()
        );
        let mut child = Command::new(program)
            .arg(clients().join(script))
            .args([url, &count.to_string(), offer])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let output = child.stdout.take().expect("a pipe");
        let mut foreign = Self {
            input: child.stdin.take().expect("a pipe"),
            output: BufReader::new(output).lines(),
            received: vec![Received::default(); count],
            _child: child,
        };
        foreign.until("handshakes", |client| client.open).await;
        foreign
    }

    /// What each client got so far.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Waits until each client got so many texts.
    pub async fn texts(&mut self, count: usize) -> &[Received] {
        self.until("texts", |client| client.texts.len() >= count)
            .await
    }

    /// Waits until each client got a Close.
    pub async fn closed(&mut self) -> &[Received] {
        self.until("Closes", |client| client.close.is_some()).await
    }

    /// Lets one of the clients send a text.
    pub async fn send(&mut self, client: usize, text: &str) {
        let line = format!("{}\n", json!({"client": client, "send": text}));
        within("room for a command", self.input.write_all(line.as_bytes()))
            .await
            .expect("the clients run");
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Received) -> bool) -> &[Received] {
        while !self.received.iter().all(&done) {
            let line = within(what, self.output.next_line()).await.expect("a pipe");
            let line = line.unwrap_or_else(|| panic!("the clients ended without their {what}"));
            self.note(&line);
        }
        &self.received
    }

    fn note(&mut self, line: &str) {
        let said: Value = serde_json::from_str(line).expect("a line of JSON");
        let number = said["client"].as_u64().expect("a client's number");
        let client = &mut self.received[usize::try_from(number).expect("a small number")];
        if let Some(text) = said["text"].as_str() {
            client.texts.push(text.to_owned());
        } else if let Some(subprotocol) = said.get("open") {
            client.open = true;
            client.subprotocol = subprotocol.as_str().map(str::to_owned);
        } else if let Some(code) = said["close"].as_u64() {
            let reason = said["reason"].as_str().unwrap_or_default();
            let code = u16::try_from(code).expect("a code");
            client.close = Some((code, reason.to_owned()));
        } else {
            panic!("client {number} failed: {line}");
        }
    }
}

/// The folder of the programs on Node and Python.
pub fn clients() -> PathBuf {
    binary::workspace().join("tests/clients")
}
