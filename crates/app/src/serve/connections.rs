//! The live connections: listing them, and closing one.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use stoat_ws_hub::{ConnectionId, ConnectionInfo, ConnectionManager};

use super::answer::{Outcome, empty, json};
use super::problem::{INTERNAL, NOT_FOUND, Problem, shown};

/// What one connection takes in the list; filters may make it more.
pub(super) const MOST_BYTES_EACH: usize = 512;

/// The live connections, in the order in which they came.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Connections")]
pub(super) struct List {
    count: usize,
    connections: Vec<ConnectionInfo>,
}

/// `GET /api/v1/connections`.
pub(super) async fn list(hub: &ConnectionManager) -> Outcome {
    let hub = hub.clone();
    // With tens of thousands of connections this is long for a thread that serves others.
    let listed = stoat_correlation::spawn_blocking(move || {
        let connections = hub.list();
        json(
            StatusCode::OK,
            &List {
                count: connections.len(),
                connections,
            },
        )
    });
    listed.await.unwrap_or_else(|_| {
        Err(Problem::new(
            INTERNAL,
            "the connections could not be listed",
        ))
    })
}

/// `DELETE /api/v1/connections/ID`. An ID that cannot be one is not found either.
pub(super) fn close(hub: &ConnectionManager, id: &str) -> Outcome {
    let known = id
        .parse::<ConnectionId>()
        .is_ok_and(|id| hub.disconnect(id));
    if known {
        tracing::info!(connection = %shown(id), "connection closed by the operator");
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    Err(Problem::new(
        NOT_FOUND,
        format!("there is no connection \"{}\"", shown(id)),
    ))
}
