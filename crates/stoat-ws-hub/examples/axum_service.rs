//! The least that a service needs: `cargo run -p stoat-ws-hub --features tower --example axum_service`.
//!
//! Who connects to `ws://127.0.0.1:8765/ws` gets a heartbeat each 30 s, since nothing is published.

use std::net::SocketAddr;

use axum::{Router, extract::ConnectInfo};
use stoat_ws_hub::ConnectionManager;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let hub = ConnectionManager::in_memory();
    let service = hub.into_service(|extensions| {
        let peer: &ConnectInfo<SocketAddr> = extensions.get()?;
        Some(peer.0)
    });
    let router = Router::new().route_service("/ws", service);
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8765").await?;
    axum::serve(listener, router).await
}
