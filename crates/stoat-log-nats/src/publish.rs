//! Sending a message to the stream until it is there, or the time is over.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use serde::Deserialize;
use stoat_events::{AppendError, Appended, Batch, Event, EventId, IdempotencyKey, Receipt};
use tokio::time::{Instant, sleep, timeout_at};

use crate::fetch::{Found, get};
use crate::keeper::{Inner, longest_id};
use crate::message::{self, Outgoing, is_same_content};
use crate::pack;
use crate::position::{MAX_EVENTS, first_of};
use crate::stream::FULL;

/// Without an answer for so long it is sent again.
const ANSWER: Duration = Duration::from_millis(1500);
/// Before it is sent again to a stream that refused it.
const PAUSE: Duration = Duration::from_millis(50);
/// When a publisher may try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Publishes a batch, and is ready once the stream and the readers of this server have it.
pub(crate) async fn publish(inner: &Arc<Inner>, batch: Batch) -> Result<Appended, AppendError> {
    let deadline = Instant::now() + inner.rules.publish_timeout;
    if batch.events.len() > MAX_EVENTS {
        return Err(AppendError::BatchTooLarge {
            unit: "events",
            len: batch.events.len(),
            max: MAX_EVENTS,
        });
    }
    wait_until_open(inner, deadline).await?;
    batch.check_sizes(longest_id(inner), inner.rules.max_event)?;
    let Batch {
        mut events,
        idempotency_key: key,
    } = batch;
    if events.is_empty() {
        return Ok(appended(inner, 0, &[], false));
    }
    // A repeat under a key has to find the message of the first.
    if inner.rules.pack && events.len() == 1 && key.is_none() {
        return pack::publish(inner, events.swap_remove(0), deadline).await;
    }
    publish_message(inner, &events, key, deadline).await
}

/// Publishes events as one message.
pub(crate) async fn publish_message(
    inner: &Inner,
    events: &[Event],
    key: Option<IdempotencyKey>,
    deadline: Instant,
) -> Result<Appended, AppendError> {
    let rules = &inner.rules.stream;
    let nonce = random().ok_or_else(|| unavailable("there are no random numbers"))?;
    let outgoing = Outgoing::new(&rules.subjects, &rules.name, events, key.as_ref(), nonce)
        .map_err(|error| unavailable(&error.to_string()))?;

    let (count, nonce) = (events.len(), outgoing.nonce.clone());
    let mut awaited = inner.shared.await_message(&nonce);
    let stored = store(inner, outgoing, count, deadline).await?;
    let seen = async {
        match (&key, stored.was_there) {
            // It may be that of another publish, which nobody here looks out for.
            (Some(_), true) => {
                let mut reached = inner.shared.reached.subscribe();
                let reached = reached.wait_for(|reached| *reached >= stored.message);
                tokio::select! {
                    biased;
                    message = awaited.seen() => message,
                    _ = reached => None,
                }
            }
            _ => awaited.seen().await,
        }
    };
    match (timeout_at(deadline, seen).await, key) {
        (Ok(Some(message)), _) => Ok(appended(inner, message, events, false)),
        (Ok(None), Some(key)) => replay(inner, stored.message, &key, &nonce, deadline).await,
        _ => Err(unconfirmed("it was not seen in the stream in time")),
    }
}

async fn wait_until_open(inner: &Inner, deadline: Instant) -> Result<(), AppendError> {
    let mut opened = inner.shared.opened.subscribe();
    let mut condition = inner.shared.condition.subscribe();
    let ended = async {
        let ended = condition.wait_for(|condition| condition.is_final()).await;
        ended.map_or_else(|_| String::new(), |condition| condition.to_string())
    };
    tokio::select! {
        biased;
        reason = ended => Err(unavailable(&reason)),
        opened = timeout_at(deadline, opened.wait_for(|opened| *opened)) => match opened {
            Ok(_) => Ok(()),
            Err(_) => Err(unavailable("the log is not open yet")),
        },
    }
}

/// Where a message is in the stream.
struct Stored {
    message: u64,
    /// The stream knew its ID.
    was_there: bool,
}

/// What JetStream answers to a message.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Sends a message until JetStream says that it has it.
async fn store(
    inner: &Inner,
    outgoing: Outgoing,
    events: usize,
    deadline: Instant,
) -> Result<Stored, AppendError> {
    // Whether it may be in the stream although nothing was heard of it.
    let mut may_be_there = false;
    let mut reason = "the broker cannot be reached".to_owned();
    while Instant::now() < deadline {
        let Some(link) = inner.link() else {
            sleep(PAUSE.min(deadline - Instant::now())).await;
            continue;
        };
        let request = Request::new()
            .headers(outgoing.headers.clone())
            .payload(outgoing.payload.clone())
            .timeout(None);
        let sending = link.client.send_request(outgoing.subject.clone(), request);
        let until = deadline.min(Instant::now() + ANSWER);
        let answer = match timeout_at(until, sending).await {
            Ok(Ok(message)) => serde_json::from_slice::<Answer>(&message.payload),
            Ok(Err(error)) => match error.kind() {
                RequestErrorKind::MaxPayloadExceeded => {
                    return Err(too_large(inner, &outgoing, events));
                }
                RequestErrorKind::NoResponders => {
                    reason = "JetStream is not there".to_owned();
                    sleep(PAUSE).await;
                    continue;
                }
                _ => {
                    may_be_there = true;
                    reason = error.to_string();
                    sleep(PAUSE).await;
                    continue;
                }
            },
            Err(_) => {
                may_be_there = true;
                reason = "JetStream did not answer".to_owned();
                continue;
            }
        };
        match answer {
            Ok(Answer {
                error: None,
                seq,
                duplicate,
            }) if seq > 0 => {
                return Ok(Stored {
                    message: seq,
                    was_there: duplicate,
                });
            }
            // One of the same ID is on its way, and has no number yet.
            Ok(Answer { error: None, .. }) => {
                may_be_there = true;
                reason = "the stream has not decided yet".to_owned();
            }
            Ok(Answer {
                error: Some(refusal),
                ..
            }) if FULL.contains(&refusal.err_code) => {
                return Err(AppendError::StorageFull {
                    retry_after: RETRY_AFTER,
                });
            }
            Ok(Answer {
                error: Some(refusal),
                ..
            }) => {
                reason = refusal.description;
                if refusal.code < 500 {
                    break;
                }
            }
            Err(error) => {
                may_be_there = true;
                reason = error.to_string();
            }
        }
        sleep(PAUSE).await;
    }
    Err(match may_be_there {
        true => unconfirmed(&reason),
        false => unavailable(&reason),
    })
}

/// The first answer to the same key.
async fn replay(
    inner: &Inner,
    message: u64,
    key: &IdempotencyKey,
    nonce: &str,
    deadline: Instant,
) -> Result<Appended, AppendError> {
    let found = timeout_at(deadline, get(inner, message)).await;
    let Ok(Ok(Some(Found { headers, events }))) = found else {
        let reason = "the first publish under this key cannot be read";
        return Err(unavailable(reason));
    };
    if !is_same_content(&headers, key) {
        return Err(AppendError::KeyReused);
    }
    // It may be this one, sent before.
    let is_other = message::nonce(&headers) != Some(nonce);
    Ok(appended(inner, message, &events, is_other))
}

/// The answer for the events of a message.
fn appended(inner: &Inner, message: u64, events: &[Event], replayed: bool) -> Appended {
    let epoch = inner.shared.epoch();
    let ids = (first_of(message, events.len())..).map(|at| EventId::new(epoch, at));
    let receipts = events.iter().zip(ids);
    let receipts = receipts.map(|(event, id)| Receipt::of(event, id));
    Appended {
        receipts: receipts.collect(),
        replayed,
    }
}

/// The broker takes no message of this size.
fn too_large(inner: &Inner, outgoing: &Outgoing, events: usize) -> AppendError {
    let link = inner.link();
    let max = link.map_or(0, |link| link.client.max_payload());
    let len = outgoing.payload.len();
    match events {
        1 => AppendError::TooLarge { index: 0, len, max },
        _ => AppendError::BatchTooLarge {
            unit: "bytes",
            len,
            max,
        },
    }
}

fn random() -> Option<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(u128::from_be_bytes(bytes))
}

pub(crate) fn unavailable(reason: &str) -> AppendError {
    AppendError::Unavailable {
        reason: reason.to_owned(),
        retry_after: RETRY_AFTER,
    }
}

pub(crate) fn unconfirmed(reason: &str) -> AppendError {
    AppendError::Unconfirmed {
        reason: reason.to_owned(),
        retry_after: RETRY_AFTER,
    }
}
