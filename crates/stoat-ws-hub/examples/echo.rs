//! What the hub's connections make of the protocol, for test suites: each message comes back.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use stoat_events::MemoryLog;
use stoat_ws_hub::{ConnectionManager, HubConfig};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = HubConfig::default();
    config.echo = true;
    // Suites send messages of 16 MiB, in fragments of 64 bytes, and pings without a pause.
    config.max_client_message = 32 << 20;
    config.max_control_frames = usize::MAX;
    // They count every frame.
    config.heartbeat_interval = None;
    config.ping_interval = Duration::from_secs(3600);
    config.pong_timeout = Duration::from_secs(3600);
    let hub = ConnectionManager::new(Arc::new(MemoryLog::default()), config);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on ws://{}/", listener.local_addr()?);
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
