//! A test of a service that publishes, as a program: `cargo run -p stoat-test-kit --example await_event`.

use serde_json::json;
use stoat_events::{AppendError, EventType, build_event};
use stoat_test_kit::TestClient;
use stoat_ws_hub::ConnectionManager;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AppendError> {
    let hub = ConnectionManager::in_memory();
    let mut page = TestClient::connect(&hub, "/ws?types=project_created").await;
    create_project(&hub, "apollo").await?;
    let event = page.event().await;
    assert_eq!(event.payload.as_json(), r#"{"name":"apollo"}"#);
    page.nothing_more().await;
    Ok(())
}

/// The code under test.
async fn create_project(hub: &ConnectionManager, name: &str) -> Result<(), AppendError> {
    let payload = json!({ "name": name });
    for event_type in [EventType::ScanStarted, EventType::ProjectCreated] {
        if let Ok(event) = build_event(event_type, &payload, None) {
            hub.broadcast(event).await?;
        }
    }
    Ok(())
}
