//! Where a run's chances come from: its seed, and nothing else.

use std::ops::Range;
use std::time::Duration;

/// Numbers that follow from a seed (`SplitMix64`, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Dice that roll otherwise from here on, so that two who roll do not disturb each other.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) const fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(crate) const fn one_in(&mut self, sides: u64) -> bool {
        self.next().is_multiple_of(sides)
    }

    pub(crate) const fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        let at = self.next() % among.len() as u64;
        among[usize::try_from(at).expect("it is below the length")]
    }
}
