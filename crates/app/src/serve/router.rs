//! From a request to its answer: which route it is for, and what every answer carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, UPGRADE,
};
use http::{HeaderMap, Method, Request, StatusCode, Version, request};
use hyper::body::Incoming;
use stoat_events::EventId;
use stoat_ws_hub::{CURSOR_HEADER, HandshakeError, RejectReason, Subscription};

use super::answer::{Answer, Outcome};
use super::app::App;
use super::auth::Access;
use super::body::RequestBody;
use super::connection::{HEAD_BYTES, refusal};
use super::describe::Description;
use super::metrics::method_label;
use super::problem::{INTERNAL, Kind, METHOD_NOT_ALLOWED, NOT_FOUND, Problem};
use super::web::Asset;
use super::{connections, delivery, history, log, publish, sse, trace, web};
use crate::access::Right;

/// Answers one request; within its correlation scope.
pub(super) async fn answer(app: &Arc<App>, request: Request<Incoming>, peer: SocketAddr) -> Answer {
    let started = Instant::now();
    // Taken before any data is read: subscribing from there repeats rather than misses.
    let newest = app.hub.log().bounds().newest();
    let on_demand = request.headers().contains_key(EXPECT);
    let (mut head, incoming) = request.into_parts();
    let client = app.proxies.client(peer, &head.headers);
    let mut body = RequestBody::new(incoming, on_demand, app.bodies.room(client.ip()));
    let (method, version) = (head.method.clone(), head.version);
    let found = Route::find(head.uri.path());
    let known = found.as_ref().map(Route::name);
    let mut span = trace::begin(app.tracer.as_ref(), &mut head, known, client.ip(), started);
    let (route, outcome) = match found {
        _ if is_too_large(&head) => ("other", Err(head_too_large())),
        Some(route) => (
            route.name(),
            serve(app, route, head, &mut body, client).await,
        ),
        None => (
            "other",
            Err(Problem::new(NOT_FOUND, "there is nothing at this path")),
        ),
    };
    body.leave();

    let mut answer = outcome.unwrap_or_else(Problem::into_answer);
    let status = answer.status();
    let headers = answer.headers_mut();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        headers.remove(CURSOR_HEADER);
    } else if !headers.contains_key(CURSOR_HEADER) {
        headers.extend(newest.and_then(cursor));
    }
    if status != StatusCode::SWITCHING_PROTOCOLS && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if version == Version::HTTP_2 {
        // These speak of the connection, which is not the request's alone.
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    span.answered(status);
    let took = started.elapsed();
    app.metrics.answered(&method, route, status, took);
    if let Some(trace) = span.trace_id() {
        app.metrics.traced(&method, route, took, trace);
    }
    tracing::debug!(
        %client,
        method = method_label(&method),
        route,
        status = status.as_u16(),
        duration_ms = took.as_secs_f64() * 1000.0,
        "answered"
    );
    answer
}

/// Whether a head of HTTP/2 is over the bound; one of HTTP/1 does not get here.
fn is_too_large(head: &request::Parts) -> bool {
    if head.version != Version::HTTP_2 {
        return false;
    }
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let fields = head.headers.iter();
    let bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    target + bytes > HEAD_BYTES || head.headers.len() > 100
}

fn head_too_large() -> Problem {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    refusal::malformed(status.as_u16())
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    WebSocket,
    Sse,
    Events,
    /// With the ID as it stands in the path.
    Delivery(String),
    Connections,
    /// With the ID as it stands in the path.
    Connection(String),
    Live,
    Ready,
    Metrics,
    Asset(&'static Asset),
    Described(Description),
}

impl Route {
    /// Every route but the files of [`web`].
    pub(super) const ALL: &[Self] = &[
        Self::WebSocket,
        Self::Sse,
        Self::Events,
        Self::Delivery(String::new()),
        Self::Connections,
        Self::Connection(String::new()),
        Self::Live,
        Self::Ready,
        Self::Metrics,
        Self::Described(Description::AsyncApi),
        Self::Described(Description::OpenApi),
        Self::Described(Description::Event),
        Self::Described(Description::TypeScript),
    ];

    /// Every route, as descriptions tell of it.
    pub(super) fn described() -> Vec<Self> {
        let files = web::all().iter().map(Self::Asset);
        Self::ALL.iter().cloned().chain(files).collect()
    }

    /// Paths are compared exactly: case, slashes and escapes count.
    fn find(path: &str) -> Option<Self> {
        let named = Self::ALL.iter().find(|route| route.name() == path);
        if let Some(route) = named
            && !matches!(route, Self::Connection(_) | Self::Delivery(_))
        {
            return Some(route.clone());
        }
        if let Some(asset) = web::find(path) {
            return Some(Self::Asset(asset));
        }
        let is_id = |id: &&str| !id.is_empty() && !id.contains('/');
        if let Some(rest) = path.strip_prefix("/api/v1/events/") {
            let id = rest.strip_suffix("/delivery").filter(is_id)?;
            return Some(Self::Delivery(id.to_owned()));
        }
        let id = path.strip_prefix("/api/v1/connections/").filter(is_id)?;
        Some(Self::Connection(id.to_owned()))
    }

    /// The name in metrics, log lines and descriptions.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::WebSocket => "/ws",
            Self::Sse => "/sse",
            Self::Events => "/api/v1/events",
            Self::Delivery(_) => "/api/v1/events/{id}/delivery",
            Self::Connections => "/api/v1/connections",
            Self::Connection(_) => "/api/v1/connections/{id}",
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::Metrics => "/metrics",
            Self::Asset(asset) => asset.path,
            Self::Described(Description::AsyncApi) => "/asyncapi.json",
            Self::Described(Description::OpenApi) => "/openapi.json",
            Self::Described(Description::Event) => "/schemas/event.json",
            Self::Described(Description::TypeScript) => "/schemas/event.ts",
        }
    }

    /// The right that a request needs where there are tokens.
    pub(super) fn needs(&self, method: &Method) -> Option<Right> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Self::WebSocket | Self::Sse => Some(Right::Subscribe),
            Self::Events if *method == Method::POST => Some(Right::Publish),
            Self::Events => reads.then_some(Right::Subscribe),
            Self::Delivery(_) | Self::Connections | Self::Connection(_) | Self::Metrics => {
                Some(Right::Admin)
            }
            Self::Live | Self::Ready | Self::Asset(_) | Self::Described(_) => None,
        }
    }

    /// The methods, as `Allow` names them.
    pub(super) fn allowed(&self) -> &'static str {
        match self {
            Self::WebSocket | Self::Sse => "GET",
            Self::Events => "GET, HEAD, POST",
            Self::Connection(_) => "DELETE",
            Self::Delivery(_)
            | Self::Connections
            | Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::Asset(_)
            | Self::Described(_) => "GET, HEAD",
        }
    }
}

async fn serve(
    app: &Arc<App>,
    route: Route,
    head: request::Parts,
    body: &mut RequestBody,
    client: SocketAddr,
) -> Outcome {
    // The hub judges and counts those that are for it.
    if !matches!(route, Route::WebSocket | Route::Sse) {
        check_host(&head)?;
    }
    let access = match route.needs(&head.method) {
        Some(right) => app.auth.admit(&head, right),
        None => Ok(Access::open()),
    };
    if let (Route::WebSocket | Route::Sse, Err(refused)) = (&route, &access) {
        app.hub.count_rejected(match refused.status() {
            StatusCode::FORBIDDEN => RejectReason::Forbidden,
            _ => RejectReason::Unauthorized,
        });
    }
    let access = access?;
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    match route {
        // The hub judges the method too.
        Route::WebSocket => upgrade(app, head, client, &access).await,
        Route::Sse if head.method == Method::GET => sse::open(app, head, client, &access).await,
        Route::Events if head.method == Method::POST => {
            let published = publish::publish(app, &head, body, &access, client).await?;
            Ok(with_cursor_now(app, published))
        }
        Route::Events if reads => {
            let room = app
                .answers
                .reserve(client.ip(), history::MOST_BYTES)
                .await?;
            Ok(room.hold(events(app, &head, &access).await?).await)
        }
        Route::Delivery(id) if reads => delivery::report(&app.hub, &id).await,
        Route::Connections if reads => {
            let most = app.hub.active_connections() * connections::MOST_BYTES_EACH;
            let room = app.answers.reserve(client.ip(), most).await?;
            Ok(room.hold(connections::list(&app.hub).await?).await)
        }
        Route::Connection(id) if head.method == Method::DELETE => connections::close(&app.hub, &id),
        Route::Live if reads => app.health.live(),
        Route::Ready if reads => app.health.ready(),
        Route::Metrics if reads => metrics(app, head.headers).await,
        Route::Asset(asset) if reads => Ok(asset.to_answer(&head.headers)),
        Route::Described(wanted) if reads => Ok(app.descriptions.to_answer(wanted)),
        route => Err(Problem::new(
            METHOD_NOT_ALLOWED,
            format!("allowed here: {}", route.allowed()),
        )
        .header(ALLOW, HeaderValue::from_static(route.allowed()))),
    }
}

/// With two `Host` headers others may take the request for another host than we do (RFC 9112
/// section 3.2). HTTP/1.0 knows none.
fn check_host(head: &request::Parts) -> Result<(), Problem> {
    match head.headers.get_all(HOST).iter().count() {
        1 => Ok(()),
        0 if head.version != Version::HTTP_11 => Ok(()),
        _ => Err(Problem::new(
            Kind::plain(StatusCode::BAD_REQUEST),
            "exactly one `Host` is needed",
        )),
    }
}

async fn upgrade(app: &App, head: request::Parts, client: SocketAddr, access: &Access) -> Outcome {
    prepare(app, &head).await?;
    let mut request = Request::from_parts(head, ());
    match app
        .hub
        .accept_with(&mut request, client, access.admission())
    {
        Ok(response) => Ok(response.map(|()| Default::default())),
        Err(refused) => Err(not_admitted(&refused)),
    }
}

/// Why the hub did not let a client in.
pub(super) fn not_admitted(refused: &HandshakeError) -> Problem {
    let problem = Problem::new(Kind::plain(refused.status()), refused.to_string())
        .reason(refused.reason().as_str());
    match refused.header() {
        // It is for the next hop only, and has to say so (RFC 9110 section 7.8).
        Some((UPGRADE, value)) => problem
            .header(UPGRADE, value)
            .header(CONNECTION, HeaderValue::from_static("upgrade")),
        Some((name, value)) => problem.header(name, value),
        None => problem,
    }
}

/// Waits until the log can tell where a reader begins. What cannot be parsed the hub refuses.
pub(super) async fn prepare(app: &App, head: &request::Parts) -> Result<(), Problem> {
    match Subscription::from_request(&head.uri, &head.headers) {
        Ok(subscription) => log::prepare(app, &subscription.resume).await,
        Err(_) => Ok(()),
    }
}

async fn events(app: &App, head: &request::Parts, access: &Access) -> Outcome {
    let query = history::Query::from_uri(&head.uri)?.within(&access.scope);
    log::prepare(app, query.resume()).await?;
    let page = history::page(&**app.hub.log(), &query).await;
    let page = page.map_err(log::not_ready)?;
    let mut answer = page.to_answer(query.format());
    answer.headers_mut().extend(page.cursor().and_then(cursor));
    Ok(answer)
}

/// `X-Stoat-Cursor` with this event.
fn cursor(event: EventId) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(event.to_string()).ok()?;
    Some((CURSOR_HEADER, value))
}

async fn metrics(app: &Arc<App>, headers: HeaderMap) -> Outcome {
    let app = Arc::clone(app);
    stoat_correlation::spawn_blocking(move || app.metrics.to_answer(&headers))
        .await
        .unwrap_or_else(|_| Err(Problem::new(INTERNAL, "the metrics could not be gathered")))
}

/// Sets the cursor to where the log is now, which covers what was just published.
fn with_cursor_now(app: &App, mut answer: Answer) -> Answer {
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.extend(app.cursor());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        for (path, name) in [
            ("/ws", Some("/ws")),
            ("/ws/", None),
            ("/WS", None),
            ("//ws", None),
            ("/%77s", None),
            ("", None),
            ("*", None),
            ("/api/v1/connections/", None),
            ("/api/v1/connections/7", Some("/api/v1/connections/{id}")),
            ("/api/v1/connections/x%2F", Some("/api/v1/connections/{id}")),
            ("/api/v1/connections/7/8", None),
            ("/api/v1/connections/{id}", Some("/api/v1/connections/{id}")),
            ("/api/v1/events", Some("/api/v1/events")),
            ("/api/v1/events/7", None),
            ("/api/v1/events//delivery", None),
            ("/api/v1/events/7/8/delivery", None),
            (
                "/api/v1/events/7/delivery",
                Some("/api/v1/events/{id}/delivery"),
            ),
            ("/api/v1/events/7/delivery/", None),
            ("/schemas/event.json", Some("/schemas/event.json")),
        ] {
            assert_eq!(Route::find(path).map(|route| route.name()), name, "{path}");
        }
    }
}
