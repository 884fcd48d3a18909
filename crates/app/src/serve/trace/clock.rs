//! The wall clock for moments that were taken with the steady one.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks. All spans of one batch are told with one of these, so that a clock
/// that is set in between does not tear a trace apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    steady: Instant,
    unix_nanos: u64,
}

impl Clock {
    pub(super) fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            steady: Instant::now(),
            unix_nanos: unix.map_or(0, |time| nanos(time.as_nanos())),
        }
    }

    /// Nanoseconds since 1970 at a moment before this one.
    pub(super) fn unix_nanos(&self, moment: Instant) -> u64 {
        let ago = self.steady.saturating_duration_since(moment);
        self.unix_nanos.saturating_sub(nanos(ago.as_nanos()))
    }
}

fn nanos(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
