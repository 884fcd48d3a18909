//! Checks of settings against each other.

use super::layers::Layers;
use super::units::{format_duration, format_size};
use super::{Settings, SettingsError};

/// Refuses settings that contradict each other or leave the server open by mistake.
pub(super) fn check(settings: &Settings, layers: &Layers) -> Result<(), SettingsError> {
    if settings.ws_pong_timeout <= settings.ws_ping_interval {
        return Err(conflict(
            layers,
            ("ws_pong_timeout", format_duration(settings.ws_pong_timeout)),
            "must be more than",
            (
                "ws_ping_interval",
                format_duration(settings.ws_ping_interval),
            ),
        ));
    }
    if settings.max_event > settings.max_body {
        return Err(conflict(
            layers,
            ("max_event", format_size(settings.max_event as u64)),
            "must not be more than",
            ("max_body", format_size(settings.max_body as u64)),
        ));
    }
    // An IPv4 address in IPv6 clothes is judged as what it is.
    let is_loopback = settings.listen.ip().to_canonical().is_loopback();
    if !is_loopback && !settings.allow_anonymous {
        let message = format!(
            "listen = {} ({}) is an address that others can reach, and no token is configured: listen on 127.0.0.1, \
             or allow everyone with --allow-anonymous (STOAT_ALLOW_ANONYMOUS=true, allow_anonymous = true)",
            settings.listen,
            layers.source("listen"),
        );
        return Err(SettingsError::conflict("listen", message));
    }
    Ok(())
}

fn conflict(
    layers: &Layers,
    (key, value): (&str, String),
    relation: &str,
    (other, other_value): (&str, String),
) -> SettingsError {
    let (source, other_source) = (layers.source(key), layers.source(other));
    let message =
        format!("{key} = {value} ({source}) {relation} {other} = {other_value} ({other_source})");
    SettingsError::conflict(key, message)
}
