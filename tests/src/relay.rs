//! Speaks TLS to a server for clients that do not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// While a certificate is replaced, the one before may be seen.
const TRUSTED: usize = 2;

type Certificates = Arc<Mutex<Vec<CertificateDer<'static>>>>;

/// A running relay; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    server: SocketAddr,
    from: IpAddr,
    trusted: Certificates,
    _accepting: JoinSet<()>,
}

impl Relay {
    /// Starts on a free port, in front of a server with the certificate of this file.
    pub async fn start(server: SocketAddr, cert: &Path) -> Self {
        Self::start_from(Ipv4Addr::LOCALHOST.into(), server, cert).await
    }

    /// As [`Relay::start`]; the server sees its clients come from this address of the machine.
    pub async fn start_from(from: IpAddr, server: SocketAddr, cert: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let trusted = Certificates::default();
        trusted.lock().unwrap().push(read(cert));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, from, server, Arc::clone(&trusted)));
        Self {
            address,
            server,
            from,
            trusted,
            _accepting: accepting,
        }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Trusts what is in this file now, beside the one before.
    pub fn trust(&self, cert: &Path) {
        let mut trusted = self.trusted.lock().unwrap();
        trusted.push(read(cert));
        let older = trusted.len().saturating_sub(TRUSTED);
        trusted.drain(..older);
    }

    /// Whether the server shows the newest certificate.
    pub async fn is_up_to_date(&self) -> bool {
        let newest = self.trusted.lock().unwrap().last().cloned();
        connect(self.from, self.server, newest.as_slice())
            .await
            .is_ok()
    }
}

fn read(cert: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(cert).expect("a certificate")
}

async fn accept(listener: TcpListener, from: IpAddr, server: SocketAddr, trusted: Certificates) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let trusted = Arc::clone(&trusted);
        connections.spawn(async move {
            loop {
                let now = trusted.lock().unwrap().clone();
                match connect(from, server, &now).await {
                    Ok(mut server) => {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                        return;
                    }
                    // It was replaced meanwhile.
                    Err(_) if *trusted.lock().unwrap() != now => {}
                    Err(error) => return eprintln!("no TLS with the server: {error}"),
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    from: IpAddr,
    server: SocketAddr,
    trusted: &[CertificateDer<'static>],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(server.ip());
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}
