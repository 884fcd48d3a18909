//! Choices that a seed repeats.

use std::ops::Range;

/// A small generator (splitmix64); each task has its own.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The generator of the task with this number.
    pub(super) fn new(seed: u64, task: u64) -> Self {
        Self(seed ^ task.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// A number of this range.
    pub(super) fn of(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.of(0..times) == 0
    }
}
