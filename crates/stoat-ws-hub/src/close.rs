//! Why connections end: close codes for the peer, reasons for the counters.

use std::borrow::Cow;

/// What goes into a Close frame (RFC 6455 section 5.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    /// The status code (RFC 6455 section 7.4).
    pub(crate) code: u16,
    /// At most 123 bytes.
    pub(crate) text: Cow<'static, str>,
    pub(crate) reason: DisconnectReason,
    /// After how long the client may come back, where it is told.
    pub(crate) retry_ms: Option<u64>,
}

impl Close {
    const fn new(code: u16, text: &'static str, reason: DisconnectReason) -> Self {
        Self {
            code,
            text: Cow::Borrowed(text),
            reason,
            retry_ms: None,
        }
    }

    pub(crate) const fn protocol_error(text: &'static str) -> Self {
        Self::new(1002, text, DisconnectReason::ProtocolError)
    }

    pub(crate) const fn invalid_utf8() -> Self {
        Self::new(1007, "text is not UTF-8", DisconnectReason::ProtocolError)
    }

    pub(crate) const fn message_too_big() -> Self {
        Self::new(1009, "message too big", DisconnectReason::ProtocolError)
    }

    pub(crate) const fn too_many_control_frames() -> Self {
        Self::new(
            1008,
            "too many control frames or messages in a second",
            DisconnectReason::ProtocolError,
        )
    }

    pub(crate) const fn by_operator() -> Self {
        Self::new(1008, "closed by the operator", DisconnectReason::Operator)
    }

    pub(crate) const fn authorization_ended() -> Self {
        Self::new(
            1008,
            "authorization ended",
            DisconnectReason::AuthorizationEnded,
        )
    }

    pub(crate) const fn no_pong() -> Self {
        Self::new(
            1011,
            "no frame within the pong timeout",
            DisconnectReason::PongTimeout,
        )
    }

    pub(crate) const fn fault() -> Self {
        Self::new(1011, "internal error", DisconnectReason::Panic)
    }

    pub(crate) const fn log_gone() -> Self {
        Self::new(1011, "the event log is gone", DisconnectReason::Shutdown)
    }

    /// The whole frame, for where the session that would send it cannot be relied on.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let payload = [&self.code.to_be_bytes(), self.text.as_bytes()].concat();
        [&[0x88, payload.len() as u8][..], &payload].concat()
    }

    pub(crate) fn shutdown(retry_ms: u64) -> Self {
        Self {
            code: 1001,
            text: format!("retry_ms={retry_ms}").into(),
            reason: DisconnectReason::Shutdown,
            retry_ms: Some(retry_ms),
        }
    }
}

/// Why a connection ended, for counters and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client closed it.
    ClientClosed,
    /// The transport failed or ended without a closing handshake.
    ConnectionLost,
    /// The client broke the WebSocket protocol or a limit.
    ProtocolError,
    /// The client took no bytes for too long.
    WriteTimeout,
    /// No frame came from the client for too long.
    PongTimeout,
    /// [`ConnectionManager::disconnect`](crate::ConnectionManager::disconnect).
    Operator,
    /// The time of its [`Admission`](crate::Admission) is up.
    AuthorizationEnded,
    /// [`ConnectionManager::drain`](crate::ConnectionManager::drain), or the log
    /// or the manager is gone.
    Shutdown,
    /// The upgrade did not come about after the 101.
    HandshakeFailed,
    /// A fault of ours: a panic in the connection's work.
    Panic,
}

impl DisconnectReason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::ClientClosed,
        Self::ConnectionLost,
        Self::ProtocolError,
        Self::WriteTimeout,
        Self::PongTimeout,
        Self::Operator,
        Self::AuthorizationEnded,
        Self::Shutdown,
        Self::HandshakeFailed,
        Self::Panic,
    ];

    /// A name for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ConnectionLost => "connection_lost",
            Self::ProtocolError => "protocol_error",
            Self::WriteTimeout => "write_timeout",
            Self::PongTimeout => "pong_timeout",
            Self::Operator => "operator",
            Self::AuthorizationEnded => "authorization_ended",
            Self::Shutdown => "shutdown",
            Self::HandshakeFailed => "handshake_failed",
            Self::Panic => "panic",
        }
    }
}
