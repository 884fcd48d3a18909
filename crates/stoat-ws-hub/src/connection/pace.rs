//! How often a client may do something in a second.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Counts within a second, which begins with the first that is counted after the last
/// one ended. Time comes in as an argument.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    count: usize,
    since: Instant,
}

impl Pace {
    pub(super) fn new(most: usize, now: Instant) -> Self {
        Self {
            most: most.max(1),
            count: 0,
            since: now,
        }
    }

    /// Counts some more; `false` where they are too many.
    pub(super) fn allows(&mut self, more: usize, now: Instant) -> bool {
        if more == 0 {
            return true;
        }
        if now.saturating_duration_since(self.since) >= SECOND {
            (self.count, self.since) = (0, now);
        }
        self.count = self.count.saturating_add(more);
        self.count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_allows_as_many() {
        let start = Instant::now();
        let mut pace = Pace::new(3, start);
        let late = start + Duration::from_millis(999);
        assert!(pace.allows(2, start) && pace.allows(1, late));
        assert!(pace.allows(0, late), "nothing is never too much");
        assert!(!pace.allows(1, late));
        let next = start + SECOND;
        assert!(pace.allows(3, next));
        assert!(!pace.allows(1, next + Duration::from_millis(999)));
        assert!(!Pace::new(3, start).allows(4, start));
    }
}
