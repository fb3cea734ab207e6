//! How long locks stay held whatever becomes of their sessions.
//!
//! Like the [leases](super::leases) of sessions this is the leader's own knowledge: by its clock,
//! from when it was asked. A lock is released by a replicated command. Now and then another one
//! says how much is left, and a new leader counts from there: so a retention never ends early, and
//! a failover makes it longer by a part of what was left at most.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
use super::Moments;
use super::Now;
use super::deadlines::Deadlines;
use crate::config::RETENTION_STEPS;
use crate::types::{Retention, Token};

/// No command says sooner than this how much is left: it costs one each time.
const SHORTEST_STEP: Duration = Duration::from_secs(1);

/// The retentions that this leader knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Retentions {
    timers: BTreeMap<Token, RetentionTimer>,
    deadlines: Deadlines<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RetentionTimer {
    ends: Now,
    /// When the others are told how much is left.
    due: Now,
}

impl RetentionTimer {
    fn new(ends: Now, now: Now) -> Self {
        let left = ends.since(now);
        let step = (left / RETENTION_STEPS).max(SHORTEST_STEP).min(left);
        let due = now.after(step);
        Self { ends, due }
    }
}

impl Retentions {
    /// Begins to count, or begins anew.
    pub(super) fn begin(&mut self, token: Token, left: Retention, now: Now) {
        self.end(token);
        self.insert(token, RetentionTimer::new(now.after(left.duration()), now));
    }

    fn insert(&mut self, token: Token, timer: RetentionTimer) {
        self.deadlines.insert(timer.due, token);
        self.timers.insert(token, timer);
    }

    pub(super) fn end(&mut self, token: Token) {
        if let Some(timer) = self.timers.remove(&token) {
            self.deadlines.remove(timer.due, token);
        }
    }

    /// How much is left of a retention.
    pub(super) fn left(&self, token: Token, now: Now) -> Option<Duration> {
        self.timers.get(&token).map(|timer| timer.ends.since(now))
    }

    /// When the next command is due.
    pub(super) fn next_due(&self) -> Option<Now> {
        self.deadlines.next()
    }

    /// Takes out a retention whose remaining time is due to be replicated; zero when it is over.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<(Token, Retention)> {
        let token = self.deadlines.pop(now)?;
        let timer = self.timers.remove(&token)?;
        let left = Retention::new(timer.ends.since(now)).unwrap_or_default();
        if !left.is_zero() {
            self.insert(token, RetentionTimer::new(timer.ends, now));
        }
        Some((token, left))
    }

    /// Lets a retention be over at `now`.
    #[cfg(test)]
    pub(super) fn let_end(&mut self, token: Token, now: Now) {
        if self.timers.contains_key(&token) {
            self.end(token);
            let (ends, due) = (now, now);
            self.insert(token, RetentionTimer { ends, due });
        }
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.timers.keys().copied()
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, longest: Duration, names: &mut impl Moments) {
        self.deadlines.clear();
        for (token, timer) in &mut self.timers {
            names.due(&mut timer.ends, longest);
            timer.due = timer.ends;
            self.deadlines.insert(timer.due, *token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token(7);

    fn at(seconds: u64) -> Now {
        Now(Duration::from_secs(seconds))
    }

    fn retention(seconds: u64) -> Retention {
        Retention::new(Duration::from_secs(seconds)).expect("less than a day")
    }

    #[test]
    fn a_part_of_what_is_left_is_over_each_time_until_nothing_is() {
        let mut retentions = Retentions::default();
        retentions.begin(TOKEN, retention(16), at(100));
        assert_eq!(retentions.next_due(), Some(at(104)));
        assert_eq!(retentions.pop_due(at(103)), None);
        assert_eq!(retentions.pop_due(at(104)), Some((TOKEN, retention(12))));
        assert_eq!(retentions.pop_due(at(107)), Some((TOKEN, retention(9))));
        let left = retentions.left(TOKEN, at(110));
        assert_eq!(left, Some(Duration::from_secs(6)));
        assert_eq!(retentions.pop_due(at(114)), Some((TOKEN, retention(2))));
        assert_eq!(retentions.next_due(), Some(at(115)), "no step is shorter");
        let over = (TOKEN, Retention::ZERO);
        assert_eq!(retentions.pop_due(at(116)), Some(over));
        assert_eq!(retentions, Retentions::default());
    }

    #[test]
    fn a_retention_that_begins_anew_is_over_later_and_one_that_ended_is_not_heard_of() {
        let mut retentions = Retentions::default();
        retentions.begin(TOKEN, retention(1), at(0));
        retentions.begin(TOKEN, retention(2), at(0));
        assert_eq!(retentions.pop_due(at(1)), Some((TOKEN, retention(1))));
        retentions.end(TOKEN);
        assert_eq!(retentions, Retentions::default());
    }
}
