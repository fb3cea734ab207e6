//! Checks a history that is too long to keep, one round at a time.
//!
//! A round is over when each of its calls has been answered or given up. Later rounds depend only
//! on whether each lock is held, and on how many calls were given up that can still take effect: a
//! few bytes per lock, however long the history is.

use std::collections::BTreeMap;
use std::fmt;

use super::history::{History, Moment, Operation, Outcome};
use super::invariants::{FinalState, Violation, check_all};
use super::linearizability::{Known, check_lock};
use crate::service::Verb;
use crate::types::LockName;

/// The client, in the history of a [`ViolationReport`], of the calls that summarise earlier rounds.
const EARLIER: u32 = 0;

/// Checks a history that is too long to keep, one round at a time. At first, every lock is free.
///
/// A round is a part of the history, taken with [`Recorder::take`](super::history::Recorder::take)
/// while no call was under way.
///
/// # Examples
///
/// ```
/// use lockservice::testkit::HistoryChecker;
///
/// let mut checker = HistoryChecker::default();
/// checker.judge(&"c1 lock 0..1 true jobs".parse()?)?;
/// let granted_twice = checker.judge(&"c2 lock 2..3 true jobs".parse()?);
/// assert!(granted_twice.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct HistoryChecker {
    /// The locks that are held, or that a call which was given up can still change.
    known: BTreeMap<LockName, Known>,
}

/// An answer that no correct lock service can have given.
///
/// Its text form is a history, with comments that say what is wrong.
#[derive(Debug)]
pub struct ViolationReport {
    /// What is wrong.
    pub violation: Violation,
    /// The calls of that lock in this round, after calls that summarise the earlier rounds: a
    /// history that can be checked by itself.
    pub history: History,
}

impl HistoryChecker {
    /// Checks the next round. None of its calls overlaps with a call of another round.
    ///
    /// # Errors
    ///
    /// [`ViolationReport`] when an answer cannot be explained. Later results mean nothing then.
    pub fn judge(&mut self, round: &History) -> Result<(), Box<ViolationReport>> {
        for (name, operations) in round.by_name() {
            let before = self.known.remove(name).unwrap_or_default();
            let Ok(known) = check_lock(&operations, before) else {
                return Err(Box::new(ViolationReport::of(name, before, &operations)));
            };
            if known != Known::default() {
                self.known.insert(name.clone(), known);
            }
        }
        Ok(())
    }
}

impl ViolationReport {
    /// Names the simplest invariant that `operations` violate.
    fn of(name: &LockName, before: Known, operations: &[&Operation]) -> Self {
        let round = operations.iter().map(|&operation| operation.clone());
        let history: History = earlier(name, before).chain(round).collect();
        let violation = check_all(&history, &FinalState::default())
            .expect_err("standing for earlier calls, these say the same as they do");
        Self { violation, history }
    }
}

/// Calls that bring `name` into the state `known`.
fn earlier(name: &LockName, known: Known) -> impl Iterator<Item = Operation> {
    let call = move |verb, outcome| Operation {
        client: EARLIER,
        verb,
        name: name.clone(),
        called: Moment::START,
        outcome,
    };
    let granted = Outcome::Answered {
        result: true,
        at: Moment::START,
    };
    let calls = [
        (u32::from(known.held), Verb::Lock, granted),
        (known.unanswered_locks, Verb::Lock, Outcome::Unknown),
        (known.unanswered_unlocks, Verb::Unlock, Outcome::Unknown),
    ];
    calls
        .into_iter()
        .flat_map(move |(times, verb, outcome)| (0..times).map(move |_| call(verb, outcome)))
}

impl std::error::Error for ViolationReport {}

impl fmt::Display for ViolationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.violation.to_string().lines() {
            writeln!(f, "# {line}")?;
        }
        writeln!(f, "#")?;
        writeln!(f, "# c{EARLIER} stands for all that was before.")?;
        self.history.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checker::history::simulated::from_a_real_lock;
    use crate::checker::linearizability::check;

    fn history(calls: &[&str]) -> History {
        calls.join("\n").parse().expect("a history")
    }

    #[test]
    fn what_an_earlier_round_left_counts_in_a_later_one() {
        let mut checker = HistoryChecker::default();
        let first = history(&["c1 lock 1..2 true x", "c1 unlock 3..? unknown x"]);
        checker.judge(&first).expect("it is right");
        checker
            .judge(&history(&["c2 lock 4..5 false x", "c2 lock 6..7 true x"]))
            .expect("the unlock took effect between the two");
        let report = checker
            .judge(&history(&["c3 lock 8..9 true x"]))
            .expect_err("it took effect already");
        assert_eq!(report.violation.invariant, "mutual_exclusion");
        assert_eq!(report.history.operations().len(), 2);
    }

    #[test]
    fn what_is_told_of_an_offence_can_be_judged_again() {
        let mut checker = HistoryChecker::default();
        let calls = [
            "c1 lock 1..2 true x",
            "c1 lock 3..4 true y",
            "c2 unlock 5..? unknown x",
        ];
        checker.judge(&history(&calls)).expect("it is right");
        let calls = ["c1 lock 6..7 true x", "c2 lock 8..9 true x"];
        let report = checker.judge(&history(&calls)).expect_err("twice");
        let text = report.to_string();
        assert!(text.starts_with("# at_most_once is broken for \"x\""));
        let told: History = text.parse().expect("a history");
        assert_eq!(told, report.history);
        check(&told).expect_err("a violation");
    }

    #[test]
    fn a_lock_that_is_free_again_takes_no_memory() {
        let mut checker = HistoryChecker::default();
        let calls = ["c1 lock 1..2 true x", "c1 lock 3..4 true y"];
        checker.judge(&history(&calls)).expect("it is right");
        assert_eq!(checker.known.len(), 2);
        checker
            .judge(&history(&["c1 unlock 5..6 true x"]))
            .expect("it is right");
        assert_eq!(checker.known.len(), 1);
    }

    /// Cuts a history wherever no call is under way that will be answered.
    fn rounds(operations: Vec<Operation>) -> Vec<History> {
        let mut rounds: Vec<Vec<Operation>> = Vec::new();
        let mut last_answer = Moment::START;
        for operation in operations {
            if operation.called > last_answer || rounds.is_empty() {
                rounds.push(Vec::new());
            }
            last_answer = last_answer.max(operation.answered().unwrap_or(last_answer));
            rounds.last_mut().expect("there is one").push(operation);
        }
        rounds
            .into_iter()
            .map(|round| round.into_iter().collect())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn rounds_are_judged_as_the_whole_history_is(
            clients in 1_u32..4, calls in 1_u32..120, seed: u64,
            wrong in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let (mut operations, _) = from_a_real_lock(clients, calls, seed);
            operations.sort_by_key(|operation| operation.called);
            if let Some(wrong) = wrong {
                let at = wrong.index(operations.len());
                if let Outcome::Answered { result, .. } = &mut operations[at].outcome {
                    *result = !*result;
                }
            }
            let whole = check(&operations.iter().cloned().collect());
            let mut checker = HistoryChecker::default();
            let parts = rounds(operations)
                .iter()
                .try_for_each(|round| checker.judge(round));
            prop_assert_eq!(parts.is_ok(), whole.is_ok());
        }
    }
}
