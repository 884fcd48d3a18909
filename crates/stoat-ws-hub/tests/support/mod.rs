//! A hub behind plain hyper on a port of its own, and a client to look at it with.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test"
)]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use stoat_events::{Event, EventType};
use stoat_ws_hub::ConnectionManager;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Long enough for any machine; only a hang gets there.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a future, but not for ever.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("nothing came within the deadline")
}

/// Waits until a condition holds, looking again after each turn of the runtime.
pub async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Serves a hub with plain hyper.
pub async fn serve(hub: &ConnectionManager) -> SocketAddr {
    let hub = hub.clone();
    listen(move |stream, peer| serve_one(TokioIo::new(stream), hub.clone(), peer)).await
}

/// Accepts on a port of its own, and lets each connection be served.
pub async fn listen(serve_one: impl Fn(TcpStream, SocketAddr) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            serve_one(stream, peer);
        }
    });
    address
}

/// Serves one stream of any kind with plain hyper.
pub fn serve_one<S>(stream: S, hub: ConnectionManager, peer: SocketAddr)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answer: Response<Full<Bytes>> = match hub.accept(&mut request, peer) {
            Ok(switching) => switching.map(|()| Full::default()),
            Err(refused) => refused
                .to_response()
                .map(|text| Full::new(Bytes::from(text))),
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    tokio::spawn(async move {
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http.serve_connection(stream, service).with_upgrades().await;
    });
}

/// A connected client.
pub struct Client<S = MaybeTlsStream<TcpStream>>(pub WebSocketStream<S>);

impl Client {
    pub async fn connect(address: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{address}/ws{query}");
        Self(within(connect_async(url)).await.unwrap().0)
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, message: Message) {
        within(self.0.send(message)).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        loop {
            match within(self.0.next()).await.unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next text message as JSON.
    pub async fn json(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// The number in the payload of the next event.
    pub async fn number(&mut self) -> u64 {
        self.json().await["payload"]["n"].as_u64().unwrap()
    }

    /// The Close frame that comes after all else.
    pub async fn last_frame(&mut self) -> CloseFrame {
        loop {
            match self.next().await {
                Message::Close(Some(frame)) => return frame,
                Message::Text(_) => {}
                other => panic!("expected text or a close, got {other:?}"),
            }
        }
    }

    /// The Close frame that comes next.
    pub async fn close_frame(&mut self) -> CloseFrame {
        match self.next().await {
            Message::Close(Some(frame)) => frame,
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

/// An event with a number in it.
pub fn numbered(n: u64) -> Event {
    let payload = serde_json::json!({ "n": n });
    Event::builder(EventType::ScanCompleted)
        .payload(&payload)
        .unwrap()
        .build()
}
