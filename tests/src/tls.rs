//! Certificates of a test's own, and curl, which trusts only what it is told to.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::process::Command;

use crate::server::Server;
use crate::wait::within;

/// A certificate for this machine and its key, in files that can be replaced.
#[derive(Debug)]
pub struct Identity {
    folder: TempDir,
}

impl Identity {
    /// A new one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Self { folder };
        identity.replace();
        identity
    }

    /// Puts another certificate with another key into the files.
    pub fn replace(&self) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("a certificate");
        fs::write(self.cert(), cert.pem()).expect("a file");
        fs::write(self.key(), signing_key.serialize_pem()).expect("a file");
    }

    /// The file with the certificate.
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The file with the key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// A copy of the certificate as it is now.
    pub fn copy_cert(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        fs::copy(self.cert(), &copy).expect("a copy");
        copy
    }

    /// A server with it, and with further arguments.
    pub fn serve(&self, args: &[&str]) -> Server {
        let (cert, key) = (self.cert(), self.key());
        let files = ["--tls-cert", text(&cert), "--tls-key", text(&key)];
        Server::start(&[&files[..], args].concat())
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Lets curl ask for a path, trusting one certificate only; gives the protocol's version, the
/// status and the body, or curl's exit code.
pub async fn curl(
    server: &Server,
    trusted: &Path,
    path: &str,
    args: &[&str],
) -> Result<(String, u16, String), i32> {
    curl_to(&server.url(), trusted, path, args).await
}

/// As [`curl`], to whatever is at this address (`https://ADDR:PORT`).
pub async fn curl_to(
    url: &str,
    trusted: &Path,
    path: &str,
    args: &[&str],
) -> Result<(String, u16, String), i32> {
    let run = Command::new("curl")
        .args(["--silent", "--max-time", "50", "--cacert", text(trusted)])
        .args(["--write-out", "\n%{http_version} %{http_code}"])
        .args(args)
        .arg(format!("{url}{path}"))
        .kill_on_drop(true)
        .output();
    let output = within("curl", run)
        .await
        .expect("curl runs: `cargo xtask setup` installs it");
    if !output.status.success() {
        return Err(output.status.code().unwrap_or(-1));
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, end) = text.rsplit_once('\n').expect("a last line");
    let (version, status) = end.split_once(' ').expect("two words");
    let status = status.parse().expect("a status");
    Ok((version.to_owned(), status, body.to_owned()))
}
