//! Reading a published body.

use stoat_events::{Event, Timestamp};

#[path = "../../../crates/app/src/serve/publish/cloud.rs"]
#[allow(dead_code, reason = "repeats are not looked for here")]
mod cloud;
#[path = "../../../crates/app/src/serve/publish/media.rs"]
#[allow(dead_code, reason = "headers are not read here")]
mod media;
#[path = "../../../crates/app/src/serve/publish/parse.rs"]
mod parse;

pub(crate) const MAX_BATCH: usize = 1000;

/// The events of a body and whether it was a single object, or the status of the refusal.
/// `format` is the place of the body's form in the list of them.
pub(crate) fn read(format: u8, body: &[u8], now: Timestamp) -> Result<(Vec<Event>, bool), u16> {
    let all = media::Format::ALL;
    let format = all[usize::from(format) % all.len()];
    match parse::parse(format, body, now) {
        Ok(parsed) => {
            let is_named = matches!(
                format,
                media::Format::CloudEvent | media::Format::CloudEvents
            );
            assert_eq!(parsed.identity.is_some(), is_named);
            Ok((parsed.events, parsed.shape == parse::Shape::One))
        }
        // Making the answer must not fail either.
        Err(problem) => Err(problem.into_answer().status().as_u16()),
    }
}
