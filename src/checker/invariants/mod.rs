//! What must hold after every scenario: one invariant per file.
//!
//! Each invariant is weaker than [`linearizability`] and checks one property, so a violation names
//! the kind of bug. They also check the final state, which is part of no answer.

pub mod at_most_once;
pub mod mutual_exclusion;
pub mod no_acknowledged_operation_lost;
pub mod replicas_agree;

use std::collections::BTreeMap;
use std::fmt;

use super::history::{History, Operation};
use super::linearizability;
use crate::service::ServerStatus;
use crate::types::LockName;

/// The final state: all calls have been answered or given up, and none is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinalState {
    /// Whether each inspected lock is held.
    pub held: BTreeMap<LockName, bool>,
    /// The statuses of the servers that were asked.
    pub servers: Vec<ServerStatus>,
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant: the name of its module.
    pub invariant: &'static str,
    /// The lock, if it is about one.
    pub name: Option<LockName>,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The calls that show it.
    pub calls: Vec<Operation>,
}

impl Violation {
    fn of_calls(invariant: &'static str, what: String, calls: &[&Operation]) -> Self {
        Self {
            invariant,
            name: calls.first().map(|call| call.name.clone()),
            what,
            calls: calls.iter().map(|&call| call.clone()).collect(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken", self.invariant)?;
        if let Some(name) = &self.name {
            write!(f, " for {name:?}")?;
        }
        write!(f, ": {}", self.what)?;
        self.calls
            .iter()
            .try_for_each(|call| write!(f, "\n    {call}"))
    }
}

impl std::error::Error for Violation {}

/// Checks every invariant, and that the history is linearizable.
///
/// # Errors
///
/// The first [`Violation`] found.
///
/// # Examples
///
/// ```
/// use lockservice::testkit::{History, invariants};
///
/// let history: History = "c1 lock 0..1 true jobs\nc1 unlock 2..3 true jobs\n".parse()?;
/// let mut end = invariants::FinalState::default();
/// end.held.insert("jobs".parse()?, false);
/// invariants::check_all(&history, &end)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_all(history: &History, end: &FinalState) -> Result<(), Violation> {
    mutual_exclusion::check(history)?;
    at_most_once::check(history, end)?;
    no_acknowledged_operation_lost::check(history, end)?;
    replicas_agree::check(&end.servers)?;
    linearizability::check(history).map_err(|inexplicable| Violation {
        invariant: "linearizability",
        name: Some(inexplicable.call.name.clone()),
        what: format!(
            "no order of these calls explains the answer to {}",
            inexplicable.call
        ),
        calls: inexplicable.around,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::support::ends_held;
    use super::*;
    use crate::checker::history::simulated::from_a_real_lock;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_lock_that_is_right_breaks_no_invariant(
            clients in 1_u32..10, calls in 1_u32..300, seed: u64
        ) {
            let (operations, held) = from_a_real_lock(clients, calls, seed);
            let history = operations.into_iter().collect();
            if let Err(violation) = check_all(&history, &ends_held(held)) {
                panic!("{violation}\n{history}");
            }
        }
    }
}

#[cfg(test)]
mod support {
    use super::{FinalState, History};

    /// Calls of a lock `x`, written without its name.
    pub(super) fn history(calls: &[&str]) -> History {
        let calls: Vec<_> = calls.iter().map(|call| format!("{call} x")).collect();
        calls.join("\n").parse().expect("a history")
    }

    pub(super) fn ends_held(held: bool) -> FinalState {
        let mut end = FinalState::default();
        end.held.insert("x".parse().expect("a name"), held);
        end
    }
}
