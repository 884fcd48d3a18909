//! Whether and when a batch is sent again.

use std::time::Duration;

use http::StatusCode;

use crate::client::backoff::Backoff;

/// How long a batch is tried again, from its first failure.
const BUDGET: Duration = Duration::from_secs(30);

/// Whether an answer with this status may be another one the next time.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504 | 507)
}

/// The attempts of one batch.
#[derive(Debug, Default)]
pub(super) struct Retry {
    backoff: Backoff,
}

impl Retry {
    /// How long to wait before the next attempt; nothing means to give up.
    ///
    /// `elapsed` is the time since the first failure, `wish` how long the server asks to wait, `random`
    /// any number.
    pub(super) fn after(
        &mut self,
        elapsed: Duration,
        wish: Option<Duration>,
        random: u64,
    ) -> Option<Duration> {
        let wait = wish
            .unwrap_or_default()
            .saturating_add(self.backoff.next(random));
        (elapsed.saturating_add(wait) <= BUDGET).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_for_what_the_server_asks_and_a_little_more() {
        let mut retry = Retry::default();
        assert_eq!(
            retry.after(Duration::ZERO, Some(2 * SECOND), 1 << 63),
            Some(2 * SECOND + Duration::from_millis(50))
        );
        assert_eq!(
            retry.after(Duration::ZERO, None, 1 << 63),
            Some(Duration::from_millis(100))
        );
    }

    #[test]
    fn gives_up_in_time() {
        let mut retry = Retry::default();
        assert_eq!(retry.after(30 * SECOND, None, 0), Some(Duration::ZERO));
        assert_eq!(retry.after(31 * SECOND, None, 0), None);
        assert_eq!(retry.after(Duration::ZERO, Some(31 * SECOND), 0), None);
        assert_eq!(retry.after(Duration::ZERO, Some(Duration::MAX), 0), None);
        let mut retry = Retry::default();
        let mut elapsed = Duration::ZERO;
        let mut attempts = 0;
        while let Some(wait) = retry.after(elapsed, None, u64::MAX) {
            elapsed += wait;
            attempts += 1;
        }
        assert!((8..12).contains(&attempts), "{attempts}");
    }

    #[test]
    fn refusals_are_for_good() {
        for status in [408, 429, 502, 503, 504, 507] {
            assert!(
                is_passing(StatusCode::from_u16(status).unwrap()),
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 413, 415, 422, 500] {
            assert!(
                !is_passing(StatusCode::from_u16(status).unwrap()),
                "{status}"
            );
        }
    }
}
