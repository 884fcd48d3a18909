//! The correlation layer for tower, and so for axum.

use std::task::{Context as TaskContext, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::response::{ResponseFuture, serve};

/// A layer that serves every request in the scope of its correlation ID.
///
/// Put it outermost, so that what the other layers answer and log has the ID too.
/// [`Correlation`] says what it does.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CorrelationLayer;

impl CorrelationLayer {
    /// Makes the layer.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for CorrelationLayer {
    type Service = Correlation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Correlation::new(inner)
    }
}

/// A service that serves every request in the scope of its correlation ID.
///
/// For each request it
///
/// - takes the [`Context`](crate::Context) that is already among the request's
///   extensions (of such a service further out), else finds it with
///   [`context_from_headers`](crate::context_from_headers);
/// - puts it and its [`CorrelationId`](crate::CorrelationId) into the extensions;
/// - calls the inner service in the scope of that context and in a span `request`
///   with the fields `correlation_id`, `method` and `path`. Its level is `ERROR`, so
///   that no filter by level takes the ID from a log line. The path is shown in at
///   most 256 bytes of visible ASCII, without the query, since that may carry a
///   secret. A field `trace_id` is left empty, for who records traces
///   (`Span::current().record`);
/// - sets `X-Correlation-ID` on the response, whatever its status, in place of what
///   the inner service set.
///
/// The request's own headers stay as they came. An error of the inner service
/// passes through unchanged.
#[derive(Clone, Debug)]
pub struct Correlation<S> {
    inner: S,
}

impl<S> Correlation<S> {
    /// Wraps `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Correlation<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    // The very service that was polled ready is called: no clone, no box.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        serve(request, |request| self.inner.call(request))
    }
}
