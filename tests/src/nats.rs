//! Real NATS servers: alone or three together, killed, paused and started again.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

use crate::server::program;
use crate::wait::{eventually, within};

/// Where Debian puts it; others have it in `PATH`.
const DEBIAN: &str = "/usr/sbin/nats-server";

/// A NATS server with JetStream, in a folder of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Nats {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Nats {
    /// Starts a server alone, and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// As [`start`](Self::start), with more text in its configuration.
    pub async fn start_with(more: &str) -> Self {
        let mut nats = Self::stopped(more);
        nats.run().await;
        nats
    }

    /// A server that is not running yet.
    pub fn stopped(more: &str) -> Self {
        let [address] = free_addresses();
        Self::configured(address, "alone", more)
    }

    fn configured(address: SocketAddr, name: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let text = format!(
            "server_name: {name}\nlisten: \"{address}\"\n\
             jetstream {{ store_dir: {store:?}, max_mem: 64MB, max_file: 1GB }}\n{more}\n"
        );
        std::fs::write(folder.path().join("nats.conf"), text).expect("a file");
        Self {
            folder,
            address,
            child: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `nats://ADDR:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Starts it, again or for the first time, and waits until it answers.
    pub async fn run(&mut self) {
        self.launch();
        self.answers().await;
    }

    fn launch(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let path = match Path::new(DEBIAN).exists() {
            true => DEBIAN,
            false => "nats-server",
        };
        let mut command: Command = program(path.as_ref());
        command
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn();
        self.child = Some(child.expect("nats-server; `cargo xtask setup` installs it"));
    }

    async fn answers(&self) {
        eventually("the NATS server answers", async || {
            let mut stream = BufReader::new(TcpStream::connect(self.address).await.ok()?);
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            line.starts_with("INFO ").then_some(())
        })
        .await;
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has on disk now, while it is not running.
    pub fn saved(&self) -> TempDir {
        assert!(self.child.is_none(), "it is running");
        let folder = tempfile::tempdir().expect("a folder");
        copy(&self.store(), &folder.path().join("store"));
        folder
    }

    /// Puts back what it had on disk before, while it is not running.
    pub fn put_back(&self, saved: &TempDir) {
        assert!(self.child.is_none(), "it is running");
        std::fs::remove_dir_all(self.store()).expect("its folder");
        copy(&saved.path().join("store"), &self.store());
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Holds it, with its connections open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running server");
        kill_process(Pid::from_child(child), signal).expect("it still runs");
    }

    /// Another client of NATS.
    pub async fn client(&self) -> Wire {
        eventually("a connection to NATS", async || {
            Wire::connect(self.address).await
        })
        .await
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("nats.log")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.child.is_some() {
            // One that is paused dies as well.
            self.kill();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(30)..];
            eprintln!(
                "--- NATS at {} ---\n{}\n---",
                self.address,
                shown.join("\n")
            );
        }
    }
}

/// Three servers that keep their streams together.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers.
    pub servers: Vec<Nats>,
}

impl NatsCluster {
    /// Starts three servers, and waits until they have a leader.
    pub async fn start() -> Self {
        let clients: [SocketAddr; 3] = free_addresses();
        let routes: [SocketAddr; 3] = free_addresses();
        let all: Vec<_> = routes
            .iter()
            .map(|at| format!("\"nats-route://{at}\""))
            .collect();
        let server = |n: usize| {
            let cluster = format!(
                "cluster {{ name: three, listen: \"{}\", routes: [{}] }}",
                routes[n],
                all.join(", ")
            );
            let mut server = Nats::configured(clients[n], &format!("n{n}"), &cluster);
            server.launch();
            server
        };
        let cluster = Self {
            servers: (0..3).map(server).collect(),
        };
        for server in &cluster.servers {
            server.answers().await;
        }
        eventually("the NATS servers have a leader", async || {
            let mut client = Wire::connect(cluster.servers[0].address).await?;
            client
                .ask("$JS.API.INFO", "")
                .await?
                .get("memory")
                .map(drop)
        })
        .await;
        cluster
    }

    /// The addresses of all, for one client.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(Nats::url).collect();
        urls.join(",")
    }

    /// Which server leads a stream.
    pub async fn leader(&self, stream: &str) -> usize {
        eventually("the stream has a leader", async || {
            for server in self.servers.iter().filter(|server| server.child.is_some()) {
                let Some(mut client) = Wire::connect(server.address).await else {
                    continue;
                };
                let subject = format!("$JS.API.STREAM.INFO.{stream}");
                let info = client.ask(&subject, "").await.unwrap_or_default();
                let name = info["cluster"]["leader"]
                    .as_str()
                    .and_then(|name| name.strip_prefix('n'));
                if let Some(n) = name.and_then(|n| n.parse().ok()) {
                    return Some(n);
                }
            }
            None
        })
        .await
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

/// Ports that are free now, of addresses of this machine.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    // All at once, so that no two are the same.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket"))
}

/// A client that speaks the protocol of NATS by hand, as a stranger would.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    async fn connect(address: SocketAddr) -> Option<Self> {
        let mut wire = Self {
            stream: BufReader::new(TcpStream::connect(address).await.ok()?),
        };
        wire.line().await?.strip_prefix("INFO ")?;
        let hello =
            "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nPING\r\n";
        wire.stream.write_all(hello.as_bytes()).await.ok()?;
        while wire.line().await? != "PONG" {}
        Some(wire)
    }

    /// Publishes, and waits until the server has taken it.
    pub async fn publish(&mut self, subject: &str, payload: &str) {
        let text = format!("PUB {subject} {}\r\n{payload}\r\nPING\r\n", payload.len());
        self.stream
            .write_all(text.as_bytes())
            .await
            .expect("an open connection");
        while within("a PONG", self.line())
            .await
            .expect("an open connection")
            != "PONG"
        {}
    }

    /// From now on gets what is published there.
    pub async fn subscribe(&mut self, subject: &str) {
        let text = format!("SUB {subject} 7\r\nPING\r\n");
        self.stream
            .write_all(text.as_bytes())
            .await
            .expect("an open connection");
        while within("a PONG", self.line())
            .await
            .expect("an open connection")
            != "PONG"
        {}
    }

    /// The next message: its subject and payload.
    pub async fn message(&mut self) -> (String, String) {
        within("a message", self.next())
            .await
            .expect("an open connection")
    }

    /// Asks JetStream; nothing where no answer comes.
    pub async fn ask(&mut self, subject: &str, payload: &str) -> Option<Value> {
        let text = format!(
            "SUB _INBOX.asked 1\r\nUNSUB 1 1\r\nPUB {subject} _INBOX.asked {}\r\n{payload}\r\n",
            payload.len()
        );
        self.stream.write_all(text.as_bytes()).await.ok()?;
        let answer = tokio::time::timeout(Duration::from_secs(3), self.next())
            .await
            .ok()??;
        serde_json::from_str(&answer.1).ok()
    }

    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split(' ').collect();
            let head = match words[0] {
                "MSG" => 0,
                "HMSG" => words[words.len() - 2].parse().ok()?,
                "PING" => {
                    self.stream.write_all(b"PONG\r\n").await.ok()?;
                    continue;
                }
                _ => continue,
            };
            let len: usize = words.last()?.parse().ok()?;
            let mut bytes = vec![0; len + 2];
            self.stream.read_exact(&mut bytes).await.ok()?;
            let payload = String::from_utf8(bytes[head..len].to_vec()).ok()?;
            return Some((words[1].to_owned(), payload));
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

/// A proxy in front of a NATS server that swallows the acknowledgements of JetStream, as many
/// as it is told to.
#[derive(Debug)]
pub struct AckEater {
    address: SocketAddr,
    hungry: Arc<AtomicUsize>,
    accepting: JoinSet<()>,
}

impl AckEater {
    /// Starts on a free port, with no appetite.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let hungry = Arc::new(AtomicUsize::new(0));
        let mut accepting = JoinSet::new();
        let appetite = Arc::clone(&hungry);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let appetite = Arc::clone(&appetite);
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let (mut from_client, mut to_client) = client.into_split();
                    let (from_server, mut to_server) = server.into_split();
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                        _ = pass_on(BufReader::new(from_server), &mut to_client, &appetite) => {}
                    }
                });
            }
        });
        Self {
            address,
            hungry,
            accepting,
        }
    }

    /// `nats://ADDR:PORT`.
    pub fn url(&self) -> String {
        assert!(!self.accepting.is_empty());
        format!("nats://{}", self.address)
    }

    /// Swallows the next so many.
    pub fn eat(&self, acknowledgements: usize) {
        self.hungry.store(acknowledgements, Ordering::SeqCst);
    }

    /// How many it would still swallow.
    pub fn appetite(&self) -> usize {
        self.hungry.load(Ordering::SeqCst)
    }
}

/// Passes on what a server says, message by message.
async fn pass_on(
    mut server: BufReader<OwnedReadHalf>,
    client: &mut OwnedWriteHalf,
    appetite: &AtomicUsize,
) -> Option<()> {
    loop {
        let mut bytes = Vec::new();
        if server.read_until(b'\n', &mut bytes).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if line.starts_with("MSG ") || line.starts_with("HMSG ") {
            let len: usize = line.rsplit(' ').next()?.parse().ok()?;
            let head = bytes.len();
            bytes.resize(head + len + 2, 0);
            server.read_exact(&mut bytes[head..]).await.ok()?;
            let text = String::from_utf8_lossy(&bytes[head..]);
            let is_ack = text.starts_with(r#"{"stream":"#) && text.contains(r#""seq":"#);
            let eat = |left: usize| left.checked_sub(1);
            if is_ack
                && appetite
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, eat)
                    .is_ok()
            {
                continue;
            }
        }
        client.write_all(&bytes).await.ok()?;
    }
}
