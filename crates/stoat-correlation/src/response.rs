//! One request from its headers to its response: what the tower and the hyper service share.

use std::fmt::{self, Write};
use std::pin::Pin;
use std::task::{self, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tracing::instrument::{Instrument, Instrumented};
use tracing::{Span, error_span};

use crate::{
    Context, CorrelationId, Scope, context_from_headers, insert_header, scope, sync_scope,
};

pin_project! {
    /// The future of a request served in its scope and span; it sets
    /// `X-Correlation-ID` on the response.
    ///
    /// An error of the inner service passes through unchanged. The scope ends with
    /// this future: a response body that is still being written, and a connection
    /// that was upgraded, are outside of it.
    ///
    /// # Cancel safety
    ///
    /// As safe to cancel as the inner future is.
    #[must_use = "futures do nothing unless polled or awaited"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Instrumented<Scope<F>>,
        id: CorrelationId,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        Poll::Ready(result.map(|mut response| {
            insert_header(this.id, response.headers_mut());
            response
        }))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Finds the context of `request`, puts it into the extensions, and calls the
/// inner service in its scope and span: the call itself as well as its future.
pub(crate) fn serve<B, F: Future>(
    mut request: Request<B>,
    call: impl FnOnce(Request<B>) -> F,
) -> ResponseFuture<F> {
    // One request has one ID, also where two of these services are stacked.
    let context = match request.extensions().get::<Context>() {
        Some(context) => context.clone(),
        None => context_from_headers(request.headers()),
    };
    let id = context.id().clone();
    request.extensions_mut().insert(context.clone());
    request.extensions_mut().insert(id.clone());

    let span = span_of(&id, &request);
    let future = span.in_scope(|| sync_scope(context.clone(), || call(request)));
    ResponseFuture {
        inner: scope(context, future).instrument(span),
        id,
    }
}

/// The level is no statement about the request: a span of a lower one would be
/// filtered out at `warn`, and with it the ID from the warnings of the request.
fn span_of<B>(id: &CorrelationId, request: &Request<B>) -> Span {
    error_span!(
        "request",
        correlation_id = %id,
        method = %Short { text: request.method().as_str(), limit: METHOD_LIMIT },
        path = %Short { text: request.uri().path(), limit: PATH_LIMIT },
        trace_id = tracing::field::Empty,
    )
}

const METHOD_LIMIT: usize = 32;
const PATH_LIMIT: usize = 256;

/// Shows text of a client in at most `limit` bytes, all of them visible ASCII:
/// other bytes are percent-encoded, and a `...` ends what was cut.
struct Short<'a> {
    text: &'a str,
    limit: usize,
}

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole: usize = self.text.bytes().map(width).sum();
        if whole == self.text.len() && whole <= self.limit {
            return f.write_str(self.text);
        }
        if whole <= self.limit {
            return self.text.bytes().try_for_each(|byte| show(f, byte));
        }
        let mut room = self.limit - CUT.len();
        for byte in self.text.bytes() {
            let Some(left) = room.checked_sub(width(byte)) else {
                break;
            };
            room = left;
            show(f, byte)?;
        }
        f.write_str(CUT)
    }
}

const CUT: &str = "...";

fn width(byte: u8) -> usize {
    if byte.is_ascii_graphic() { 1 } else { 3 }
}

fn show(f: &mut fmt::Formatter<'_>, byte: u8) -> fmt::Result {
    if byte.is_ascii_graphic() {
        f.write_char(char::from(byte))
    } else {
        write!(f, "%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short(text: &str, limit: usize) -> String {
        Short { text, limit }.to_string()
    }

    #[test]
    fn cuts_only_what_is_too_long() {
        assert_eq!(short("/a/b", 256), "/a/b");
        assert_eq!(short(&"x".repeat(256), 256), "x".repeat(256));
        assert_eq!(
            short(&"x".repeat(257), 256),
            format!("{}...", "x".repeat(253))
        );
    }

    #[test]
    fn percent_encodes_what_is_not_visible_ascii() {
        assert_eq!(short("/\u{9b}2J é", 256), "/%C2%9B2J%20%C3%A9");
        assert_eq!(short("/éé", 9), "/%C3...");
    }

    proptest! {
        #[test]
        fn is_bounded_and_visible(text in any::<String>(), limit in 3_usize..64) {
            let shown = short(&text, limit);
            prop_assert!(shown.len() <= limit);
            prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
