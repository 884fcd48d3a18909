//! The hub in an axum router: `cargo run -p stoat-ws-hub --example axum_hub`.
//!
//! Then connect to `ws://127.0.0.1:8765/ws`, such as with `stoat tail`, and in another terminal
//! `curl -d '{"name":"apollo"}' -H 'Content-Type: application/json' http://127.0.0.1:8765/projects`.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use stoat_events::{EventType, build_event};
use stoat_ws_hub::ConnectionManager;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let router = Router::new()
        .route("/ws", get(subscribe))
        .route("/projects", post(create))
        .with_state(ConnectionManager::in_memory());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8765").await?;
    axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await
}

async fn subscribe(
    State(hub): State<ConnectionManager>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    match hub.accept(&mut request, peer) {
        Ok(switching) => switching.map(|()| axum::body::Body::empty()),
        Err(refused) => refused.to_response().into_response(),
    }
}

async fn create(State(hub): State<ConnectionManager>, Json(project): Json<Value>) -> Response {
    let Ok(event) = build_event(EventType::ProjectCreated, &project, None) else {
        return (
            http::StatusCode::UNPROCESSABLE_ENTITY,
            "a JSON object is needed",
        )
            .into_response();
    };
    match hub.broadcast(event).await {
        Ok(done) => done.receipts[0].event_id.to_string().into_response(),
        Err(error) => (http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
