//! Medians, spreads and ratios of a handful of runs.

/// A figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The one in the middle, or the mean of the two there.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Summary {
    /// Sums up the runs; none of no runs.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) {
            *sorted.get(middle - 1)?
        } else {
            upper
        };
        Some(Self {
            median: f64::midpoint(lower, upper),
            least,
            most,
        })
    }

    /// How many times the other median this one is; none where the other is nothing.
    #[must_use]
    pub fn ratio_to(&self, other: &Self) -> Option<f64> {
        (other.median > 0.0).then(|| self.median / other.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of(&[]), None);
        let odd = Summary::of(&[9.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.least, odd.median, odd.most), (1.0, 2.0, 9.0));
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of(&[5.0]).unwrap().median, 5.0);
    }

    #[test]
    fn ratios_are_of_medians() {
        let one = Summary::of(&[3.0, 3.0]).unwrap();
        let other = Summary::of(&[2.0]).unwrap();
        let nothing = Summary::of(&[0.0]).unwrap();
        assert_eq!(one.ratio_to(&other), Some(1.5));
        assert_eq!(one.ratio_to(&nothing), None);
    }
}
