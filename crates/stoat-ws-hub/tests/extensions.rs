//! What a server may tell the hub in the extensions of a request.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, http::Extensions};
use hyper_util::rt::TokioIo;
use stoat_ws_hub::{ConnectionManager, Held, TakeTcp, Taken};
use support::{Client, numbered, until, within};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Serves one stream, with extensions in its requests.
fn serve<S>(stream: S, hub: ConnectionManager, add: impl Fn(&mut Extensions) + Send + 'static)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        add(request.extensions_mut());
        let answer = hub.accept(&mut request, ([127, 0, 0, 1], 9).into());
        let answer = answer.unwrap().map(|()| String::new());
        async move { Ok::<_, Infallible>(answer) }
    });
    let http = http1::Builder::new();
    tokio::spawn(
        http.serve_connection(TokioIo::new(stream), service)
            .with_upgrades(),
    );
}

#[tokio::test]
async fn what_is_to_be_held_is_held_as_long_as_the_connection_lives() {
    let hub = ConnectionManager::in_memory();
    let place = Arc::new(());
    let (near, far) = tokio::io::duplex(1 << 10);
    let held = Held(place.clone());
    serve(far, hub.clone(), move |extensions| {
        extensions.insert(held.clone());
    });
    let url = "ws://hub.example.com/ws";
    let handshake = tokio_tungstenite::client_async(url, near);
    let (stream, _) = within(handshake).await.unwrap();
    // Ours, and the connection's: HTTP is over.
    until(|| Arc::strong_count(&place) == 2).await;
    assert_eq!(hub.active_connections(), 1);
    drop(stream);
    until(|| Arc::strong_count(&place) == 1).await;
}

/// A server's own stream around TCP, which may be used for HTTP only.
struct Wrapped(TcpStream, Arc<AtomicBool>);

static TAKEN: AtomicBool = AtomicBool::new(false);

fn unwrap(upgraded: Upgraded) -> Taken {
    TAKEN.store(true, SeqCst);
    match upgraded.downcast::<TokioIo<Wrapped>>() {
        Ok(parts) => Taken::Tcp(parts.io.into_inner().0, parts.read_buf),
        Err(upgraded) => Taken::Other(upgraded),
    }
}

#[tokio::test]
async fn a_tcp_stream_is_taken_out_of_the_servers_own_type() {
    let hub = ConnectionManager::in_memory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepting, alive) = (hub.clone(), Arc::new(AtomicBool::new(true)));
    let wrapper = alive.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(Wrapped(stream, wrapper), accepting, |extensions| {
            extensions.insert(TakeTcp(unwrap));
        });
    });
    let mut client = Client::connect(address, "").await;
    until(|| TAKEN.load(SeqCst)).await;
    // From here on nothing may go through the wrapping.
    alive.store(false, SeqCst);
    for n in 0..100 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(client.number().await, n);
    }
}

impl Wrapped {
    fn stream(&mut self) -> Pin<&mut TcpStream> {
        assert!(self.1.load(SeqCst), "the wrapping is in use");
        Pin::new(&mut self.0)
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
