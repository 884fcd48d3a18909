//! `POST /api/v1/events`: from a request to events in the log.

mod binary;
mod cloud;
mod media;
mod parse;

#[cfg(test)]
mod parse_tests;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, request};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use stoat_events::{
    AppendError, Appended, Batch, CorrelationId, Event, EventId, IdempotencyKey, Receipt, Scope,
    Timestamp, Topic,
};
use tokio::time::Instant;

use super::answer::{Outcome, json};
use super::app::App;
use super::auth::Access;
use super::body::RequestBody;
use super::problem::{
    BATCH_TOO_LARGE, DISK_FULL, DRAINING, EVENT_TOO_LARGE, IDEMPOTENCY_KEY_REUSED, INTERNAL,
    INVALID_IDEMPOTENCY_KEY, OUTCOME_UNKNOWN, PAYLOAD_MISMATCH, Problem, RATE_EXCEEDED,
    TOPIC_FORBIDDEN, UNAVAILABLE, UNSUPPORTED_MEDIA_TYPE, shown,
};
use super::rate::{Key, Over, Rate};
use super::schemas::{Mismatch, Schemas};
use super::trace::Span;
use cloud::Identity;
pub(super) use media::Format;
use parse::{Parsed, Shape};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The most events in one batch.
pub(super) const MAX_BATCH: usize = 1000;

/// Publishes what the request holds; answers once the log has accepted it.
pub(super) async fn publish(
    app: &App,
    request: &request::Parts,
    body: &mut RequestBody,
    access: &Access,
    client: SocketAddr,
) -> Outcome {
    // Held until the answer is made: a drain waits for it.
    let pass = app.publishes.enter().ok_or_else(draining)?;
    let mut span = Span::part_of(&request.extensions, "publish");
    let form = check_headers(&request.headers)?;
    let key = KeyText::from_headers(&request.headers)?;
    let publisher = Key::new(access.owner.as_ref(), client.ip());
    if let Some(rate) = &app.rate {
        // A body that would be refused whatever is in it is not read.
        let over = |over| over_rate(rate, 1, over);
        rate.look(&publisher, now()).map_err(over)?;
    }

    let deadline = Instant::now() + app.limits.body_timeout;
    let bytes = tokio::select! {
        // A drain that cannot wait any longer is told the client, rather than left unanswered.
        biased;
        () = pass.cut() => return Err(draining().close()),
        bytes = body.read(app.limits.max_body, deadline) => bytes?,
    };
    let Parsed {
        events,
        shape,
        identity,
    } = match form {
        Form::Body(format) => parse::parse(format, &bytes, Timestamp::now()),
        Form::Binary => binary::parse(&request.headers, &bytes, Timestamp::now()),
    }?;
    check_topics(&events, &access.scope, shape)?;
    if let Some(rate) = &app.rate {
        let over = |over| over_rate(rate, events.len(), over);
        rate.take(&publisher, events.len(), now()).map_err(over)?;
    }
    check_payloads(&events, &app.schemas, shape)?;
    let owner = access.owner.as_deref().unwrap_or_default();
    let is_named = key.is_none() && identity.is_some();
    let key = key.or_else(|| Some(KeyText::of_names(&identity.as_ref()?.names)));
    let sealed = |key: KeyText<'_>| key.sealed(owner, content(form, &bytes, identity.as_ref()));
    let idempotency_key = key.map(sealed).transpose()?;
    let types: Vec<_> = events.iter().map(Event::event_type).cloned().collect();
    let batch = Batch {
        events,
        idempotency_key,
    };

    let appended = append(app, batch, &mut span).await;
    let appended = appended.map_err(|error| match error {
        AppendError::KeyReused if is_named => Problem::new(
            IDEMPOTENCY_KEY_REUSED,
            "an event of this `source` and `id` was published with other content",
        ),
        error => refused(error),
    })?;
    if !appended.replayed {
        for event_type in &types {
            app.metrics.published(event_type.as_str());
        }
    }
    answer(&appended, shape)
}

async fn append(app: &App, batch: Batch, publish: &mut Span) -> Result<Appended, AppendError> {
    let fan_out = publish.watch_fan_out();
    let mut span = publish.part("append");
    let appended = app.hub.broadcast(batch).await;
    match &appended {
        Ok(appended) => publish.published(appended, &**app.hub.log(), fan_out),
        Err(error) => span.fail(error),
    }
    appended
}

/// Where events stand in a request.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// In the body alone.
    Body(Format),
    /// A CloudEvent in headers, with its data in the body.
    Binary,
}

/// Checks what can be told from the headers alone.
fn check_headers(headers: &HeaderMap) -> Result<Form, Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Problem::new(
            UNSUPPORTED_MEDIA_TYPE,
            "a body with a content encoding is not taken here",
        )
        .field("content-encoding")
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    if binary::is_binary(headers) {
        return Ok(Form::Binary);
    }
    Format::from_headers(headers)
        .map(Form::Body)
        .ok_or_else(|| {
            Problem::new(
                UNSUPPORTED_MEDIA_TYPE,
                format!("`Content-Type` must be one of {}, in UTF-8", Format::LIST),
            )
            .field("content-type")
            .header(ACCEPT, HeaderValue::from_static(Format::LIST))
        })
}

/// The value of `Idempotency-Key`, not yet tied to the content.
struct KeyText<'a>(Cow<'a, str>);

impl<'a> KeyText<'a> {
    fn from_headers(headers: &'a HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(invalid_key("`Idempotency-Key` is given twice"));
        }
        let key = value.to_str().unwrap_or_default();
        match IdempotencyKey::new("", key, [0; 32]) {
            Ok(_) => Ok(Some(Self(key.into()))),
            Err(error) => Err(invalid_key(&error.to_string())),
        }
    }

    /// The key of events that have names at their source: a repeat is then found without a header.
    fn of_names(names: &[u8]) -> Self {
        let digest = Sha256::digest(names);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("cloudevents.{hex}").into())
    }

    fn sealed(self, owner: &str, content: [u8; 32]) -> Result<IdempotencyKey, Problem> {
        IdempotencyKey::new(owner, &self.0, content)
            .map_err(|error| invalid_key(&error.to_string()))
    }
}

/// What a repeat must have in common with the first: the body, but of CloudEvents what they are.
fn content(form: Form, body: &Bytes, identity: Option<&Identity>) -> [u8; 32] {
    let essence = match form {
        Form::Body(format) if identity.is_none() => format.essence(),
        _ => "cloudevents",
    };
    let content = identity.map_or(&**body, |identity| &identity.content);
    let digest = Sha256::new().chain_update(essence).chain_update(b"\n");
    digest.chain_update(content).finalize().into()
}

/// Says the same of every topic that the token is not good for, whether anybody uses it or not.
fn check_topics(events: &[Event], scope: &Scope, shape: Shape) -> Result<(), Problem> {
    let outside = |event: &Event| !scope.allows(event.topic().map(Topic::as_str));
    let Some(index) = events.iter().position(outside) else {
        return Ok(());
    };
    let detail = "the token lacks the right to publish to this topic; without a topic it needs `*`";
    let problem = Problem::new(TOPIC_FORBIDDEN, detail).field("topic");
    Err(match shape {
        Shape::One => problem,
        Shape::Many => problem.index(index),
    })
}

/// Names the place in the payload, as a JSON pointer behind `payload`.
fn check_payloads(events: &[Event], schemas: &Schemas, shape: Shape) -> Result<(), Problem> {
    for (index, event) in events.iter().enumerate() {
        let Err(Mismatch { path, why }) = schemas.check(event) else {
            continue;
        };
        let place = format!("payload{path}");
        let detail = format!(
            "`{}` of `{}`: {}",
            shown(&place),
            event.event_type(),
            shown(&why)
        );
        let problem = Problem::new(PAYLOAD_MISMATCH, detail).field(&place);
        return Err(match shape {
            Shape::One => problem,
            Shape::Many => problem.index(index),
        });
    }
    Ok(())
}

fn over_rate(rate: &Rate, events: usize, over: Over) -> Problem {
    let most = rate.per_second();
    match over {
        Over::For(wait) => Problem::new(
            RATE_EXCEEDED,
            format!("at most {most} events can be published in a second"),
        )
        .retry_after(seconds(wait)),
        Over::Ever => Problem::new(
            BATCH_TOO_LARGE,
            format!("the batch has {events} events, at most {most} can be published in a second"),
        ),
    }
}

/// tokio's clock, which tests can hold still.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn invalid_key(detail: &str) -> Problem {
    Problem::new(INVALID_IDEMPOTENCY_KEY, detail).field("idempotency-key")
}

fn draining() -> Problem {
    Problem::new(DRAINING, "publish to another server, or again later").retry_after(1)
}

fn refused(error: AppendError) -> Problem {
    match &error {
        AppendError::TooLarge { index, .. } => {
            Problem::new(EVENT_TOO_LARGE, error.to_string()).index(*index)
        }
        AppendError::BatchTooLarge { .. } => Problem::new(BATCH_TOO_LARGE, error.to_string()),
        AppendError::KeyReused => Problem::new(IDEMPOTENCY_KEY_REUSED, error.to_string()),
        AppendError::StorageFull { retry_after } => {
            Problem::new(DISK_FULL, error.to_string()).retry_after(seconds(*retry_after))
        }
        AppendError::Unavailable {
            reason,
            retry_after,
        } => {
            tracing::warn!(%reason, "the log is unavailable");
            Problem::new(UNAVAILABLE, "the log is unavailable").retry_after(seconds(*retry_after))
        }
        AppendError::Unconfirmed {
            reason,
            retry_after,
        } => {
            tracing::warn!(%reason, "the log did not confirm a publish in time");
            let detail = "the events may be in the log, or get there; repeat with an Idempotency-Key to be sure";
            Problem::new(OUTCOME_UNKNOWN, detail).retry_after(seconds(*retry_after))
        }
        _ => {
            tracing::error!(%error, "a publish failed");
            Problem::new(INTERNAL, "the events could not be published")
        }
    }
}

/// Whole seconds, rounded up, at least 1.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// What became of one event that was published.
#[derive(Serialize, JsonSchema)]
pub(super) struct Published<'a> {
    event_id: EventId,
    timestamp: Timestamp,
    #[schemars(with = "Option<String>")]
    correlation_id: Option<&'a CorrelationId>,
}

impl<'a> From<&'a Receipt> for Published<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        Self {
            event_id: receipt.event_id,
            timestamp: receipt.timestamp,
            correlation_id: receipt.correlation_id.as_ref(),
        }
    }
}

/// What became of a list of events that was published, in its order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PublishedList")]
pub(super) struct Many<'a> {
    events: Vec<Published<'a>>,
}

fn answer(appended: &Appended, shape: Shape) -> Outcome {
    let mut answer = match (shape, &*appended.receipts) {
        (Shape::One, [receipt]) => json(StatusCode::CREATED, &Published::from(receipt)),
        (_, receipts) => json(
            StatusCode::CREATED,
            &Many {
                events: receipts.iter().map(Published::from).collect(),
            },
        ),
    }?;
    if appended.replayed {
        answer
            .headers_mut()
            .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_log_become_answers() {
        let unavailable = |millis| AppendError::Unavailable {
            reason: "the disk at /srv is full".to_owned(),
            retry_after: Duration::from_millis(millis),
        };
        for (error, status, retry_after) in [
            (unavailable(0), 503, Some("1")),
            (unavailable(2_001), 503, Some("3")),
            (unavailable(5_000), 503, Some("5")),
            (
                AppendError::StorageFull {
                    retry_after: Duration::from_secs(5),
                },
                507,
                Some("5"),
            ),
            (AppendError::KeyReused, 422, None),
            (
                AppendError::Unconfirmed {
                    reason: "the disk at /srv did not answer".to_owned(),
                    retry_after: Duration::from_secs(2),
                },
                503,
                Some("2"),
            ),
            (
                AppendError::BatchTooLarge {
                    unit: "bytes",
                    len: 2,
                    max: 1,
                },
                413,
                None,
            ),
            (
                AppendError::TooLarge {
                    index: 2,
                    len: 70_000,
                    max: 65_536,
                },
                413,
                None,
            ),
        ] {
            let problem = refused(error);
            assert!(!format!("{problem:?}").contains("/srv"), "{problem:?}");
            let answer = problem.into_answer();
            assert_eq!(answer.status(), status);
            let header = answer.headers().get("retry-after");
            assert_eq!(header.map(|value| value.to_str().unwrap()), retry_after);
        }
    }
}
