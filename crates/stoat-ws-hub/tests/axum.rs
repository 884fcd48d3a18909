//! The hub mounted in an axum router, beside a layer that carries correlation IDs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use stoat_events::{EventType, build_event};
use stoat_ws_hub::ConnectionManager;
use support::{Client, numbered, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn subscribe(
    State(hub): State<ConnectionManager>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    match hub.accept(&mut request, peer) {
        Ok(switching) => switching.map(|()| Body::empty()),
        Err(refused) => refused.to_response().into_response(),
    }
}

async fn create(State(hub): State<ConnectionManager>) -> impl IntoResponse {
    let job = stoat_correlation::spawn(async move {
        let event = build_event(EventType::ProjectCreated, &(), None).unwrap();
        hub.broadcast(event).await.unwrap();
        hub.cursor_header()
    });
    axum::response::AppendHeaders(job.await.unwrap())
}

async fn serve(hub: &ConnectionManager) -> SocketAddr {
    listen(Router::new().route("/ws", any(subscribe)), hub).await
}

async fn listen(router: Router<ConnectionManager>, hub: &ConnectionManager) -> SocketAddr {
    let router = router
        .route("/projects", post(create))
        .layer(stoat_correlation::CorrelationLayer::new())
        .with_state(hub.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

/// Sends a request and reads the answer to its end.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn events_and_resume() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut client = Client::connect(address, "").await;
    for n in 0..100 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(client.number().await, n);
    }
    let mut late = Client::connect(address, "?last_event_id=earliest").await;
    assert_eq!(late.number().await, 0);
}

#[tokio::test]
async fn the_request_behind_an_event_is_known_through_a_spawned_job() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut client = Client::connect(address, "").await;
    let request = "POST /projects HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: req-42\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = exchange(address, request).await;
    let event = client.json().await;
    assert_eq!(event["type"], "project_created");
    assert_eq!(event["correlation_id"], "req-42");
    let cursor = format!("x-stoat-cursor: {}", event["event_id"].as_str().unwrap());
    assert!(answer.contains(&cursor), "{answer}");
    assert!(answer.contains("x-correlation-id: req-42"), "{answer}");
}

#[tokio::test]
async fn refusals_are_plain_answers() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let answer = exchange(
        address,
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("upgrade: websocket"), "{answer}");
    assert_eq!(hub.active_connections(), 0);
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn as_a_service_it_knows_the_peer_and_refuses() {
    let hub = ConnectionManager::in_memory();
    let service = hub.clone().into_service(|extensions| {
        let peer: &ConnectInfo<SocketAddr> = extensions.get()?;
        Some(peer.0)
    });
    let address = listen(Router::new().route_service("/ws", service), &hub).await;
    let mut client = Client::connect(address, "").await;
    let peer = hub.list()[0].remote_addr;
    assert!(peer.ip().is_loopback() && peer.port() != 0, "{peer}");
    hub.broadcast(numbered(7)).await.unwrap();
    assert_eq!(client.number().await, 7);
    let answer = exchange(
        address,
        "POST /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}
