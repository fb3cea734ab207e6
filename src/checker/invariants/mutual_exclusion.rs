//! No lock is granted again before it can have been released.

use super::Violation;
use crate::checker::history::{History, Moment, Operation};
use crate::service::Verb;

/// Checks that between two successive grants of a lock there can have been an unlock.
///
/// # Errors
///
/// A [`Violation`] that shows two grants with nothing between them.
pub fn check(history: &History) -> Result<(), Violation> {
    history
        .by_name()
        .values()
        .try_for_each(|operations| check_lock(operations))
}

fn check_lock(operations: &[&Operation]) -> Result<(), Violation> {
    let grants = Grants::new(operations);
    let releases = Releases::new(operations);
    for &grant in operations {
        let Some(answered) = granted(grant) else {
            continue;
        };
        if let Some(earlier) = grants.last_over_before(grant.called)
            && !releases.any_between(earlier.called, answered)
        {
            return Err(Violation::of_calls(
                "mutual_exclusion",
                "granted twice, and nobody can have unlocked it in between".to_owned(),
                &[earlier, grant],
            ));
        }
    }
    Ok(())
}

/// When a grant was answered; None if the call is no grant.
fn granted(operation: &Operation) -> Option<Moment> {
    let granted = operation.verb == Verb::Lock && operation.result() == Some(true);
    operation.answered().filter(|_| granted)
}

/// The grants in the order of their answers; each with the one that was called last of all up to
/// it.
struct Grants<'a>(Vec<(Moment, &'a Operation)>);

impl<'a> Grants<'a> {
    fn new(operations: &[&'a Operation]) -> Self {
        let mut grants: Vec<_> = operations
            .iter()
            .filter_map(|&operation| Some((granted(operation)?, operation)))
            .collect();
        grants.sort_by_key(|&(answered, _)| answered);
        for index in 1..grants.len() {
            if grants[index - 1].1.called > grants[index].1.called {
                grants[index].1 = grants[index - 1].1;
            }
        }
        Self(grants)
    }

    /// Of the grants that were answered before `moment`, the one called last: it leaves the least
    /// time for an unlock.
    fn last_over_before(&self, moment: Moment) -> Option<&'a Operation> {
        let over = self.0.partition_point(|&(answered, _)| answered < moment);
        Some(self.0[..over].last()?.1)
    }
}

/// The unlocks that can have happened, in the order of their calls; each with the latest end of all
/// up to it, None for never.
struct Releases(Vec<(Moment, Option<Moment>)>);

impl Releases {
    fn new(operations: &[&Operation]) -> Self {
        let mut latest = Some(Moment::START);
        let unlocks = operations
            .iter()
            .filter(|operation| operation.verb == Verb::Unlock && operation.may_have_changed());
        Self(
            unlocks
                .map(|unlock| {
                    latest = latest
                        .zip(unlock.answered())
                        .map(|(latest, answered)| latest.max(answered));
                    (unlock.called, latest)
                })
                .collect(),
        )
    }

    /// Whether one was called before `end` and can have happened after `start`.
    fn any_between(&self, start: Moment, end: Moment) -> bool {
        let called = self.0.partition_point(|&(called, _)| called < end);
        called > 0 && self.0[called - 1].1.is_none_or(|latest| latest > start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::history;
    use super::*;

    #[test]
    fn two_grants_with_nothing_between_them_are_caught() {
        let calls = ["c1 lock 0..1 true", "c2 lock 2..3 true"];
        let violation = check(&history(&calls)).expect_err("granted twice");
        assert_eq!(
            violation.to_string(),
            "mutual_exclusion is broken for \"x\": granted twice, and nobody can have unlocked it in \
             between\n    c1 lock 0..1 true x\n    c2 lock 2..3 true x"
        );
    }

    #[test]
    fn an_unlock_before_the_first_or_after_the_second_grant_does_not_help() {
        for calls in [
            [
                "c3 unlock 0..1 true",
                "c1 lock 2..3 true",
                "c2 lock 4..5 true",
            ],
            [
                "c1 lock 0..1 true",
                "c2 lock 2..3 true",
                "c3 unlock 4..5 true",
            ],
            [
                "c1 lock 0..1 true",
                "c3 unlock 2..3 false",
                "c2 lock 4..5 true",
            ],
            [
                "c1 lock 0..1 true",
                "c2 lock 2..3 true",
                "c3 unlock 4..? unknown",
            ],
        ] {
            assert!(check(&history(&calls)).is_err(), "{calls:?}");
        }
    }

    #[test]
    fn an_unlock_that_can_have_come_between_is_enough() {
        for calls in [
            [
                "c1 lock 0..1 true",
                "c3 unlock 2..3 true",
                "c2 lock 4..5 true",
            ],
            [
                "c1 lock 0..3 true",
                "c3 unlock 1..2 true",
                "c2 lock 4..5 true",
            ],
            [
                "c1 lock 0..1 true",
                "c2 lock 2..5 true",
                "c3 unlock 3..4 true",
            ],
            [
                "c3 unlock 0..? unknown",
                "c1 lock 1..2 true",
                "c2 lock 3..4 true",
            ],
        ] {
            check(&history(&calls)).expect("it may have been released");
        }
    }

    #[test]
    fn a_grant_that_took_long_does_not_hide_a_later_one() {
        let calls = [
            "c3 unlock 0..3 true",
            "c1 lock 1..9 true",
            "c2 lock 5..6 true",
            "c4 lock 10..11 true",
        ];
        let violation = check(&history(&calls)).expect_err("c2's and c4's");
        assert_eq!(violation.calls[0].client, 2);
    }
}
