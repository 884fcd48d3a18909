//! The correlation service for plain hyper.

use http::{Request, Response};
use hyper::service::Service;

use crate::response::{ResponseFuture, serve};

/// A hyper service that serves every request in the scope of its correlation ID.
///
/// For each request it
///
/// - takes the [`Context`](crate::Context) that is already among the request's
///   extensions, else finds it with
///   [`context_from_headers`](crate::context_from_headers);
/// - puts it and its [`CorrelationId`](crate::CorrelationId) into the extensions;
/// - calls the inner service in the scope of that context and in a span `request`
///   with the fields `correlation_id`, `method` and `path`. Its level is `ERROR`, so
///   that no filter by level takes the ID from a log line. The path is shown in at
///   most 256 bytes of visible ASCII, without the query, since that may carry a
///   secret. A field `trace_id` is left empty, for who records traces
///   (`Span::current().record`);
/// - sets `X-Correlation-ID` on the response, whatever its status (the 101 of an
///   upgrade too), in place of what the inner service set.
///
/// The request's own headers stay as they came. An error of the inner service
/// passes through unchanged.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use hyper::body::Incoming;
/// use hyper::server::conn::http1;
/// use hyper::service::service_fn;
/// use hyper_util::rt::TokioIo;
/// use stoat_correlation::{CorrelationService, current};
///
/// async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
///     let id = current().map(|id| id.to_string());
///     Ok(Response::new(id.unwrap_or_default()))
/// }
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// let (stream, _) = listener.accept().await?;
/// let service = CorrelationService::new(service_fn(hello));
/// http1::Builder::new()
///     .serve_connection(TokioIo::new(stream), service)
///     .with_upgrades()
///     .await
///     .unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CorrelationService<S> {
    inner: S,
}

impl<S> CorrelationService<S> {
    /// Wraps `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for CorrelationService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        serve(request, |request| self.inner.call(request))
    }
}
