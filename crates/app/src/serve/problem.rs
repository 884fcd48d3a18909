//! Errors as RFC 9457 problem details.

use http::StatusCode;
use http::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::answer::{Answer, text};
/// A client's text as an error may show it: cut, and escaped where it would not be seen as it is.
pub(super) use crate::settings::text::shorten as shown;

/// What went wrong: the status, and a name that stays the same from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    status: StatusCode,
    /// The end of `urn:stoat:problem:…`; empty where the status says all there is to say.
    name: &'static str,
    title: &'static str,
}

/// Makes the constants and the list of all of them from one table; a name and a title that are empty
/// leave it to the status.
macro_rules! kinds {
    ($($constant:ident: $status:ident, $name:literal, $title:literal;)*) => {
        $(pub(super) const $constant: Kind = Kind::new(StatusCode::$status, $name, $title);)*

        /// Every kind that has a constant.
        #[cfg(test)]
        pub(super) const KINDS: &[Kind] = &[$($constant),*];
    };
}

kinds! {
    NOT_FOUND: NOT_FOUND, "", "";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "", "";
    INTERNAL: INTERNAL_SERVER_ERROR, "", "";
    INCOMPLETE_BODY: BAD_REQUEST, "", "";
    MALFORMED_JSON: BAD_REQUEST, "malformed-json", "The body is not valid JSON";
    INVALID_QUERY: BAD_REQUEST, "invalid-query", "A query parameter is not valid";
    INVALID_EVENT_ID: BAD_REQUEST, "invalid-event-id", "The event ID is not valid";
    NO_DELIVERY_REPORT: NOT_FOUND, "no-delivery-report", "There is no delivery report of this event";
    INVALID_IDEMPOTENCY_KEY: BAD_REQUEST, "invalid-idempotency-key", "The Idempotency-Key is not valid";
    HEAD_TIMEOUT: REQUEST_TIMEOUT, "head-timeout", "The head of the request did not come in time";
    BODY_TIMEOUT: REQUEST_TIMEOUT, "body-timeout", "The body did not come in time";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large";
    BATCH_TOO_LARGE: PAYLOAD_TOO_LARGE, "batch-too-large", "The batch has too many events";
    EVENT_TOO_LARGE: PAYLOAD_TOO_LARGE, "event-too-large", "An event is too large";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is of a type that is not taken here";
    INVALID_EVENT: UNPROCESSABLE_ENTITY, "invalid-event", "An event is not valid";
    PAYLOAD_MISMATCH: UNPROCESSABLE_ENTITY, "payload-mismatch", "A payload breaks its schema";
    EMPTY_BATCH: UNPROCESSABLE_ENTITY, "empty-batch", "There is no event to publish";
    IDEMPOTENCY_KEY_REUSED: UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The Idempotency-Key was used with other content";
    TOPIC_FORBIDDEN: FORBIDDEN, "topic-forbidden", "The token is not good for this topic";
    RATE_EXCEEDED: TOO_MANY_REQUESTS, "rate-exceeded", "Too many events were published";
    UNAVAILABLE: SERVICE_UNAVAILABLE, "unavailable", "Events cannot be taken now";
    OUTCOME_UNKNOWN: SERVICE_UNAVAILABLE, "outcome-unknown", "It is not known whether the events were taken";
    LOG_NOT_READY: SERVICE_UNAVAILABLE, "log-not-ready", "The log cannot be read now";
    DISK_FULL: INSUFFICIENT_STORAGE, "disk-full", "There is no room for events";
    DRAINING: SERVICE_UNAVAILABLE, "draining", "The server is shutting down";
}

impl Kind {
    const fn new(status: StatusCode, name: &'static str, title: &'static str) -> Self {
        Self {
            status,
            name,
            title,
        }
    }

    /// A problem of which the status says all: its type is `about:blank`.
    pub(super) const fn plain(status: StatusCode) -> Self {
        Self::new(status, "", "")
    }

    /// The status of the answer.
    pub(super) const fn status(self) -> StatusCode {
        self.status
    }

    /// The `type`: a name that stays the same from version to version.
    pub(super) fn urn(self) -> String {
        match self.name {
            "" => "about:blank".to_owned(),
            name => format!("urn:stoat:problem:{name}"),
        }
    }

    /// The `title`.
    pub(super) fn title(self) -> &'static str {
        match self.title {
            "" => self.status.canonical_reason().unwrap_or("Error"),
            title => title,
        }
    }
}

/// One refusal, on its way to becoming a response.
#[derive(Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    detail: String,
    members: Members,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Members beyond those of the RFC; each is there only where it is known.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(not(fuzzing), derive(schemars::JsonSchema))]
struct Members {
    /// The field, parameter or header at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The event of a batch at fault, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// The line of the body, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The column in the line, in bytes from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// A short name of the cause, out of a fixed set.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Problem {
    /// A problem; `detail` says what is wrong with this request, values of a client
    /// only [`shown`].
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.into(),
            members: Members::default(),
            headers: Vec::new(),
        }))
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.0.kind.status
    }

    /// Names the field at fault; shown to the client as [`shown`] shows it.
    pub(super) fn field(mut self, name: &str) -> Self {
        self.0.members.field = Some(shown(name));
        self
    }

    /// Names the event at fault, counted from 0.
    pub(super) fn index(mut self, index: usize) -> Self {
        self.0.members.index = Some(index);
        self
    }

    /// Names the line of the body, counted from 1.
    pub(super) fn line(mut self, line: usize) -> Self {
        self.0.members.line = Some(line);
        self
    }

    /// Names the column in the line, in bytes from 1.
    pub(super) fn column(mut self, column: usize) -> Self {
        self.0.members.column = Some(column);
        self
    }

    /// A short name of the cause, out of a fixed set.
    pub(super) fn reason(mut self, reason: &'static str) -> Self {
        self.0.members.reason = Some(reason);
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says after how many seconds to come back.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, seconds.into())
    }

    /// Ends the connection after the answer, since the rest of the request is not wanted.
    pub(super) fn close(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// The response; call it within the request's scope, from which the correlation ID comes.
    pub(super) fn into_answer(self) -> Answer {
        let Inner {
            kind,
            detail,
            members,
            headers,
        } = *self.0;
        let correlation_id = stoat_correlation::current();
        let wire = Wire {
            kind: kind.urn(),
            title: kind.title(),
            status: kind.status.as_u16(),
            detail: &detail,
            correlation_id: correlation_id.as_ref().map(|id| id.as_str()),
            members,
        };
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(&wire).unwrap_or_default();
        let mut answer = text(kind.status, "application/problem+json", body);
        answer.headers_mut().extend(headers);
        answer
    }
}

/// Why a request was refused (RFC 9457).
#[derive(Serialize)]
#[cfg_attr(not(fuzzing), derive(schemars::JsonSchema))]
#[cfg_attr(not(fuzzing), schemars(rename = "Problem"))]
pub(super) struct Wire<'a> {
    /// Names the kind of problem; stays the same from version to version.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The request's correlation ID, as in `X-Correlation-ID`.
    correlation_id: Option<&'a str>,
    #[serde(flatten)]
    members: Members,
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use stoat_correlation::{CorrelationId, sync_scope};

    use super::*;

    fn body(answer: Answer) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let bytes = runtime
            .block_on(answer.into_body().collect())
            .unwrap()
            .to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn carries_all_members() {
        let id = CorrelationId::parse("req-1").unwrap();
        let answer = sync_scope(id, || {
            Problem::new(INVALID_EVENT, "`topic` is odd")
                .field("topic")
                .index(3)
                .line(4)
                .into_answer()
        });
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(
            body(answer),
            json!({
                "type": "urn:stoat:problem:invalid-event",
                "title": "An event is not valid",
                "status": 422,
                "detail": "`topic` is odd",
                "correlation_id": "req-1",
                "field": "topic",
                "index": 3,
                "line": 4,
            })
        );
    }

    #[test]
    fn a_plain_one_is_about_blank() {
        let answer = Problem::new(DRAINING, "x").retry_after(2).into_answer();
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(
            body(Problem::new(NOT_FOUND, "no such route").into_answer()),
            json!({
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "no such route",
                "correlation_id": null,
            })
        );
    }
}
