//! The service that the event types come from, as a consumer builds it with the
//! crates: it scans directories, keeps projects, and tells everyone at `/ws`.
//!
//! ```sh
//! cargo run -p stoat --example library_service -- 127.0.0.1:8766
//! curl -d '{"path":"."}' -H 'Content-Type: application/json' \
//!     -H 'X-Correlation-ID: scan-1' http://127.0.0.1:8766/scan
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use stoat_correlation::CorrelationLayer;
use stoat_events::{Event, TypedEvent};
use stoat_ws_hub::{CURSOR_HEADER, ConnectionManager};

#[derive(Serialize)]
struct ScanStarted<'a> {
    path: &'a Path,
}

impl TypedEvent for ScanStarted<'_> {
    const TYPE: &'static str = "scan_started";
}

#[derive(Serialize)]
struct ScanCompleted<'a> {
    path: &'a Path,
    files: u64,
    bytes: u64,
}

impl TypedEvent for ScanCompleted<'_> {
    const TYPE: &'static str = "scan_completed";
}

#[derive(Serialize, Deserialize)]
struct ProjectCreated {
    name: String,
}

impl TypedEvent for ProjectCreated {
    const TYPE: &'static str = "project_created";
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8766".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    #[expect(clippy::print_stdout, reason = "tells where it listens")]
    {
        println!("listening on http://{}", listener.local_addr()?);
    }
    let router = Router::new()
        .route("/ws", get(subscribe))
        .route("/scan", post(scan))
        .route("/projects", post(create_project))
        .layer(CorrelationLayer::new())
        .with_state(ConnectionManager::in_memory());
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
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

#[derive(Deserialize)]
struct ScanRequest {
    path: PathBuf,
}

/// Answers at once; the work goes on in a job that keeps the request's correlation ID.
async fn scan(State(hub): State<ConnectionManager>, Json(request): Json<ScanRequest>) -> Response {
    if !request.path.is_dir() {
        return (StatusCode::UNPROCESSABLE_ENTITY, "`path` is not a directory").into_response();
    }
    let cursor = AppendHeaders([(CURSOR_HEADER, hub.position().to_string())]);
    stoat_correlation::spawn(async move {
        if let Err(error) = run_scan(&hub, request.path).await {
            tracing::error!(%error, "a scan went wrong");
        }
    });
    (StatusCode::ACCEPTED, cursor).into_response()
}

async fn run_scan(
    hub: &ConnectionManager,
    path: PathBuf,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    hub.broadcast(Event::typed(&ScanStarted { path: &path })?).await?;
    let walked = stoat_correlation::spawn_blocking({
        let path = path.clone();
        move || walk(path)
    });
    let (files, bytes) = walked.await?;
    hub.broadcast(Event::typed(&ScanCompleted { path: &path, files, bytes })?).await?;
    Ok(())
}

/// Counts the files below a directory and their bytes. Symbolic links are not
/// followed, and what cannot be read is left out.
fn walk(root: PathBuf) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.is_file() => {
                    files += 1;
                    bytes += metadata.len();
                }
                _ => {}
            }
        }
    }
    (files, bytes)
}

async fn create_project(
    State(hub): State<ConnectionManager>,
    Json(project): Json<ProjectCreated>,
) -> Response {
    // Before the event, so that who subscribes from here on sees it.
    let cursor = AppendHeaders([(CURSOR_HEADER, hub.position().to_string())]);
    // A real service would store the project here, in a job that may outlive the request.
    let job = stoat_correlation::spawn(async move {
        let created = Event::typed(&project).map_err(|error| error.to_string())?;
        hub.broadcast(created).await.map(drop).map_err(|error| error.to_string())
    });
    match job.await {
        Ok(Ok(())) => (StatusCode::CREATED, cursor).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
