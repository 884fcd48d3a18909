//! What all requests share: the hub, the counters, the limits, and the gates that a drain waits at.

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use stoat_log_disk::Condition;
use stoat_ws_hub::{ConnectionManager, HubConfig};
use tokio::sync::watch;

use super::auth::Auth;
use super::gate::Gate;
use super::health::Health;
use super::log::{self, Log};
use super::metrics::Metrics;
use super::proxies::Proxies;
use super::rate::Rate;
use crate::settings::Settings;

/// The state of one server.
#[derive(Debug)]
pub(super) struct App {
    pub(super) hub: ConnectionManager,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    /// How the log on disk is doing; nothing for one in memory.
    pub(super) log_condition: Option<watch::Receiver<Condition>>,
    pub(super) limits: Limits,
    pub(super) auth: Auth,
    pub(super) proxies: Proxies,
    /// On publishing; nothing where there is none.
    pub(super) rate: Option<Rate>,
    /// Publishes from their head to their answer.
    pub(super) publishes: Gate,
    /// Requests of any kind.
    pub(super) requests: Gate,
    /// HTTP connections; one that was upgraded has left.
    pub(super) connections: Gate,
}

/// Bounds on requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    /// For the head of a request, from the end of the one before it.
    pub(super) head_timeout: Duration,
    /// For a client to take an answer.
    pub(super) answer_timeout: Duration,
}

impl App {
    /// # Errors
    /// A mistake in the table of metrics.
    pub(super) fn new(settings: &Settings, log: Log) -> Result<Self, prometheus::Error> {
        let hub = ConnectionManager::new(log.log, hub_config(settings));
        Ok(Self {
            metrics: Metrics::new(&hub)?,
            health: Health::new(&[log::PART]),
            log_condition: log.condition,
            limits: Limits {
                max_body: settings.max_body,
                body_timeout: settings.body_timeout,
                head_timeout: settings.handshake_timeout,
                // hyper ends an idle connection after `head_timeout`, which has to come first.
                answer_timeout: settings.ws_write_timeout
                    + settings.handshake_timeout
                    + Duration::from_secs(1),
            },
            auth: Auth::new(settings),
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
    config.allowed_origins = settings
        .allowed_origins
        .iter()
        .map(|origin| origin.as_str().to_owned())
        .collect();
    config
}
