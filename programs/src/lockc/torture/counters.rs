//! Counts latencies, gaps without an answer, and failures by kind.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::lockc::latency::Latencies;
use lockservice::clerk::CallError;

/// The counts so far.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) latencies: Latencies,
    pub(super) failed: BTreeMap<&'static str, u64>,
    /// How long calls were made.
    pub(super) worked: Duration,
    pub(super) longest_gap: Duration,
    begun: Instant,
    last_answer: Instant,
}

impl Counters {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            latencies: Latencies::new(),
            failed: BTreeMap::new(),
            worked: Duration::ZERO,
            longest_gap: Duration::ZERO,
            begun: now,
            last_answer: now,
        }
    }

    /// Calls are made from `now` on.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.begun = now;
        self.last_answer = now;
    }

    /// No call is made any more.
    pub(super) fn pause(&mut self, now: Instant) {
        self.gap_until(now);
        self.worked += now - self.begun;
    }

    pub(super) fn add(&mut self, asked: Instant, now: Instant, answer: &Result<bool, CallError>) {
        match answer {
            Ok(_) => {
                self.gap_until(now);
                self.latencies.record(now - asked);
            }
            Err(error) => *self.failed.entry(kind(error)).or_default() += 1,
        }
    }

    fn gap_until(&mut self, now: Instant) {
        self.longest_gap = self.longest_gap.max(now - self.last_answer);
        self.last_answer = now;
    }

    pub(super) fn answered(&self) -> u64 {
        self.latencies.count()
    }

    pub(super) fn calls_per_second(&self) -> u64 {
        let rate = u128::from(self.answered()) * 1_000_000 / self.worked.as_micros().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

const fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::InvalidName(_) => "invalid_name",
        CallError::Unanswered {
            may_have_happened: true,
            ..
        } => "no_answer",
        CallError::Unanswered { .. } => "not_carried_out",
        CallError::Overloaded { .. } => "overloaded",
        CallError::RecordLost => "record_lost",
        CallError::Owned { .. } => "owned",
        CallError::MixedClusters { .. } => "mixed_clusters",
        CallError::Closed => "closed",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_gap_goes_from_one_answer_to_the_next_and_ends_with_the_work() {
        let mut tally = Counters::new();
        let start = Instant::now();
        tally.begin(start);
        tally.add(start, start + 3 * MS, &Ok(true));
        tally.add(start, start + 4 * MS, &Err(CallError::RecordLost));
        tally.add(start, start + 10 * MS, &Ok(false));
        assert_eq!(tally.longest_gap, 7 * MS);
        tally.pause(start + 20 * MS);
        assert_eq!(tally.longest_gap, 10 * MS);

        let later = start + 1_000 * MS;
        tally.begin(later);
        tally.add(later, later + MS, &Ok(true));
        tally.pause(later + 2 * MS);
        assert_eq!((tally.longest_gap, tally.worked), (10 * MS, 22 * MS));
    }

    #[test]
    fn failures_are_counted_by_kind_and_have_no_latency() {
        let mut tally = Counters::new();
        let now = Instant::now();
        for _ in 0..2 {
            tally.add(now, now, &Err(CallError::RecordLost));
        }
        tally.add(now, now, &Err(CallError::Closed));
        tally.add(now, now, &Ok(true));
        assert_eq!(
            tally.failed,
            BTreeMap::from([("closed", 1), ("record_lost", 2)])
        );
        assert_eq!(tally.answered(), 1);
    }
}
