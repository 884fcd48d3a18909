//! Who got an event: the delivery report of one.

use http::StatusCode;
use stoat_events::EventId;
use stoat_ws_hub::{ConnectionManager, NoDeliveryReport};

use super::answer::{Outcome, json};
use super::problem::{INTERNAL, INVALID_EVENT_ID, NO_DELIVERY_REPORT, Problem, shown};

/// `GET /api/v1/events/ID/delivery`.
pub(super) async fn report(hub: &ConnectionManager, id: &str) -> Outcome {
    let event = id.parse::<EventId>().map_err(|error| {
        let detail = format!("\"{}\" is {error}", shown(id));
        Problem::new(INVALID_EVENT_ID, detail).field("id")
    })?;
    let hub = hub.clone();
    // It looks at every connection: with tens of thousands this is long for a thread that
    // serves others.
    let told = stoat_correlation::spawn_blocking(move || hub.delivery(event)).await;
    match told {
        Ok(Ok(report)) => json(StatusCode::OK, &report),
        Ok(Err(none)) => Err(missing(&none)),
        Err(_) => Err(Problem::new(INTERNAL, "the connections could not be asked")),
    }
}

fn missing(none: &NoDeliveryReport) -> Problem {
    let reason = if none.is_unknown() {
        "unknown_id"
    } else if none.is_off() {
        "off"
    } else {
        "overwritten"
    };
    Problem::new(NO_DELIVERY_REPORT, none.to_string()).reason(reason)
}
