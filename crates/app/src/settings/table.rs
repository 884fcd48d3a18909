//! The table that defines every setting once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use stoat_log_nats::{Servers, Storage};

use super::access::{Jwts, Networks, Tokens};
use super::kind::{
    Count, DIRECTORY, FILE, Kind, Level, Listen, LogFormat, Optional, Origins, Shape, Size, Switch,
    Time, TraceFormat,
};
use super::layers::Layers;
use super::nats::{NatsName, NatsServers, NatsStorage};
use super::origin::Origin;
use super::show::Line;
use super::telemetry::{Endpoint, Ratio};
use super::{SettingsError, units};
use crate::access::{Jwt, Token};
use crate::cli::ServerUrl;

use units::{DAY, GIB, HOUR, KIB, MIB, MILLISECOND, SECOND, TIB};

/// What the table says of one setting, without its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    pub(super) value_name: &'static str,
    pub(super) default: &'static str,
    /// No error quotes the value; its kind masks it where it is shown.
    pub(super) secret: bool,
    pub(super) help: &'static str,
}

impl Definition {
    /// The flag's name, without the two dashes.
    pub(super) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// The environment variable's name.
    pub(super) fn variable(&self) -> String {
        format!("STOAT_{}", self.key.to_ascii_uppercase())
    }
}

/// Makes the struct, the table and the reader from one list of
/// `key: type = kind, default "text", open|secret, "help";`.
macro_rules! settings {
    ($($key:ident: $type:ty = $kind:expr, default $default:literal, $secrecy:ident, $help:literal;)*) => {
        /// The effective settings: parsed, in range and free of contradictions.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Settings {
            $(#[doc = $help] pub $key: $type,)*
        }

        impl Settings {
            /// Takes each setting from the layer of the highest rank that has it.
            pub(super) fn from_layers(layers: &Layers) -> Result<(Self, Vec<Line>), SettingsError> {
                let mut lines = Vec::new();
                let settings = Self {
                    $($key: layers.value(
                        &settings!(@define $key, $kind, $default, $secrecy, $help), &$kind, &mut lines,
                    )?,)*
                };
                Ok((settings, lines))
            }
        }

        /// Every setting, in the order of `--help` and `check-config`.
        pub(super) fn table() -> Vec<Definition> {
            vec![$(settings!(@define $key, $kind, $default, $secrecy, $help),)*]
        }
    };
    (@define $key:ident, $kind:expr, $default:literal, $secrecy:ident, $help:literal) => {
        Definition {
            key: stringify!($key),
            shape: $kind.shape(),
            value_name: $kind.value_name(),
            default: $default,
            secret: settings!(@ $secrecy),
            help: $help,
        }
    };
    (@ open) => { false };
    (@ secret) => { true };
}

settings! {
    listen: SocketAddr = Listen, default "127.0.0.1:8765", open,
        "Address to listen on; port 0 picks a free one";
    ws_heartbeat_interval: Option<Duration> = Optional(time(10 * MILLISECOND, DAY)), default "30s", open,
        "Time between heartbeat events; 0 turns them off";
    ws_ping_interval: Duration = time(10 * MILLISECOND, DAY), default "30s", open,
        "Time between ping frames to each client";
    ws_pong_timeout: Duration = time(10 * MILLISECOND, 2 * DAY), default "60s", open,
        "A client from which no frame came for this long is dropped; more than ws_ping_interval";
    ws_write_timeout: Duration = time(10 * MILLISECOND, DAY), default "60s", open,
        "A client that reads nothing for this long while events wait is dropped";
    max_client_buffer: usize = size(4 * KIB, GIB), default "64KiB", open,
        "Most memory that a client that does not read may cost";
    ws_replay_buffer_size: usize = count(1, 100_000_000), default "10000", open,
        "Most events kept for replay; the first bound reached evicts the oldest";
    ws_replay_buffer_bytes: usize = size(KIB, TIB), default "64MiB", open,
        "Most bytes of events kept for replay";
    ws_replay_ttl_seconds: Option<Duration> = Optional(time(MILLISECOND, 3650 * DAY)), default "300s", open,
        "Greatest age of an event kept for replay; 0: no bound by age";
    log_dir: Option<PathBuf> = DIRECTORY, default "", open,
        "Directory of the log on disk; without one the log is in memory, and gone with the process";
    log_max_events: Option<usize> = Optional(count(1, 1_000_000_000_000)), default "0", open,
        "Most events kept on disk; 0: no bound by number; the first bound reached evicts the oldest";
    log_max_bytes: usize = size(64 * KIB, 1024 * TIB), default "1GiB", open,
        "Most bytes of events kept on disk; the file is larger";
    log_ttl_seconds: Option<Duration> = Optional(time(MILLISECOND, 3650 * DAY)), default "7d", open,
        "Greatest age of an event kept on disk; 0: no bound by age";
    nats_url: Option<Servers> = NatsServers, default "", secret,
        "Addresses of NATS servers, for a log that any number of servers share; nats:// or tls://, with user:password@ or token@ where needed";
    nats_stream: String = NatsName { dots: false }, default "stoat", open,
        "JetStream stream that is the log; created where it is missing, never altered";
    nats_subject: String = NatsName { dots: true }, default "stoat", open,
        "What the subjects of the stream begin with";
    nats_replicas: usize = count(1, 5), default "1", open,
        "NATS servers that keep the stream, where it is created";
    nats_storage: Storage = NatsStorage, default "file", open,
        "Where they keep the stream, where it is created: file or memory";
    nats_max_events: Option<usize> = Optional(count(1, 1_000_000_000_000)), default "0", open,
        "Most messages in the stream, where it is created; 0: no bound by number; a batch counts as one";
    nats_max_bytes: Option<usize> = Optional(size(64 * KIB, 1024 * TIB)), default "1GiB", open,
        "Most bytes in the stream, where it is created; 0: no bound by bytes";
    nats_ttl_seconds: Option<Duration> = Optional(time(SECOND, 3650 * DAY)), default "7d", open,
        "Greatest age of an event in the stream, where it is created; 0: no bound by age";
    nats_timeout: Duration = time(100 * MILLISECOND, HOUR), default "5s", open,
        "Most time for a publish to be acknowledged by the broker; then 503";
    nats_pack: bool = Switch, default "true", open,
        "Whether single events of a topic that wait for the broker travel together, as one message; false: each is a message";
    nats_credentials: Option<PathBuf> = FILE, default "", open,
        "File with credentials (a JWT and its seed) for NATS";
    nats_tls_ca: Option<PathBuf> = FILE, default "", open,
        "PEM file with the certificates that sign those of the NATS servers; the system's otherwise";
    nats_tls_cert: Option<PathBuf> = FILE, default "", open,
        "PEM file with a certificate of this server for NATS";
    nats_tls_key: Option<PathBuf> = FILE, default "", open,
        "PEM file with the private key of nats_tls_cert";
    max_event: usize = size(256, 64 * MIB), default "64KiB", open,
        "Largest event that can be published; not over max_body";
    max_body: usize = size(256, GIB), default "1MiB", open,
        "Largest request body";
    max_client_message: usize = size(125, 64 * MIB), default "16KiB", open,
        "Largest WebSocket message taken from a client";
    max_connections: usize = count(1, 10_000_000), default "100000", open,
        "Most connections at a time; over it: 503";
    max_connections_per_ip: Option<usize> = Optional(count(1, 10_000_000)), default "0", open,
        "Most connections at a time from one address; over it: 429; 0 turns the bound off";
    delivery_reports: usize = count(0, 65_536), default "1024", open,
        "Of how many of the newest events it is known who got them; 0: of none";
    handshake_timeout: Duration = time(10 * MILLISECOND, HOUR), default "10s", open,
        "Most time from accepting a connection to the answer to its handshake";
    body_timeout: Duration = time(10 * MILLISECOND, HOUR), default "30s", open,
        "Most time for a request's body";
    drain_timeout: Duration = time(0, HOUR), default "10s", open,
        "Most time for a clean shutdown; 0 does not wait";
    idempotency_ttl: Duration = time(MILLISECOND, 7 * DAY), default "600s", open,
        "How long a repeated Idempotency-Key gets the first answer";
    schemas_dir: Option<PathBuf> = DIRECTORY, default "", open,
        "Directory with a JSON Schema of the payload, TYPE.json, for each type to be checked on publish; in breach: 422";
    allowed_origins: Vec<Origin> = Origins, default "", open,
        "Exact origins (`scheme://host[:port]`) that may connect from a browser besides the server's own";
    tls_cert: Option<PathBuf> = FILE, default "", open,
        "PEM file with the certificate and its chain, for https and wss; read again on SIGHUP";
    tls_key: Option<PathBuf> = FILE, default "", open,
        "PEM file with the private key of tls_cert";
    trusted_proxies: Vec<IpNet> = Networks, default "", open,
        "Networks (`10.0.0.0/8`) of proxies whose X-Forwarded-For is believed";
    publish_rate: Option<usize> = Optional(count(1, 1_000_000)), default "0", open,
        "Events per second that a token, or an address without one, may publish; over it: 429; 0: no bound";
    tokens: Vec<Token> = Tokens, default "", secret,
        "Tokens, as tables {name, token, rights, topics}; in JSON here, but better in the file, since flags are seen by others";
    jwt: Option<Jwt> = Jwts, default "", secret,
        "JSON Web Tokens, as a table {algorithm, secret_file|public_key_file|jwks_file, issuer, audience}; in JSON here";
    allow_anonymous: bool = Switch, default "false", open,
        "Listen on an address that others can reach although no token is configured";
    otlp_endpoint: Option<ServerUrl> = Endpoint, default "", secret,
        "Receiver of spans over OTLP/HTTP (http://127.0.0.1:4318); without one no spans are recorded";
    otlp_sample_ratio: f64 = Ratio, default "1", open,
        "Share of requests without a traceparent whose spans are recorded, from 0 to 1";
    log_format: LogFormat = TraceFormat, default "auto", open,
        "Form of the log lines on standard error: auto, text or json; auto is text";
    log_level: String = Level, default "info", open,
        "Least level logged (off, error, warn, info, debug, trace), or directives: info,stoat_app=debug";
}

const fn time(min_nanos: u64, max_nanos: u64) -> Time {
    Time {
        min: Duration::from_nanos(min_nanos),
        max: Duration::from_nanos(max_nanos),
    }
}

const fn size(min: u64, max: u64) -> Size {
    Size { min, max }
}

const fn count(min: usize, max: usize) -> Count {
    Count { min, max }
}
