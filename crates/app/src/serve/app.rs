//! What all requests share: the hub, the counters, the limits, and the gates that a drain waits at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use stoat_ws_hub::{ConnectionManager, HubConfig};

use super::auth::Auth;
use super::budget::Budget;
use super::crowd::Crowd;
use super::describe::Descriptions;
use super::gate::Gate;
use super::health::Health;
use super::log::{Engine, Log};
use super::metrics::Metrics;
use super::proxies::Proxies;
use super::rate::Rate;
use super::schemas::Schemas;
use super::tls::Tls;
use super::trace::Tracer;
use crate::settings::Settings;

/// The most memory of all answers of more than 16 KiB that are not taken yet.
const ANSWER_BYTES: usize = 64 << 20;
/// The most memory of all bodies of more than 16 KiB, or twice `max_body` where that is more.
const BODY_BYTES: usize = 64 << 20;

/// The state of one server.
#[derive(Debug)]
pub(super) struct App {
    pub(super) hub: ConnectionManager,
    pub(super) metrics: Metrics,
    /// Nothing where no spans are exported.
    pub(super) tracer: Option<Tracer>,
    pub(super) health: Health,
    pub(super) engine: Engine,
    pub(super) limits: Limits,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) crowd: Arc<Crowd>,
    /// For answers that wait to be taken.
    pub(super) answers: Budget,
    /// For bodies of requests that are read or worked on.
    pub(super) bodies: Budget,
    pub(super) auth: Auth,
    pub(super) descriptions: Descriptions,
    /// What payloads must be like.
    pub(super) schemas: Schemas,
    pub(super) proxies: Proxies,
    /// On publishing; nothing where there is none.
    pub(super) rate: Option<Rate>,
    /// Publishes from their head to their answer.
    pub(super) publishes: Gate,
    /// Requests of any kind; over HTTP/1 until their answers are sent.
    pub(super) requests: Gate,
    /// HTTP connections; one that was upgraded has left.
    pub(super) connections: Gate,
}

/// Bounds on requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    /// For the head of a request, from when the answer to the one before it was taken.
    pub(super) head_timeout: Duration,
    /// For a client to take an answer.
    pub(super) answer_timeout: Duration,
    /// What is handed over of a stream of events at a time.
    pub(super) piece_bytes: usize,
    /// For pings of HTTP/2, and comments in a stream of events.
    pub(super) ping_interval: Duration,
    pub(super) pong_timeout: Duration,
}

impl App {
    /// # Errors
    /// A mistake in the table of metrics.
    pub(super) fn new(
        settings: &Settings,
        log: Log,
        tls: Option<Arc<Tls>>,
        schemas: Schemas,
    ) -> Result<Self, prometheus::Error> {
        let Log { log, engine } = log;
        let hub = ConnectionManager::new(log, hub_config(settings));
        let (metrics, health) = (Metrics::new(&hub)?, Health::new(engine.clone()));
        if let Engine::Nats(log) = &engine {
            metrics.add_broker(Arc::clone(log))?;
        }
        Ok(Self {
            tracer: Tracer::start(settings, metrics.spans(), metrics.deliveries(), &hub),
            metrics,
            health,
            engine,
            limits: Limits {
                max_body: settings.max_body,
                body_timeout: settings.body_timeout,
                head_timeout: settings.handshake_timeout,
                answer_timeout: settings.ws_write_timeout,
                piece_bytes: settings.max_client_buffer / 2,
                ping_interval: settings.ws_ping_interval,
                pong_timeout: settings.ws_pong_timeout,
            },
            tls,
            crowd: Arc::new(Crowd::new(
                settings.max_connections,
                settings.max_connections_per_ip,
            )),
            answers: Budget::new(ANSWER_BYTES),
            bodies: Budget::new(BODY_BYTES.max(settings.max_body * 2)),
            auth: Auth::new(settings),
            descriptions: Descriptions::new(settings, &schemas),
            schemas,
            proxies: Proxies::new(&settings.trusted_proxies),
            rate: settings
                .publish_rate
                .map(|per_second| Rate::new(per_second, Instant::now())),
            publishes: Gate::new(),
            requests: Gate::new(),
            connections: Gate::new(),
            hub,
        })
    }

    /// `X-Stoat-Cursor` with the newest event now; nothing while the log is empty.
    pub(super) fn cursor(&self) -> Option<(HeaderName, HeaderValue)> {
        self.hub.cursor_header()
    }
}

fn hub_config(settings: &Settings) -> HubConfig {
    let mut config = HubConfig::default();
    config.heartbeat_interval = settings.ws_heartbeat_interval;
    config.ping_interval = settings.ws_ping_interval;
    config.pong_timeout = settings.ws_pong_timeout;
    config.write_timeout = settings.ws_write_timeout;
    config.handshake_timeout = settings.handshake_timeout;
    config.max_client_buffer = settings.max_client_buffer;
    config.max_client_message = settings.max_client_message;
    config.max_connections = settings.max_connections;
    config.max_connections_per_ip = settings.max_connections_per_ip;
    config.delivery_reports = settings.delivery_reports;
    config.allowed_origins = settings
        .allowed_origins
        .iter()
        .map(|origin| origin.as_str().to_owned())
        .collect();
    config
}
