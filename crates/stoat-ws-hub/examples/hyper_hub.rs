//! The hub in plain hyper: `cargo run -p stoat-ws-hub --example hyper_hub`.
//!
//! Who connects to `ws://127.0.0.1:8765/ws`, such as `stoat tail`, gets an event each second.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use stoat_events::{EventType, build_event};
use stoat_ws_hub::ConnectionManager;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = ConnectionManager::in_memory();
    stoat_correlation::spawn(publish(hub.clone()));

    let listener = TcpListener::bind("127.0.0.1:8765").await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let hub = hub.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let answer = match hub.accept(&mut request, peer) {
                Ok(switching) => switching.map(|()| Full::default()),
                Err(refused) => refused
                    .to_response()
                    .map(|text| Full::new(Bytes::from(text))),
            };
            async move { Ok::<Response<Full<Bytes>>, Infallible>(answer) }
        });
        stoat_correlation::spawn(async move {
            let io = TokioIo::new(stream);
            // The client may go away at any time; that ends the connection and nothing else.
            let _ = http1::Builder::new()
                .serve_connection(io, service)
                .with_upgrades()
                .await;
        });
    }
}

/// Stands for the work that the backend does.
async fn publish(hub: ConnectionManager) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for n in 0.. {
        second.tick().await;
        if let Ok(event) = build_event(EventType::ScanCompleted, &json!({ "files": n }), None) {
            let _ = hub.broadcast(event).await;
        }
    }
}
