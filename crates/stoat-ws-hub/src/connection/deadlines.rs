//! When a connection has waited long enough.

use std::time::{Duration, Instant};

use crate::HubConfig;

/// The deadlines of one connection. Time comes in as an argument.
#[derive(Debug)]
pub(super) struct Deadlines {
    ping_interval: Duration,
    pong_timeout: Duration,
    write_timeout: Duration,
    next_ping: Instant,
    last_frame: Instant,
    stalled_since: Option<Instant>,
    /// When the authorization ends; nothing once that was told.
    ends_at: Option<Instant>,
    close_by: Option<Instant>,
}

/// What a deadline asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// Send a ping.
    Ping,
    /// No frame came for too long.
    NoPong,
    /// The time of the connection is up.
    AuthorizationEnded,
    /// No byte was taken for too long.
    WriteStalled,
    /// The peer has not answered our Close.
    CloseUnanswered,
}

impl Deadlines {
    pub(super) fn new(config: &HubConfig, now: Instant) -> Self {
        Self {
            ping_interval: config.ping_interval,
            pong_timeout: config.pong_timeout,
            write_timeout: config.write_timeout,
            next_ping: now + config.ping_interval,
            last_frame: now,
            stalled_since: None,
            ends_at: None,
            close_by: None,
        }
    }

    /// The connection's time is up at `ends_at`.
    pub(super) fn end_at(&mut self, ends_at: Option<Instant>) {
        self.ends_at = ends_at;
    }

    /// A frame ended.
    pub(super) fn frame_received(&mut self, now: Instant) {
        self.last_frame = now;
    }

    /// The socket took bytes, or there is nothing to send.
    pub(super) fn write_progressed(&mut self) {
        self.stalled_since = None;
    }

    /// The socket takes no more bytes although there is something to send.
    pub(super) fn write_stalled(&mut self, now: Instant) {
        self.stalled_since.get_or_insert(now);
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled_since.is_some()
    }

    /// Our Close is on its way; from now on only the end counts.
    pub(super) fn closing(&mut self, by: Instant) {
        let by = self.close_by.map_or(by, |earlier| earlier.min(by));
        self.close_by = Some(by);
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        let stalled = self.stalled_since.map(|since| since + self.write_timeout);
        let next = match self.close_by {
            Some(close_by) => close_by,
            None => {
                let next = self.next_ping.min(self.last_frame + self.pong_timeout);
                self.ends_at.map_or(next, |end| next.min(end))
            }
        };
        stalled.map_or(next, |stalled| next.min(stalled))
    }

    /// What is due now; a ping moves on to its next time.
    pub(super) fn due(&mut self, now: Instant) -> Option<Deadline> {
        if self
            .stalled_since
            .is_some_and(|since| now >= since + self.write_timeout)
        {
            return Some(Deadline::WriteStalled);
        }
        if let Some(close_by) = self.close_by {
            return (now >= close_by).then_some(Deadline::CloseUnanswered);
        }
        if self.ends_at.take_if(|end| now >= *end).is_some() {
            return Some(Deadline::AuthorizationEnded);
        }
        if now >= self.last_frame + self.pong_timeout {
            return Some(Deadline::NoPong);
        }
        if now >= self.next_ping {
            // From now and not from when it was due: after a pause one ping is enough.
            self.next_ping = now + self.ping_interval;
            return Some(Deadline::Ping);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> (Deadlines, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let config = HubConfig {
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(70),
            write_timeout: Duration::from_secs(10),
            ..HubConfig::default()
        };
        (Deadlines::new(&config, start), move |seconds| {
            start + Duration::from_secs(seconds)
        })
    }

    #[test]
    fn pings_then_silence() {
        let (mut deadlines, at) = deadlines();
        assert_eq!(deadlines.next(), at(30));
        assert_eq!(deadlines.due(at(29)), None);
        assert_eq!(deadlines.due(at(30)), Some(Deadline::Ping));
        assert_eq!((deadlines.due(at(30)), deadlines.next()), (None, at(60)));
        deadlines.frame_received(at(31));
        assert_eq!(deadlines.due(at(60)), Some(Deadline::Ping));
        assert_eq!(deadlines.due(at(90)), Some(Deadline::Ping));
        assert_eq!(deadlines.next(), at(101));
        assert_eq!(deadlines.due(at(101)), Some(Deadline::NoPong));
    }

    #[test]
    fn a_stall_counts_from_its_beginning() {
        let (mut deadlines, at) = deadlines();
        deadlines.write_stalled(at(1));
        deadlines.write_stalled(at(8));
        assert_eq!(deadlines.next(), at(11));
        assert_eq!(deadlines.due(at(10)), None);
        deadlines.write_progressed();
        assert!(!deadlines.is_stalled());
        deadlines.write_stalled(at(10));
        assert_eq!(deadlines.due(at(20)), Some(Deadline::WriteStalled));
    }

    #[test]
    fn the_end_comes_once_and_before_anything_else_that_is_due() {
        let (mut deadlines, at) = deadlines();
        deadlines.end_at(Some(at(20)));
        assert_eq!((deadlines.next(), deadlines.due(at(19))), (at(20), None));
        assert_eq!(deadlines.due(at(100)), Some(Deadline::AuthorizationEnded));
        assert_eq!(deadlines.due(at(100)), Some(Deadline::NoPong));

        deadlines.end_at(Some(at(110)));
        deadlines.closing(at(120));
        assert_eq!((deadlines.next(), deadlines.due(at(115))), (at(120), None));
    }

    #[test]
    fn closing_is_bounded() {
        let (mut deadlines, at) = deadlines();
        deadlines.closing(at(5));
        deadlines.closing(at(9));
        assert_eq!((deadlines.next(), deadlines.due(at(4))), (at(5), None));
        assert_eq!(deadlines.due(at(5)), Some(Deadline::CloseUnanswered));
    }
}
