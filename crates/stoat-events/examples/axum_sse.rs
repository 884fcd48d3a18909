//! A log that feeds `EventSource`s, without WebSockets: `cargo run -p stoat-events --example axum_sse`.
//!
//! Then `curl -N http://127.0.0.1:8765/sse` in one terminal, and
//! `curl -X POST http://127.0.0.1:8765/projects/apollo` in another.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use stoat_events::{
    EventLog, EventType, Format, Gap, GapReason, MemoryLog, ReadLimit, ReadStatus, Resume,
    Timestamp, build_event, sse,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let log = Arc::new(MemoryLog::default());
    let router = Router::new()
        .route("/sse", get(follow))
        .route("/projects/{name}", post(create))
        .with_state(log);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8765").await?;
    axum::serve(listener, router).await
}

/// A reader with its own position: nothing is kept for it, however slow it is.
struct Reader {
    log: Arc<MemoryLog>,
    cursor: u64,
    gap: Option<Gap>,
}

async fn follow(State(log): State<Arc<MemoryLog>>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let start = log
        .bounds()
        .attach(&Resume::parse(last.unwrap_or_default()));
    let reader = Reader {
        log,
        cursor: start.cursor,
        gap: start.gap,
    };
    let pieces = stream::unfold(reader, |mut reader| async {
        let piece = reader.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), reader))
    });
    let headers = [
        (header::CONTENT_TYPE, sse::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

impl Reader {
    /// What is new, once there is something.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let limit = ReadLimit {
            events: 256,
            bytes: 32 << 10,
        };
        let (mut head, mut events, mut piece) = (self.log.head(), Vec::new(), Vec::new());
        loop {
            if let Some(gap) = self.gap.take() {
                let gap = gap.encode(&self.log.bounds(), Timestamp::now());
                sse::write(&gap, Format::Stoat, &mut piece);
            }
            match self.log.read(self.cursor, limit, &mut events) {
                ReadStatus::Read | ReadStatus::Stored if events.is_empty() && piece.is_empty() => {
                    head.changed().await.ok()?;
                }
                ReadStatus::Read | ReadStatus::Stored => break,
                // Too slow: what is gone is said, and the rest follows.
                ReadStatus::Evicted => {
                    let bounds = self.log.bounds();
                    let reached = bounds.id(self.cursor).to_string();
                    self.gap = Some(Gap::new(GapReason::Lagged, &reached));
                    self.cursor = bounds.before_oldest();
                }
            }
        }
        for event in events {
            self.cursor = event.sequence();
            sse::write(event.encoded(), Format::Stoat, &mut piece);
        }
        Some(piece)
    }
}

async fn create(State(log): State<Arc<MemoryLog>>, Path(name): Path<String>) -> Response {
    let payload = serde_json::json!({ "name": name });
    let Ok(event) = build_event(EventType::ProjectCreated, &payload, None) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    match log.append(event.into()).await {
        Ok(done) => done.receipts[0].event_id.to_string().into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
