//! Latencies: recorded in a histogram of bounded size and error, told in few figures.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told apart; no call takes longer by default.
const LONGEST: Duration = Duration::from_mins(10);

/// How many digits of a latency are kept.
const DIGITS: u8 = 3;

/// Many latencies.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let longest = nanos(LONGEST);
        let histogram = Histogram::new_with_bounds(1, longest, DIGITS);
        Self(histogram.expect("the bounds are constants that fit"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanos(latency));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn summary(&self) -> Summary {
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Summary {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(self.0.max()),
        }
    }
}

/// Latencies in microseconds. Field names are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Half of the calls took no longer.
    pub(super) p50: f64,
    /// 99 of 100 took no longer.
    pub(super) p99: f64,
    /// 999 of 1,000 took no longer.
    pub(super) p999: f64,
    /// The longest.
    pub(super) max: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = [self.p50, self.p99, self.p999, self.max].map(human);
        write!(f, "p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}")
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> f64 {
    in_micros(Duration::from_nanos(nanos))
}

/// Tells a duration in microseconds.
pub(super) fn in_micros(duration: Duration) -> f64 {
    duration.div_duration_f64(Duration::from_micros(1))
}

/// Writes microseconds as people read them.
pub(super) fn human(micros: f64) -> String {
    match micros {
        us if us < 1e3 => format!("{us:.1} us"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_true_to_three_digits() {
        let mut latencies = Latencies::new();
        for millis in 1..=1_000 {
            latencies.record(Duration::from_millis(millis));
        }
        let Summary {
            p50,
            p99,
            p999,
            max,
        } = latencies.summary();
        for (told, true_micros) in [(p50, 500e3), (p99, 990e3), (p999, 999e3), (max, 1_000e3)] {
            assert!(
                (told / true_micros - 1.0).abs() < 2e-3,
                "{told} {true_micros}"
            );
        }
        assert_eq!(latencies.count(), 1_000);
    }

    #[test]
    fn what_takes_for_ever_counts_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 1);
        assert!(latencies.summary().max >= LONGEST.as_secs_f64() * 1e6 * 0.99);
    }

    #[test]
    fn people_read_units_that_fit() {
        assert_eq!(human(22.34), "22.3 us");
        assert_eq!(human(1_128_000.0), "1.13 s");
        assert_eq!(human(1_500.0), "1.50 ms");
    }
}
