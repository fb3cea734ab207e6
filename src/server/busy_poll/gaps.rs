//! Measures the gaps between messages, and so how long it is worth polling for the next one.

use std::time::Duration;

/// Gaps are counted by powers of two: below 1 us, below 2 us, and so on to 16 ms.
const BUCKETS: usize = 15;

/// With fewer gaps than this there is no conclusion.
const TOO_FEW: u32 = 16;

/// The times between messages, as a histogram.
#[derive(Debug, Default)]
pub(super) struct Gaps([u32; BUCKETS]);

impl Gaps {
    pub(super) fn record(&mut self, gap: Duration) {
        let micros = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        let bits = (u64::BITS - micros.leading_zeros()) as usize;
        self.0[bits.min(BUCKETS - 1)] += 1;
    }

    /// The shortest window in which 19 of 20 of the recorded messages came, at most `longest`. Zero
    /// when too few were recorded.
    ///
    /// It is rounded up to a power of two, which leaves room for gaps that vary.
    pub(super) fn window(&self, longest: Duration) -> Duration {
        let all: u32 = self.0.iter().sum();
        if all < TOO_FEW {
            return Duration::ZERO;
        }
        let enough = all - all / 20;
        let mut met = 0;
        let bucket = self.0.iter().position(|count| {
            met += count;
            met >= enough
        });
        let micros = 1 << bucket.unwrap_or(BUCKETS - 1);
        Duration::from_micros(micros).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(500);

    fn window(gaps: &[(u64, u32)]) -> Duration {
        let mut recorded = Gaps::default();
        for &(micros, times) in gaps {
            for _ in 0..times {
                recorded.record(Duration::from_micros(micros));
            }
        }
        recorded.window(LONGEST)
    }

    #[test]
    fn the_window_covers_the_gaps_and_follows_the_machine() {
        assert_eq!(window(&[(20, 100)]), Duration::from_micros(32));
        assert_eq!(window(&[(90, 100)]), Duration::from_micros(128));
        assert_eq!(window(&[(0, 100)]), Duration::from_micros(1));
    }

    #[test]
    fn the_longer_of_two_gaps_in_a_call_counts() {
        assert_eq!(window(&[(20, 50), (150, 50)]), Duration::from_micros(256));
    }

    #[test]
    fn a_few_stragglers_do_not_count() {
        assert_eq!(window(&[(20, 96), (400, 4)]), Duration::from_micros(32));
    }

    #[test]
    fn the_window_is_bounded() {
        assert_eq!(window(&[(450, 100)]), LONGEST);
        assert_eq!(window(&[(u64::MAX, 100)]), LONGEST);
    }

    #[test]
    fn a_few_messages_say_nothing() {
        assert_eq!(window(&[(20, TOO_FEW - 1)]), Duration::ZERO);
        assert_eq!(window(&[]), Duration::ZERO);
    }
}
