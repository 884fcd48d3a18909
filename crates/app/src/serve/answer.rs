//! Answers: the one type of response, and how JSON becomes one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::problem::{INTERNAL, Problem};
use super::sse::EventStream;

/// A response.
pub(super) type Answer = Response<AnswerBody>;

/// Bytes of JSON that are made room for at once; what became of one event fits.
const USUAL: usize = 192;

/// What a response carries.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Whole(Full<Bytes>),
    /// Events, for as long as the client stays.
    Events(Box<EventStream>),
}

impl AnswerBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl Default for AnswerBody {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Events(stream) => stream
                .poll_piece(cx)
                .map(|piece| piece.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

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
    let mut answer = Answer::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer with this value as JSON.
pub(super) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Outcome {
    let mut body = Vec::with_capacity(USUAL);
    match serde_json::to_writer(&mut body, value) {
        Ok(()) => Ok(text(status, "application/json", body)),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Err(Problem::new(INTERNAL, "the answer could not be written"))
        }
    }
}
