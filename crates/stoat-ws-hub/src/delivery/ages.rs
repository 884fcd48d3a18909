//! How old an event was when each connection got it, in a few counters.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Ages below two to this power, in microseconds, are not told apart.
const LEAST: u32 = 4;
/// Ages of twice two to this power and more, 71 minutes, are not told apart.
const MOST: u32 = 31;
/// Two for each power of two.
const BUCKETS: usize = 1 + 2 * (MOST - LEAST + 1) as usize;

/// Ages in buckets whose bounds grow by a third or a half from one to the next.
#[derive(Debug)]
pub(super) struct Ages([AtomicU32; BUCKETS]);

impl Ages {
    pub(super) fn new() -> Self {
        Self([const { AtomicU32::new(0) }; BUCKETS])
    }

    pub(super) fn add(&self, age: Duration, count: u32) {
        self.0[bucket(age)].fetch_add(count, Relaxed);
    }

    /// What was added so far.
    pub(super) fn now(&self) -> AgesNow {
        AgesNow(std::array::from_fn(|at| self.0[at].load(Relaxed)))
    }
}

/// [`Ages`] at one moment.
pub(super) struct AgesNow([u32; BUCKETS]);

impl AgesNow {
    pub(super) fn count(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }

    /// The age that so many of a hundred did not exceed, rounded up to the bound of its
    /// bucket.
    pub(super) fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = (self.count() * percent).div_ceil(100);
        let mut so_far = 0;
        let reached = |count: &u32| {
            so_far += u64::from(*count);
            so_far >= rank.max(1)
        };
        self.0.iter().position(reached).map(bound)
    }
}

fn bucket(age: Duration) -> usize {
    let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.min((2 << MOST) - 1);
    if micros < 1 << LEAST {
        return 0;
    }
    let power = micros.ilog2();
    let upper_half = (micros >> (power - 1)) & 1;
    1 + 2 * (power - LEAST) as usize + upper_half as usize
}

/// What is in the bucket is younger.
fn bound(bucket: usize) -> Duration {
    let Some(above) = bucket.checked_sub(1) else {
        return Duration::from_micros(1 << LEAST);
    };
    let power = LEAST as usize + above / 2;
    Duration::from_micros(match above % 2 {
        0 => 3 << (power - 1),
        _ => 2 << power,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles() {
        let ages = Ages::new();
        assert_eq!(ages.now().percentile(50), None);
        ages.add(Duration::from_micros(20), 98);
        ages.add(Duration::from_millis(20), 1);
        ages.add(Duration::from_secs(1 << 20), 1);
        let now = ages.now();
        assert_eq!(now.count(), 100);
        let micros = |percent| now.percentile(percent).map(|age| age.as_micros());
        assert_eq!(micros(50), Some(24));
        assert_eq!(micros(98), Some(24));
        assert_eq!(micros(99), Some(24_576));
        assert_eq!(micros(100), Some(1 << 32));
    }

    proptest! {
        /// The precision that the documentation promises.
        #[test]
        fn an_age_is_rounded_up_by_a_half_at_most(micros in 16u64..1 << 32) {
            let ages = Ages::new();
            ages.add(Duration::from_micros(micros), 1);
            let told = ages.now().percentile(50).unwrap().as_micros();
            prop_assert!(told > micros.into());
            prop_assert!(2 * told <= 3 * u128::from(micros));
        }
    }
}
