//! One connection: TLS where it is wanted, then HTTP/1 or HTTP/2, until it ends or is a WebSocket.

mod calm;
mod edge;
mod http1;
mod http2;
mod ledger;
pub(super) mod refusal;
mod shared;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::crowd::{Overflow, Place};
use super::tls::HTTP2;

/// The most memory for the head of a request, and for the part of an answer that is on its way.
pub(super) const HEAD_BYTES: usize = 16 << 10;

/// Where a connection comes from, and what it is served with.
struct Client {
    app: Arc<App>,
    peer: SocketAddr,
    accepted: Instant,
    /// Once it is true, no further request is taken.
    stopping: watch::Receiver<bool>,
}

/// Serves a connection to its end. Once `stopping` is true it takes no further request.
pub(super) async fn serve(
    app: Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    place: &Place,
    stopping: watch::Receiver<bool>,
) {
    let client = Client {
        app,
        peer,
        accepted: Instant::now(),
        stopping,
    };
    let overflow = place.overflow();
    // Boxed are all but the most common case, which would carry their state.
    match client.app.tls.as_ref().map(|tls| tls.acceptor()) {
        Some(acceptor) => Box::pin(serve_tls(client, acceptor, stream, overflow)).await,
        None => serve_http1(client, stream, overflow).await,
    }
}

async fn serve_tls(
    client: Client,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    overflow: Option<Overflow>,
) {
    let peer = client.peer;
    let deadline = client.accepted + client.app.limits.head_timeout;
    let stream = match timeout_at(deadline, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "no TLS came about");
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "no TLS came about in time");
            return;
        }
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    match overflow {
        // Without the requests to answer there is nothing to say.
        Some(_) if is_http2 => {}
        None if is_http2 => Box::pin(http2::serve(client, stream)).await,
        _ => serve_http1(client, stream, overflow).await,
    }
}

/// Serves a stream on which the client is to begin with HTTP/1, or turns it away.
async fn serve_http1<S>(client: Client, stream: S, overflow: Option<Overflow>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match overflow.map(refusal::overflow) {
        Some(problem) => {
            Box::pin(refusal::send(&client.app, client.peer, stream, problem)).await;
        }
        None => http1::serve(client, stream).await,
    }
}
