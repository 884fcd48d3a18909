//! A connection in memory, with the hub behind it.

use std::convert::Infallible;
use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use stoat_ws_hub::ConnectionManager;
use tokio::io::{DuplexStream, duplex};

/// What the kernel would hold for a connection, in bytes.
const BUFFER: usize = 64 << 10;

/// Where all clients seem to come from.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The client's end of a connection whose other end the hub answers.
pub(crate) fn open(hub: &ConnectionManager) -> DuplexStream {
    let (client, server) = duplex(BUFFER);
    let hub = hub.clone();
    let service = service_fn(move |mut request| {
        ready(Ok::<_, Infallible>(match hub.accept(&mut request, PEER) {
            Ok(switching) => switching.map(|()| String::new()),
            Err(refused) => refused.to_response(),
        }))
    });
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(server), service)
        .with_upgrades();
    // It ends with the client's end.
    drop(stoat_correlation::spawn(connection));
    client
}
