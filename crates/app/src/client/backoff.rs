//! How long to wait before the next attempt.

use std::time::Duration;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Exponential backoff with full jitter: any wait from none up to a bound that doubles with each failure.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; `random` is any number, each as likely as the other.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let bound = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // At most 5 * 10^9 before the shift, so that neither step overflows.
        let nanos = (bound.as_nanos() * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Begins again, after something has succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_begins_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8)
            .map(|_| backoff.next(u64::MAX).as_micros().div_ceil(1000))
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next(1 << 63), Duration::from_millis(50));
        for _ in 0..100 {
            assert_eq!(backoff.next(0), Duration::ZERO);
            assert!(backoff.next(u64::MAX) < LONGEST);
        }
    }
}
