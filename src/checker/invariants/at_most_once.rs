//! No call executes twice: the grants and releases of each lock add up.

use super::{FinalState, Violation};
use crate::checker::history::{History, Operation};
use crate::service::Verb;

/// Checks for each lock that its grants less its releases are 1 if it is held in the end, and 0 if
/// it is free, give or take the calls that were not answered.
///
/// # Errors
///
/// A [`Violation`] with the counts.
pub fn check(history: &History, end: &FinalState) -> Result<(), Violation> {
    for (name, operations) in history.by_name() {
        let counts = Counts::of(&operations);
        let explained = match end.held.get(name) {
            Some(&held) => counts.explain(held),
            None => counts.explain(true) || counts.explain(false),
        };
        if !explained {
            return Err(Violation {
                invariant: "at_most_once",
                name: Some(name.clone()),
                what: counts.to_string(end.held.get(name).copied()),
                calls: Vec::new(),
            });
        }
    }
    Ok(())
}

/// How often a lock was taken and released, certainly and perhaps.
#[derive(Debug, Default)]
struct Counts {
    locks: i64,
    unlocks: i64,
    unanswered_locks: i64,
    unanswered_unlocks: i64,
}

impl Counts {
    fn of(operations: &[&Operation]) -> Self {
        let mut counts = Self::default();
        for operation in operations {
            match (operation.verb, operation.result()) {
                (Verb::Lock, Some(true)) => counts.locks += 1,
                (Verb::Unlock, Some(true)) => counts.unlocks += 1,
                (Verb::Lock, None) => counts.unanswered_locks += 1,
                (Verb::Unlock, None) => counts.unanswered_unlocks += 1,
                (_, Some(false)) => {}
            }
        }
        counts
    }

    fn explain(&self, held: bool) -> bool {
        let certain = self.locks - self.unlocks;
        let range = certain - self.unanswered_unlocks..=certain + self.unanswered_locks;
        range.contains(&i64::from(held))
    }

    fn to_string(&self, held: Option<bool>) -> String {
        format!(
            "{} locks and {} unlocks succeeded ({} and {} more may have), and in the end it is {}",
            self.locks,
            self.unlocks,
            self.unanswered_locks,
            self.unanswered_unlocks,
            match held {
                Some(true) => "held",
                Some(false) => "free",
                None => "held or free",
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::{ends_held, history};
    use super::*;

    #[test]
    fn successes_that_add_up_are_right() {
        let calls = ["c1 lock 0..1 true", "c2 lock 2..3 false"];
        check(&history(&calls), &ends_held(true)).expect("one lock");
        check(&history(&calls), &FinalState::default()).expect("one lock");
        check(&history(&["c1 unlock 0..1 false"]), &ends_held(false)).expect("nothing");
    }

    #[test]
    fn a_retried_unlock_that_ran_twice_is_caught() {
        let calls = [
            "c1 lock 0..1 true",
            "c1 unlock 2..5 true",
            "c2 unlock 6..7 true",
        ];
        let violation = check(&history(&calls), &FinalState::default()).expect_err("one lock");
        assert_eq!(
            violation.what,
            "1 locks and 2 unlocks succeeded (0 and 0 more may have), and in the end it is held or free"
        );
    }

    #[test]
    fn an_end_that_does_not_fit_the_counts_is_caught() {
        let calls = ["c1 lock 0..1 true", "c1 unlock 2..3 true"];
        check(&history(&calls), &ends_held(false)).expect("free");
        check(&history(&calls), &ends_held(true)).expect_err("a violation");
    }

    #[test]
    fn an_unanswered_call_accounts_for_one() {
        let calls = ["c1 lock 0..1 true", "c1 unlock 2..? unknown"];
        check(&history(&calls), &ends_held(true)).expect("it did not happen");
        check(&history(&calls), &ends_held(false)).expect("it happened");
        let calls = [
            "c1 lock 0..1 true",
            "c1 unlock 2..? unknown",
            "c1 lock 3..4 true",
            "c1 lock 5..6 true",
        ];
        check(&history(&calls), &FinalState::default()).expect_err("a violation");
    }
}
