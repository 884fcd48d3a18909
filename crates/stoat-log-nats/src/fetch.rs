//! Reading events that are in the stream only.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessageErrorKind;
use futures_util::{StreamExt, stream};
use stoat_events::{Event, LogEntry, ReadLimit, ReadStatus};
use tokio::time::sleep;

use crate::keeper::{Inner, entries_after, oldest};
use crate::message::decode;
use crate::position::{end_of, message_after, message_up_to};
use crate::shared::{entries, instant_of};

/// Messages that are asked for at a time.
const AT_ONCE: usize = 16;
/// Before a broker that is away is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// A message of the stream.
pub(crate) struct Found {
    pub(crate) headers: HeaderMap,
    /// None where it is none of ours.
    pub(crate) events: Vec<Event>,
}

/// The broker cannot be asked.
pub(crate) struct Away;

/// Gets a message from the leader of the stream, which has all that was acknowledged.
pub(crate) async fn get(inner: &Inner, message: u64) -> Result<Option<Found>, Away> {
    Ok(get_with_age(inner, message).await?.map(|(found, _)| found))
}

async fn get_with_age(inner: &Inner, number: u64) -> Result<Option<(Found, Duration)>, Away> {
    let rules = &inner.rules.stream;
    let link = inner.link().ok_or(Away)?;
    let stream = link.context.get_stream_no_info(&rules.name);
    let stream = stream.await.map_err(|_| Away)?;
    let message = match stream.get_raw_message(number).await {
        Ok(message) => message,
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
        Err(_) => return Err(Away),
    };
    let stored = SystemTime::from(message.time);
    let age = SystemTime::now().duration_since(stored).unwrap_or_default();
    let subject = &message.subject;
    let events = decode(&rules.subjects, subject, &message.payload, stored.into());
    let found = Found {
        headers: message.headers,
        // It was counted when it came by, if it ever did.
        events: events.unwrap_or_default(),
    };
    Ok(Some((found, age)))
}

/// Reads what follows a position, up to where the memory begins, and on from there where there
/// is nothing before. Waits for a broker that is away.
pub(crate) async fn fetch(inner: &Inner, after: u64, limit: ReadLimit) -> Vec<LogEntry> {
    let shared = &inner.shared;
    let Ok(_turn) = shared.readers.acquire().await else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let mut bytes = 0;
    let mut cursor = after;
    'window: loop {
        let floor = shared.floor();
        if cursor >= floor {
            if out.is_empty() {
                shared.nothing_between(after, floor);
                if shared.read(after, limit, &mut out) == ReadStatus::Stored {
                    // More has left the memory meanwhile.
                    continue;
                }
            }
            return out;
        }
        let from = message_after(cursor);
        let to = message_up_to(floor).min(from.saturating_add(AT_ONCE as u64 * 4));
        let found = stream::iter(from..=to)
            .map(async |number| (number, get_with_age(inner, number).await))
            .buffered(AT_ONCE);
        let mut found = std::pin::pin!(found);
        while let Some((number, message)) = found.next().await {
            match message {
                Ok(Some((Found { events, .. }, age))) => {
                    let entries = entries(shared.epoch(), number, events, instant_of(age));
                    for entry in entries_after(cursor, entries) {
                        bytes += entry.encoded().ws_frame().len();
                        out.push(entry);
                        if out.len() >= limit.events.max(1) || bytes >= limit.bytes {
                            return out;
                        }
                    }
                }
                Ok(None) => match has_evicted(inner, number).await {
                    Some(true) => return out,
                    Some(false) => {}
                    None => break,
                },
                Err(Away) if out.is_empty() => {
                    sleep(PAUSE).await;
                    continue 'window;
                }
                Err(Away) => return out,
            }
            cursor = end_of(number);
        }
        if from > to {
            cursor = floor;
        }
    }
}

/// Whether a message is not there since the stream has let go of it and all before, and not
/// because somebody deleted it.
async fn has_evicted(inner: &Inner, message: u64) -> Option<bool> {
    let link = inner.link()?;
    let Ok(Response::Ok(info)) = inner.look(link).await else {
        return None;
    };
    let oldest = oldest(&info);
    inner.shared.set_oldest(oldest);
    Some(oldest > message)
}
