//! One connection: requests over HTTP/1, until it ends or becomes a WebSocket.

mod edge;
mod http1;
mod ledger;
mod refusal;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::app::App;
use super::crowd::Place;

/// The most memory for the head of a request, and for the part of an answer that is on its way.
const HEAD_BYTES: usize = 16 << 10;

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
    if let Some(overflow) = place.overflow() {
        refusal::send(&client.app, peer, stream, refusal::overflow(overflow)).await;
    } else {
        http1::serve(client, stream).await;
    }
}
