//! TLS: the certificate, read at the start and again whenever the operator asks.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::settings::Settings;

/// What is spoken below, the better first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// The name of HTTP/2 in the handshake.
pub(super) const HTTP2: &[u8] = b"h2";

/// The certificate that new connections get; those that exist keep theirs.
#[derive(Debug)]
pub(super) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

/// A certificate or key that cannot be used; says which file, and why.
#[derive(Debug)]
pub struct TlsError(String);

impl Tls {
    /// Reads the files of the settings, where there are any.
    ///
    /// # Errors
    /// A file cannot be read, holds no certificate or key, or the two do not belong together.
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Self {
            cert: cert.clone(),
            key: key.clone(),
            config: RwLock::new(read(cert, key)?),
        })))
    }

    /// For one connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Reads the files again. Where they are no good the old certificate stays. Blocks.
    pub(super) fn reload(&self) {
        match read(&self.cert, &self.key) {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the old certificate stays in use"),
        }
    }
}

fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let in_cert = |error: &dyn fmt::Display| TlsError::new("tls_cert", cert, error);
    let in_key = |error: &dyn fmt::Display| TlsError::new("tls_key", key, error);
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| in_cert(&error))?;
    if chain.is_empty() {
        return Err(in_cert(&"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => in_key(&"there is no private key in it"),
        error => in_key(&error),
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                in_key(&format!("it is not the key of tls_cert {}", cert.display()))
            }
            error => in_cert(&error),
        })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

impl TlsError {
    fn new(setting: &str, file: &Path, error: &dyn fmt::Display) -> Self {
        Self(format!("{setting} {}: {error}", file.display()))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}
