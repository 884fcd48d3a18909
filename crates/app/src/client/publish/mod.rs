//! `stoat publish`: one event, or the lines of standard input in batches.

mod batch;
mod post;
mod retry;

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::batch::{Batch, Batches};
pub(super) use self::post::Poster;
use self::retry::{Retry, is_passing};
use super::http::{Answer, RequestError};
use super::output::Lines;
use super::progress::Progress;
use super::{ClientError, unreachable};
use crate::cli::{Input, Publish};

/// Longest key of the user from which keys of batches are made: a dot and 20 digits follow.
const LONGEST_KEY: usize = 128 - 21;

/// Publishes what was asked for; `input` is read where the command line holds no event.
///
/// With a key of the user a repeat of the same input publishes nothing twice where it is cut into the
/// same batches, as a file always is.
pub(super) async fn run<R, W>(
    publish: &Publish,
    input: R,
    is_file: bool,
    out: W,
    random: impl FnMut() -> u64,
) -> Result<(), ClientError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut lines = Lines::new(out);
    match &publish.input {
        Input::Event {
            event_type,
            payload,
            topic,
            correlation_id,
        } => {
            let event = Event {
                event_type,
                payload: payload.as_deref().map(raw).transpose()?,
                topic: topic.as_deref(),
                correlation_id: correlation_id.as_deref(),
            };
            let receipt = single(publish, &event).await?;
            lines.add(&receipt);
            lines.flush().await.map(|_| ())
        }
        Input::Stdin => {
            let key = base_key(publish)?;
            let mut batches = Batches::new(BufReader::with_capacity(64 << 10, input), !is_file);
            let mut delivery = Delivery::new(publish, &key, random);
            let mut progress = Progress::new(publish.progress);
            let started = Instant::now();
            while let Some(batch) = batches
                .next()
                .await
                .map_err(|error| delivery.unread(&error))?
            {
                for receipt in delivery.deliver(&batch).await? {
                    lines.add(&receipt);
                }
                // Publishing goes on where nobody reads the receipts.
                lines.flush().await?;
                progress.show(|| delivery.pace(started));
            }
            progress.end(|| delivery.pace(started));
            Ok(())
        }
    }
}

/// The body of a publish of one event; the payload goes as it was given.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
}

fn raw(payload: &str) -> Result<&RawValue, ClientError> {
    serde_json::from_str(payload)
        .map_err(|error| ClientError::usage(format!("the payload is not JSON: {error}")))
}

/// Publishes one event, once; gives the receipt.
async fn single(publish: &Publish, event: &Event<'_>) -> Result<String, ClientError> {
    let body = serde_json::to_vec(event).map_err(|error| ClientError::new(error.to_string()))?;
    let key = publish.idempotency_key.as_deref();
    let answer = Poster::new(&publish.url)
        .post("application/json", body.into(), key)
        .await
        .map_err(|error| match error {
            RequestError::Connect(_) => unreachable(&publish.url, &error),
            _ => ClientError::new(format!(
                "{error}; the event may have been published (with --idempotency-key a repeat is safe)"
            )),
        })?;
    if !answer.status.is_success() {
        return Err(ClientError::new(format!(
            "publish refused: {}",
            answer.problem()
        )));
    }
    let receipt: &RawValue =
        serde_json::from_slice(&answer.body).map_err(|_| strange(publish, &answer))?;
    Ok(receipt.get().to_owned())
}

/// What the keys of the batches begin with.
fn base_key(publish: &Publish) -> Result<Cow<'_, str>, ClientError> {
    match publish.idempotency_key.as_deref() {
        None => Ok(Uuid::new_v4().to_string().into()),
        Some(key) if key.len() <= LONGEST_KEY => Ok(key.into()),
        Some(_) => Err(ClientError::usage(format!(
            "bad value for --idempotency-key: with `-` at most {LONGEST_KEY} characters"
        ))),
    }
}

fn strange(publish: &Publish, answer: &Answer) -> ClientError {
    ClientError::new(format!(
        "{} answered {} without receipts: is it a stoat server?",
        publish.url, answer.status
    ))
}

/// The answer to a batch.
#[derive(Deserialize)]
struct Receipts<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// Sends batches one after the other, and knows how far it came.
struct Delivery<'a, F> {
    publish: &'a Publish,
    poster: Poster<'a>,
    key: &'a str,
    random: F,
    batches: u64,
    /// Events that the server has accepted.
    acknowledged: u64,
}

impl<'a, F: FnMut() -> u64> Delivery<'a, F> {
    fn new(publish: &'a Publish, key: &'a str, random: F) -> Self {
        Self {
            publish,
            poster: Poster::new(&publish.url),
            key,
            random,
            batches: 0,
            acknowledged: 0,
        }
    }

    /// Sends a batch until it is acknowledged; gives a receipt for each of its lines.
    async fn deliver(&mut self, batch: &Batch) -> Result<Vec<String>, ClientError> {
        self.batches += 1;
        let key = format!("{}.{}", self.key, self.batches);
        let body = Bytes::copy_from_slice(&batch.body);
        let mut retry = Retry::default();
        let mut first_failure = None;
        // Whether an attempt may have been accepted without our knowing.
        let mut is_unclear = false;
        loop {
            let answer = self
                .poster
                .post("application/x-ndjson", body.clone(), Some(&key))
                .await;
            let (why, wish) = match answer {
                Ok(answer) if answer.status.is_success() => return self.receipts(batch, &answer),
                Ok(answer) if is_passing(answer.status) => {
                    is_unclear |= answer.status.is_server_error()
                        && answer.status != StatusCode::SERVICE_UNAVAILABLE;
                    (answer.problem().to_string(), answer.retry_after())
                }
                Ok(answer) => return Err(self.refused(batch, &answer)),
                Err(error) if !self.poster.was_connected() => {
                    return Err(unreachable(&self.publish.url, &error));
                }
                Err(error) => {
                    is_unclear |= !matches!(error, RequestError::Connect(_));
                    (error.to_string(), None)
                }
            };
            let elapsed = first_failure.get_or_insert_with(Instant::now).elapsed();
            let Some(wait) = retry.after(elapsed, wish, (self.random)()) else {
                return Err(self.given_up(batch, &why, is_unclear));
            };
            tracing::warn!(url = %self.publish.url, "not accepted yet: {why}; trying again");
            sleep(wait).await;
        }
    }

    fn receipts(&mut self, batch: &Batch, answer: &Answer) -> Result<Vec<String>, ClientError> {
        let receipts: Receipts<'_> =
            serde_json::from_slice(&answer.body).map_err(|_| strange(self.publish, answer))?;
        if receipts.events.len() != batch.numbers.len() {
            return Err(strange(self.publish, answer));
        }
        self.acknowledged += receipts.events.len() as u64;
        let receipts = receipts.events.into_iter();
        Ok(receipts.map(|receipt| receipt.get().to_owned()).collect())
    }

    fn refused(&self, batch: &Batch, answer: &Answer) -> ClientError {
        let problem = answer.problem();
        let index = problem.index.filter(|_| answer.status.is_client_error());
        let line = match index.and_then(|index| batch.numbers.get(index)) {
            Some(number) => format!("input line {number}"),
            None => lines(batch),
        };
        let rest = match batch.range() {
            (first, last) if first == last => String::new(),
            _ => format!("; nothing of {} was published", lines(batch)),
        };
        ClientError::new(format!(
            "publish refused: {problem} ({line}){rest}; {}",
            self.progress()
        ))
    }

    fn given_up(&self, batch: &Batch, why: &str, is_unclear: bool) -> ClientError {
        let fate = if is_unclear {
            "may or may not have been published"
        } else {
            "not published"
        };
        ClientError::new(format!(
            "gave up: {why}; {}; {}: {fate}",
            self.progress(),
            lines(batch)
        ))
    }

    fn unread(&self, error: &std::io::Error) -> ClientError {
        ClientError::new(format!(
            "cannot read standard input: {error}; {}",
            self.progress()
        ))
    }

    /// How far it came, and how fast.
    fn pace(&self, started: Instant) -> String {
        let seconds = started.elapsed().as_secs_f64();
        let each_second = self.acknowledged as f64 / seconds.max(0.001);
        format!("{}, {each_second:.0}/s", self.progress())
    }

    fn progress(&self) -> String {
        match self.acknowledged {
            1 => "1 event was acknowledged".to_owned(),
            count => format!("{count} events were acknowledged"),
        }
    }
}

/// The input lines of a batch, in words.
fn lines(batch: &Batch) -> String {
    match batch.range() {
        (first, last) if first == last => format!("input line {first}"),
        (first, last) => format!("input lines {first} to {last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    fn publish(arguments: &[&str]) -> Publish {
        let line = ["stoat", "publish"].iter().chain(arguments);
        match parse(line.map(Into::into), &[]).unwrap() {
            Command::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_payload_goes_as_it_was_given() {
        let event = Event {
            event_type: "a\"",
            payload: Some(raw("{\"n\": 1.10e400, \"n\":\"\\u00e4\"}").unwrap()),
            topic: None,
            correlation_id: Some("c"),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"type":"a\"","payload":{"n": 1.10e400, "n":"\u00e4"},"correlation_id":"c"}"#
        );
    }

    #[test]
    fn keys_of_batches_fit() {
        assert_eq!(
            base_key(&publish(&["-", "--idempotency-key=k"])).unwrap(),
            "k"
        );
        let one = base_key(&publish(&["-"])).unwrap().into_owned();
        assert_ne!(base_key(&publish(&["-"])).unwrap(), one);
        let long = format!("--idempotency-key={}", "k".repeat(LONGEST_KEY));
        let key = base_key(&publish(&["-", &long])).unwrap().into_owned();
        assert_eq!(format!("{key}.{}", u64::MAX).len(), 128);
        let longer = format!("{long}k");
        assert!(base_key(&publish(&["-", &longer])).unwrap_err().is_usage());
    }

    #[test]
    fn a_refusal_names_the_input_line() {
        let publish = publish(&["-"]);
        let mut delivery = Delivery::new(&publish, "k", || 0);
        delivery.acknowledged = 1;
        let answer = |detail: &str| Answer {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            headers: http::HeaderMap::new(),
            body: format!(r#"{{"title":"T","detail":"{detail}"}}"#).into(),
        };
        let batch = Batch {
            body: Vec::new(),
            numbers: vec![2, 5, 9],
        };
        let text = delivery
            .refused(&batch, &answer("event 1: bad"))
            .to_string();
        assert_eq!(
            text,
            "publish refused: 422 T: event 1: bad (input line 5); nothing of input lines 2 to 9 was published; \
             1 event was acknowledged"
        );
        let text = delivery
            .refused(&batch, &answer("event 3: bad"))
            .to_string();
        assert!(text.contains("(input lines 2 to 9)"), "{text}");
        let batch = Batch {
            body: Vec::new(),
            numbers: vec![4],
        };
        let text = delivery.refused(&batch, &answer("bad")).to_string();
        assert!(text.contains("bad (input line 4); 1 event"), "{text}");
    }
}
