//! Counts of durations in nanoseconds, each kept to within one part in 128.

const BITS: u32 = 7;
const PER_OCTAVE: usize = 1 << BITS;

/// Quantiles of many values in a fixed amount of memory.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; PER_OCTAVE * (65 - BITS as usize)],
            total: 0,
            largest: 0,
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.total += 1;
        self.largest = self.largest.max(value);
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The largest value.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// The value that a share of all values does not exceed; 0 of none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return last_of(bucket).min(self.largest);
            }
        }
        self.largest
    }
}

fn bucket(value: u64) -> usize {
    let shift = (64 - value.leading_zeros()).saturating_sub(BITS + 1);
    shift as usize * PER_OCTAVE + (value >> shift) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    // The first two octaves of buckets hold one value each.
    let shift = (bucket / PER_OCTAVE).saturating_sub(1);
    let head = (bucket - shift * PER_OCTAVE) as u64;
    (head << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_its_bucket() {
        let mut values: Vec<u64> = (0..2000).collect();
        values.extend((1..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        values.push(u64::MAX);
        for value in values {
            let last = last_of(bucket(value));
            assert!(last >= value, "{value}: {last}");
            assert!(last - value <= value / 128, "{value}: {last}");
            assert!(bucket(value) < Histogram::default().counts.len());
        }
    }

    #[test]
    fn quantiles_of_a_known_row() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=100).for_each(|value| histogram.record(value));
        assert_eq!(histogram.quantile(0.5), 50);
        assert_eq!(histogram.quantile(0.99), 99);
        assert_eq!(histogram.quantile(1.0), 100);
        assert_eq!(histogram.quantile(0.0), 1);
        assert_eq!(histogram.largest(), 100);
    }
}
