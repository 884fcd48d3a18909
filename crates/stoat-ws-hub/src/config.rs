//! The hub's settings.

use std::time::Duration;

/// The shortest and the longest that any time here counts as: timers neither spin
/// nor overflow.
const TIMES: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(365 * 86_400)];
/// The most delivery reports.
const MOST_REPORTS: usize = 1 << 16;

/// How a [`ConnectionManager`](crate::ConnectionManager) treats its connections.
///
/// Times shorter than a millisecond count as that, those longer than a year as a year.
///
/// ```
/// use std::time::Duration;
/// use stoat_ws_hub::HubConfig;
///
/// let mut config = HubConfig::default();
/// config.heartbeat_interval = Some(Duration::from_secs(10));
/// config.allowed_origins = vec!["https://app.example.com".into()];
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// How often the heartbeat event is sent; `None` turns it off. 30 s by default.
    pub heartbeat_interval: Option<Duration>,
    /// How often each connection is sent a ping frame. 30 s by default.
    pub ping_interval: Duration,
    /// A connection from which no frame at all came for this long is dropped.
    /// 60 s by default.
    pub pong_timeout: Duration,
    /// A connection that takes no byte for this long, while there is something to
    /// send, is dropped. 60 s by default.
    pub write_timeout: Duration,
    /// How long the upgrade may take after the 101. 10 s by default.
    pub handshake_timeout: Duration,
    /// The most bytes of answers (pongs) that are kept for one client that does
    /// not read them, at least 1 KiB; beyond that it is not read from either.
    /// 64 KiB by default. Events are not buffered per client at all.
    pub max_client_buffer: usize,
    /// The most bytes for one client that the kernel keeps beside what is on the wire,
    /// at least 4 KiB (`TCP_NOTSENT_LOWAT`; on Linux and Android, over plain TCP).
    /// 128 KiB by default.
    ///
    /// Without it a client that does not read pins up to `tcp_wmem`'s maximum (4 MiB)
    /// of the kernel's memory before anyone notices. What is on the wire is bounded by
    /// the client's window as ever, so a fast connection over a long way stays fast;
    /// but a backlog goes out in more and smaller writes.
    pub max_unsent: usize,
    /// The longest message of a client in bytes; beyond it the connection is
    /// closed with 1009. 16 KiB by default.
    pub max_client_message: usize,
    /// The most control frames (ping, pong, Close) and control messages (`subscribe`,
    /// `ping`) of one client in a second, at least 1; beyond it the connection is closed
    /// with 1008. 100 by default.
    pub max_control_frames: usize,
    /// The most connections at a time; beyond it handshakes are answered 503.
    /// 100,000 by default.
    pub max_connections: usize,
    /// The most connections at a time from one address; beyond it handshakes are
    /// answered 429. `None`, the default, for no such limit.
    pub max_connections_per_ip: Option<usize>,
    /// The origins (`https://app.example.com`) whose pages may connect, beside
    /// those that the request's own `Host` names. Empty by default.
    pub allowed_origins: Vec<String>,
    /// Of how many of the newest events a
    /// [`DeliveryReport`](crate::DeliveryReport) is kept, at most 65,536; each takes about
    /// 300 bytes, and up to 200 more with the longest type and topic. 0 turns them off.
    /// 1024 by default.
    pub delivery_reports: usize,
    /// Sends each message of a client back to it, in place of obeying it.
    #[cfg(feature = "echo")]
    #[doc(hidden)]
    pub echo: bool,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Some(Duration::from_secs(30)),
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            max_client_buffer: 64 << 10,
            max_unsent: 128 << 10,
            max_client_message: 16 << 10,
            max_control_frames: 100,
            max_connections: 100_000,
            max_connections_per_ip: None,
            allowed_origins: Vec::new(),
            delivery_reports: 1024,
            #[cfg(feature = "echo")]
            echo: false,
        }
    }
}

impl HubConfig {
    /// The same with each value within its bounds.
    pub(crate) fn bounded(mut self) -> Self {
        let [least, most] = TIMES;
        let times = [
            &mut self.ping_interval,
            &mut self.pong_timeout,
            &mut self.write_timeout,
            &mut self.handshake_timeout,
        ];
        for time in times.into_iter().chain(&mut self.heartbeat_interval) {
            *time = (*time).clamp(least, most);
        }
        self.delivery_reports = self.delivery_reports.min(MOST_REPORTS);
        self
    }
}
