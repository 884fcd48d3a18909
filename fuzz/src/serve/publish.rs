//! Reading a published body.

use stoat_events::{Event, Timestamp};

#[path = "../../../crates/app/src/serve/publish/media.rs"]
#[allow(dead_code, reason = "headers are not read here")]
mod media;
#[path = "../../../crates/app/src/serve/publish/parse.rs"]
mod parse;

pub(crate) const MAX_BATCH: usize = 1000;

/// The events of a body and whether it was a single object, or the status of the refusal.
pub(crate) fn read(ndjson: bool, body: &[u8], now: Timestamp) -> Result<(Vec<Event>, bool), u16> {
    let format = if ndjson {
        media::Format::Ndjson
    } else {
        media::Format::Json
    };
    match parse::parse(format, body, now) {
        Ok(parsed) => Ok((parsed.events, parsed.shape == parse::Shape::One)),
        // Making the answer must not fail either.
        Err(problem) => Err(problem.into_answer().status().as_u16()),
    }
}
