//! Checks of settings against each other.

use std::net::SocketAddr;

use super::layers::{Layers, Source};
use super::table::table;
use super::units::{format_duration, format_size};
use super::{Settings, SettingsError};
use crate::access::Jwt;

/// Refuses settings that leave the server open by mistake, and lists those that hardly go together.
///
/// The latter are no errors: each of the two may be set alone, and the other be a default.
pub(super) fn check(settings: &Settings, layers: &Layers) -> Result<Vec<String>, SettingsError> {
    if settings.is_open_by_mistake(settings.listen) {
        let message = format!(
            "listen = {} ({}) is an address that others can reach, and no token is configured: set tokens or jwt, \
             listen on 127.0.0.1, or allow everyone with --allow-anonymous (STOAT_ALLOW_ANONYMOUS=true, allow_anonymous = true)",
            settings.listen,
            layers.source("listen"),
        );
        return Err(SettingsError::conflict("listen", message));
    }
    for (set, unset, key) in [
        (&settings.tls_cert, &settings.tls_key, "tls_key"),
        (&settings.tls_key, &settings.tls_cert, "tls_cert"),
        (
            &settings.nats_tls_cert,
            &settings.nats_tls_key,
            "nats_tls_key",
        ),
        (
            &settings.nats_tls_key,
            &settings.nats_tls_cert,
            "nats_tls_cert",
        ),
    ] {
        if set.is_some() && unset.is_none() {
            let prefix = key.trim_end_matches("cert").trim_end_matches("key");
            let message = format!("{key} is needed too: {prefix}cert and {prefix}key go together");
            return Err(SettingsError::conflict(key, message));
        }
    }
    if settings.log_dir.is_some() && settings.nats_url.is_some() {
        let (dir, nats) = (layers.source("log_dir"), layers.source("nats_url"));
        let message = format!(
            "nats_url ({nats}) and log_dir ({dir}) exclude each other: the log is on JetStream or on disk"
        );
        return Err(SettingsError::conflict("nats_url", message));
    }
    let mut warnings = Vec::new();
    if settings.jwt.as_ref().is_some_and(Jwt::has_weak_secret) {
        let source = layers.source("jwt");
        warnings.push(format!(
            "jwt ({source}): a secret for HS256 should have 32 bytes or more, from a random source: \
             who has one token can try shorter ones out"
        ));
    }
    if settings.ws_pong_timeout <= settings.ws_ping_interval {
        warnings.push(oddity(
            layers,
            ("ws_pong_timeout", format_duration(settings.ws_pong_timeout)),
            "should be more than",
            (
                "ws_ping_interval",
                format_duration(settings.ws_ping_interval),
            ),
            "idle clients are dropped before a ping can show that they are alive",
        ));
    }
    for key in ["log_max_events", "log_max_bytes", "log_ttl_seconds"] {
        let source = layers.source(key);
        if settings.log_dir.is_none() && source != Source::Default {
            let instead = match settings.nats_url {
                Some(_) => "the stream is bounded by nats_…",
                None => "the log in memory is bounded by ws_replay_…",
            };
            warnings.push(format!(
                "{key} ({source}) has no effect without log_dir: {instead}"
            ));
        }
    }
    for key in table().iter().map(|definition| definition.key) {
        let source = layers.source(key);
        let is_of_it = key.starts_with("nats_") && key != "nats_url";
        if is_of_it && settings.nats_url.is_none() && source != Source::Default {
            warnings.push(format!("{key} ({source}) has no effect without nats_url"));
        }
    }
    let ratio = layers.source("otlp_sample_ratio");
    if settings.otlp_endpoint.is_none() && ratio != Source::Default {
        warnings.push(format!(
            "otlp_sample_ratio ({ratio}) has no effect without otlp_endpoint"
        ));
    }
    if settings.max_event > settings.max_body {
        warnings.push(oddity(
            layers,
            ("max_event", format_size(settings.max_event as u64)),
            "should not be more than",
            ("max_body", format_size(settings.max_body as u64)),
            "larger events than that cannot be published over HTTP",
        ));
    }
    Ok(warnings)
}

impl Settings {
    /// Whether others could reach a server on this address and would be asked for nothing, without
    /// that being allowed.
    pub(crate) fn is_open_by_mistake(&self, address: SocketAddr) -> bool {
        // An IPv4 address in IPv6 clothes is judged as what it is.
        let is_loopback = address.ip().to_canonical().is_loopback();
        let is_open = self.tokens.is_empty() && self.jwt.is_none();
        !is_loopback && is_open && !self.allow_anonymous
    }
}

fn oddity(
    layers: &Layers,
    (key, value): (&str, String),
    relation: &str,
    (other, other_value): (&str, String),
    effect: &str,
) -> String {
    let (source, other_source) = (layers.source(key), layers.source(other));
    format!(
        "{key} = {value} ({source}) {relation} {other} = {other_value} ({other_source}): {effect}"
    )
}
