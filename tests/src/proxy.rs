//! A TCP proxy with an address that stays while servers come and go behind it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Where connections go: to no server while there is none, then they end at once.
type Target = Arc<Mutex<(Option<SocketAddr>, Vec<AbortHandle>)>>;

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: Target,
    hung: watch::Sender<()>,
    accepting: JoinSet<()>,
}

impl Proxy {
    /// Starts on a free port, in front of a server.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let target: Target = Arc::new(Mutex::new((Some(server), Vec::new())));
        let mut accepting = JoinSet::new();
        let hung = watch::Sender::new(());
        accepting.spawn(accept(listener, Arc::clone(&target), hung.clone()));
        Self {
            address,
            target,
            hung,
            accepting,
        }
    }

    /// `http://ADDR:PORT`.
    pub fn url(&self) -> String {
        assert!(!self.accepting.is_empty());
        format!("http://{}", self.address)
    }

    /// Lets nothing through on the connections that there are, without ending them: a network that
    /// is gone without a word.
    pub fn hang(&self) {
        self.hung.send_replace(());
    }

    /// Ends all connections, and lets new ones go to this server, or end at once.
    pub fn switch(&self, server: Option<SocketAddr>) {
        let mut target = self.target.lock().unwrap();
        target.0 = server;
        for connection in target.1.drain(..) {
            connection.abort();
        }
    }
}

async fn accept(listener: TcpListener, target: Target, hung: watch::Sender<()>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let mut target = target.lock().unwrap();
        if let Some(server) = target.0 {
            let mut hung = hung.subscribe();
            target.1.push(connections.spawn(async move {
                let Ok(mut server) = TcpStream::connect(server).await else {
                    return;
                };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = hung.changed() => std::future::pending().await,
                }
            }));
        }
    }
}
