//! The tower layer and the hyper service: the same requests, the same answers.
#![cfg(any(feature = "tower", feature = "hyper"))]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

use std::error::Error;
use std::fmt;

use http::{HeaderValue, Request, Response, StatusCode};
use stoat_correlation::{
    CORRELATION_HEADER, Context, CorrelationId, TRACEPARENT_HEADER, current, current_context,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What the inner service saw, as its response body.
#[derive(Debug)]
struct Seen {
    in_call: Option<CorrelationId>,
    in_future: Option<Context>,
    extension: Option<Context>,
    id_extension: Option<CorrelationId>,
    headers: Vec<HeaderValue>,
}

#[derive(Debug, PartialEq)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl Error for Broken {}

/// The inner service; the path says what it does.
fn inner(request: Request<()>) -> impl Future<Output = Result<Response<Seen>, Broken>> {
    let in_call = current();
    async move {
        tokio::task::yield_now().await;
        let seen = Seen {
            in_call,
            in_future: current_context(),
            extension: request.extensions().get().cloned(),
            id_extension: request.extensions().get().cloned(),
            headers: request
                .headers()
                .get_all(CORRELATION_HEADER)
                .iter()
                .cloned()
                .collect(),
        };
        let response = Response::builder();
        let response = match request.uri().path() {
            "/broken" => return Err(Broken),
            "/own" => response
                .header(CORRELATION_HEADER, "its-own")
                .header(CORRELATION_HEADER, "and-another"),
            "/switch" => response.status(StatusCode::SWITCHING_PROTOCOLS),
            "/500" => response.status(StatusCode::INTERNAL_SERVER_ERROR),
            _ => response,
        };
        Ok(response.body(seen).unwrap())
    }
}

/// `inner` for hyper, whose `service_fn` wants bodies that this test has no use for.
#[cfg(feature = "hyper")]
struct HyperInner;

#[cfg(feature = "hyper")]
impl hyper::service::Service<Request<()>> for HyperInner {
    type Response = Response<Seen>;
    type Error = Broken;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Seen>, Broken>>>>;

    fn call(&self, request: Request<()>) -> Self::Future {
        Box::pin(inner(request))
    }
}

/// Serves the request with every service that is compiled in.
async fn answers(request: Request<()>) -> Vec<Result<Response<Seen>, Broken>> {
    let mut answers = Vec::new();
    #[cfg(feature = "tower")]
    {
        use tower::ServiceExt;
        let service = tower::ServiceBuilder::new()
            .layer(stoat_correlation::CorrelationLayer::new())
            .service_fn(inner);
        answers.push(service.oneshot(request.clone()).await);
    }
    #[cfg(feature = "hyper")]
    {
        use hyper::service::Service;
        let service = stoat_correlation::CorrelationService::new(HyperInner);
        answers.push(service.call(request.clone()).await);
    }
    assert_eq!(current(), None);
    answers
}

/// Serves the request and returns its ID, which must be the same wherever it shows.
async fn ids(request: Request<()>) -> Vec<String> {
    let mut ids = Vec::new();
    for answer in answers(request).await {
        let response = answer.unwrap();
        let values: Vec<_> = response
            .headers()
            .get_all(CORRELATION_HEADER)
            .iter()
            .collect();
        let [value] = values[..] else {
            panic!("{values:?}")
        };
        let id = value.to_str().unwrap().to_owned();
        let seen = response.body();
        let context = seen.in_future.as_ref().unwrap();
        assert_eq!(context.id().as_str(), id);
        assert_eq!(seen.extension.as_ref(), Some(context));
        assert_eq!(seen.id_extension.as_ref(), Some(context.id()));
        assert_eq!(seen.in_call.as_ref(), Some(context.id()));
        ids.push(id);
    }
    ids
}

fn request(path: &str, values: &[&[u8]]) -> Request<()> {
    let mut request = Request::get(path).body(()).unwrap();
    for value in values {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append(CORRELATION_HEADER, value);
    }
    request
}

fn assert_fresh(id: &str) {
    let uuid = uuid::Uuid::parse_str(id).unwrap();
    assert_eq!((uuid.get_version_num(), uuid.to_string().as_str()), (4, id));
}

#[tokio::test]
async fn a_valid_id_is_kept() {
    for value in ["r1", "!", &"~".repeat(128)] {
        for id in ids(request("/", &[value.as_bytes()])).await {
            assert_eq!(id, value);
        }
    }
}

#[tokio::test]
async fn an_invalid_id_is_replaced() {
    // A header value cannot hold control characters other than a tab.
    assert!(HeaderValue::from_bytes(b"a\x1bb").is_err());
    let long = [b'x'; 129];
    let invalid: [&[&[u8]]; 8] = [
        &[b""],
        &[b"a b"],
        &[b" a"],
        &[b"a\tb"],
        &[b"\xff\xfe"],
        &["\u{9b}2J".as_bytes()],
        &[&long],
        &[b"r1", b"r1"],
    ];
    for values in invalid {
        for id in ids(request("/", values)).await {
            assert_fresh(&id);
        }
    }
}

#[tokio::test]
async fn no_header_gives_a_fresh_one_for_each_request() {
    let first = ids(request("/", &[])).await;
    let second = ids(request("/", &[])).await;
    for (first, second) in first.iter().zip(&second) {
        assert_fresh(first);
        assert_fresh(second);
        assert_ne!(first, second);
    }
}

#[tokio::test]
async fn a_traceparent_gives_the_id_and_is_kept() {
    for (values, expected) in [
        (&[][..], TRACE_ID),
        (&[&b"a b"[..]], TRACE_ID),
        (&[b"r1"], "r1"),
    ] {
        let mut request = request("/", values);
        request
            .headers_mut()
            .insert(TRACEPARENT_HEADER, PARENT.parse().unwrap());
        for answer in answers(request).await {
            let context = answer.unwrap().into_body().in_future.unwrap();
            assert_eq!(context.id().as_str(), expected);
            assert_eq!(context.traceparent().unwrap().to_string(), PARENT);
        }
    }
}

#[tokio::test]
async fn the_response_has_the_id_whatever_its_status() {
    for path in ["/", "/switch", "/500", "/own"] {
        for id in ids(request(path, &[b"r1"])).await {
            assert_eq!(id, "r1", "{path}");
        }
    }
}

#[tokio::test]
async fn an_error_of_the_inner_service_passes_through() {
    for answer in answers(request("/broken", &[b"r1"])).await {
        assert_eq!(answer.unwrap_err(), Broken);
    }
}

#[tokio::test]
async fn the_request_keeps_its_own_headers() {
    for answer in answers(request("/", &[b"a b"])).await {
        assert_eq!(answer.unwrap().into_body().headers, ["a b"]);
    }
}

#[tokio::test]
async fn a_context_set_further_out_wins() {
    let mut request = request("/", &[b"r1"]);
    let context = Context::from(CorrelationId::parse("outer").unwrap());
    request.extensions_mut().insert(context);
    for id in ids(request).await {
        assert_eq!(id, "outer");
    }
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    use stoat_correlation::Correlation;
    use tower::{Service, ServiceExt};

    /// Panics when called without having been polled ready; a clone is not ready.
    struct Permit(bool);
    impl Clone for Permit {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<Request<()>> for Permit {
        type Response = Response<()>;
        type Error = Broken;
        type Future = Ready<Result<Response<()>, Broken>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called before it was ready");
            ready(Ok(Response::new(())))
        }
    }

    let mut service = Correlation::new(Permit(false));
    for _ in 0..2 {
        let response = service
            .ready()
            .await
            .unwrap()
            .call(request("/", &[]))
            .await
            .unwrap();
        assert!(response.headers().contains_key(CORRELATION_HEADER));
    }
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn a_failure_to_become_ready_passes_through() {
    use std::future::Ready;
    use std::task::{Context, Poll};

    use stoat_correlation::Correlation;
    use tower::{Service, ServiceExt};

    struct NeverReady;
    impl Service<Request<()>> for NeverReady {
        type Response = Response<()>;
        type Error = Broken;
        type Future = Ready<Result<Response<()>, Broken>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
            Poll::Ready(Err(Broken))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!()
        }
    }

    let mut service = Correlation::new(NeverReady);
    assert_eq!(service.ready().await.err(), Some(Broken));
}
