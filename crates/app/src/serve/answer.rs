//! Answers: the one type of response, and how JSON becomes one.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::problem::{INTERNAL, Problem};

/// A whole response.
pub(super) type Answer = Response<Full<Bytes>>;

/// What a route gives.
pub(super) type Outcome = Result<Answer, Problem>;

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// An answer with a body of this type.
pub(super) fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Answer::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer with this value as JSON.
pub(super) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Outcome {
    match serde_json::to_vec(value) {
        Ok(body) => Ok(text(status, "application/json", body)),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Err(Problem::new(INTERNAL, "the answer could not be written"))
        }
    }
}
