//! Throttles warnings that repeat: each is logged at once, and then once a minute with a count.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often a lasting warning is logged. A minute: a log that is read after a day shows that it
/// lasted, and is not filled by it.
const EVERY: Duration = Duration::from_mins(1);

/// Decides whether a warning of one kind is logged.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    told: Option<Instant>,
    untold: u64,
}

impl Throttle {
    /// Counts a warning. If it is to be logged, returns how many before it were not.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<Untold> {
        if !self.is_due(now) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(Untold(std::mem::take(&mut self.untold)))
    }

    /// Whether the next one is logged at once, as the first was.
    fn is_over(&self, now: Instant) -> bool {
        self.is_due(now) && self.untold == 0
    }

    fn is_due(&self, now: Instant) -> bool {
        let is_past = |told| now.saturating_duration_since(told) >= EVERY;
        self.told.is_none_or(is_past)
    }
}

/// How many warnings of a kind were not logged. Displayed at the end of the one that is, and as
/// nothing if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untold(u64);

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} more since this was last logged)"),
        }
    }
}

/// How many kinds of warnings are distinguished. Further ones count as one kind.
const MOST: usize = 64;

/// The warnings of one server.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<BTreeMap<String, Throttle>>);

impl Warnings {
    /// Counts a warning that says `what`. If it is to be logged, returns how many before it were
    /// not.
    pub(crate) fn pass(&self, what: &str) -> Option<Untold> {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(what) {
            known.retain(|_, throttle| !throttle.is_over(now));
        }
        if let Some(throttle) = known.get_mut(what) {
            return throttle.pass(now);
        }
        let what = if known.len() < MOST { what } else { "" };
        known.entry(what.to_owned()).or_default().pass(now)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[test]
    fn a_warning_is_told_at_once_and_then_every_minute_with_a_count() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.pass(start), Some(Untold(0)));
        for seconds in 1..60 {
            assert_eq!(throttle.pass(after(seconds)), None);
        }
        let told = throttle.pass(after(60)).expect("a minute has passed");
        assert_eq!(
            told.to_string(),
            " (and 59 more since this was last logged)"
        );
        assert_eq!(throttle.pass(after(61)), None);
        // One after a pause is logged with the count of those before the pause.
        assert_eq!(throttle.pass(after(1_000)), Some(Untold(1)));
        let told = throttle.pass(after(2_000)).expect("a minute has passed");
        assert_eq!(told.to_string(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn one_kind_of_warning_does_not_hide_another() {
        let warnings = Warnings::default();
        assert!(warnings.pass("a").is_some());
        assert!(warnings.pass("a").is_none() && warnings.pass("b").is_some());
        advance(EVERY).await;
        assert_eq!(warnings.pass("a"), Some(Untold(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_warnings_there_are_few_are_kept() {
        let warnings = Warnings::default();
        let told = |range: std::ops::Range<usize>| {
            let passed = range.filter(|number| warnings.pass(&number.to_string()).is_some());
            passed.count()
        };
        assert_eq!(told(0..1_000), MOST + 1);
        advance(EVERY).await;
        assert_eq!(told(1_000..2_000), MOST);
    }
}
