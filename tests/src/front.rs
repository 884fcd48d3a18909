//! nginx or Caddy in front of a server, with the example of `docs/deploy`.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;
use crate::relay::Relay;
use crate::server::{Server, keep, program};
use crate::tls::Identity;
use crate::wait::eventually;

/// The port is free when it is picked, and may be gone when it is used.
const ATTEMPTS: usize = 5;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `docs/deploy/nginx.conf`
    Nginx,
    /// `docs/deploy/Caddyfile`
    Caddy,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Nginx, Self::Caddy];

    /// The example's text.
    pub fn example(self) -> String {
        let name = match self {
            Self::Nginx => "nginx.conf",
            Self::Caddy => "Caddyfile",
        };
        let path = binary::workspace().join("docs/deploy").join(name);
        fs::read_to_string(path).expect("the example")
    }

    /// The change to the example with which it waits [`Kind::PATIENCE`] for a server's next byte.
    pub fn impatient(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("proxy_read_timeout 90s", "proxy_read_timeout 1s"),
            Self::Caddy => ("keepalive 8s", "keepalive 8s\n\t\t\tread_timeout 1s"),
        }
    }

    /// See [`Kind::impatient`].
    pub const PATIENCE: Duration = Duration::from_secs(1);
}

/// A running proxy that ends TLS; killed when dropped.
#[derive(Debug)]
pub struct Front {
    child: Child,
    folder: TempDir,
    identity: Identity,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Front {
    /// The example, in front of this server.
    pub async fn start(kind: Kind, server: &Server) -> Self {
        Self::start_with(kind, server, &[]).await
    }

    /// As [`Front::start`], with further changes to the example: what to replace, and by what.
    pub async fn start_with(kind: Kind, server: &Server, changes: &[(&str, &str)]) -> Self {
        for _ in 0..ATTEMPTS {
            let mut front = Self::launch(kind, server.address(), changes);
            let listens = eventually("the proxy listens or ends", async || {
                if front.child.try_wait().expect("a child").is_some() {
                    return Some(false);
                }
                let connected = TcpStream::connect_timeout(&front.address, Duration::from_secs(1));
                connected.is_ok().then_some(true)
            })
            .await;
            if listens {
                return front;
            }
            eprintln!("{kind:?} ended at once:\n{}", front.log());
        }
        panic!("{kind:?} does not start");
    }

    fn launch(kind: Kind, server: SocketAddr, changes: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::new();
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound socket");
        drop(free);

        let (mut text, own) = (
            kind.example(),
            own_changes(kind, address, &identity, &folder),
        );
        let own = own.iter().map(|(from, to)| (*from, to.as_str()));
        for (from, to) in own.chain(changes.iter().copied()) {
            assert!(text.contains(from), "{from} is not in the example");
            text = text.replace(from, to);
        }
        assert!(
            text.contains("127.0.0.1:8765"),
            "stoat is not in the example"
        );
        text = text.replace("127.0.0.1:8765", &server.to_string());
        let file = folder.path().join("config");
        fs::write(&file, text).expect("a file");

        let mut command = match kind {
            Kind::Nginx => {
                let mut command = program(&find("nginx"));
                let pid = folder.path().join("pid");
                command
                    .arg("-p")
                    .arg(folder.path())
                    .arg("-c")
                    .arg(&file)
                    .args(["-e", "stderr", "-g"])
                    // One process: nothing is left behind when it is killed.
                    .arg(format!(
                        "daemon off; master_process off; error_log stderr; pid {};",
                        pid.display()
                    ));
                command
            }
            Kind::Caddy => {
                let mut command = program(&find("caddy"));
                command
                    .args(["run", "--adapter", "caddyfile", "--config"])
                    .arg(&file)
                    .env("HOME", folder.path())
                    .env("XDG_DATA_HOME", folder.path())
                    .env("XDG_CONFIG_HOME", folder.path());
                command
            }
        };
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?}: {error}; run `cargo xtask setup`"));
        let (log, reader) = keep(child.stderr.take().expect("a pipe"));
        Self {
            child,
            folder,
            identity,
            address,
            log,
            reader: Some(reader),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://ADDR:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The file with its certificate.
    pub fn cert(&self) -> PathBuf {
        self.identity.cert()
    }

    /// A way in for clients that speak no TLS, which the proxy sees come from this address.
    pub async fn relay(&self, from: impl Into<IpAddr>) -> Relay {
        Relay::start_from(from.into(), self.address, &self.cert()).await
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            let folder = self.folder.path().display();
            eprintln!("--- the proxy's log ({folder}) ---\n{}\n---", self.log());
        }
    }
}

/// What makes the example one that runs here, beside others, for any user.
fn own_changes(
    kind: Kind,
    address: SocketAddr,
    identity: &Identity,
    folder: &TempDir,
) -> Vec<(&'static str, String)> {
    let (cert, key) = (identity.cert(), identity.key());
    let (cert, key) = (cert.display(), key.display());
    match kind {
        Kind::Nginx => {
            let folder = folder.path().display();
            let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let folders = kinds.map(|kind| format!("{kind}_temp_path {folder}/{kind};"));
            vec![
                ("listen 443", format!("listen {address}")),
                ("/etc/ssl/example.org/chain.pem", cert.to_string()),
                ("/etc/ssl/example.org/key.pem", key.to_string()),
                (
                    "http {",
                    format!("http {{ access_log off; {}", folders.concat()),
                ),
                ("worker_rlimit_nofile 65536;", String::new()),
                (
                    "worker_connections 32768;",
                    "worker_connections 512;".to_owned(),
                ),
            ]
        }
        Kind::Caddy => {
            let global = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\
                          \tservers {\n\t\tprotocols h1 h2\n\t}\n}\n";
            let port = address.port();
            vec![(
                "example.org {",
                format!("{global}https://:{port} {{\n\tbind 127.0.0.1\n\ttls {cert} {key}"),
            )]
        }
    }
}

/// `cargo xtask setup` has brought it, or it is the machine's; Debian has nginx where the path of a
/// plain user does not lead.
fn find(name: &str) -> PathBuf {
    let own = binary::workspace().join(".tools/bin").join(name);
    let system = Path::new("/usr/sbin").join(name);
    let found = [own, system].into_iter().find(|place| place.exists());
    found.unwrap_or_else(|| name.into())
}
