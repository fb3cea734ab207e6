//! The last acknowledged operation on a lock decides its final state.

use super::{FinalState, Violation};
use crate::checker::history::{History, Operation};
use crate::service::Verb;

/// Checks that each lock ends in the state of its last answer, unless a later call can have changed
/// it.
///
/// Every answer is an acknowledgement: a `lock` that returned `false` left the lock held.
///
/// # Errors
///
/// A [`Violation`] that shows the answer that is lost.
pub fn check(history: &History, end: &FinalState) -> Result<(), Violation> {
    for (name, operations) in history.by_name() {
        if let Some(&held) = end.held.get(name) {
            check_lock(&operations, held)?;
        }
    }
    Ok(())
}

fn check_lock(operations: &[&Operation], held: bool) -> Result<(), Violation> {
    let (changes, denies) = if held {
        (Verb::Lock, Verb::Unlock)
    } else {
        (Verb::Unlock, Verb::Lock)
    };
    let denial = operations
        .iter()
        .copied()
        .filter(|operation| operation.verb == denies && operation.result().is_some())
        .max_by_key(|operation| operation.called);
    let Some(denial) = denial else {
        return Ok(());
    };
    let may_have_changed_later = operations.iter().any(|operation| {
        operation.verb == changes
            && operation.may_have_changed()
            && operation.may_be_after(denial.called)
    });
    if may_have_changed_later {
        return Ok(());
    }
    let end = if held { "held" } else { "free" };
    Err(Violation::of_calls(
        "no_acknowledged_operation_lost",
        format!("in the end it is {end}, and nothing can have made it so after this call"),
        &[denial],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::support::{ends_held, history};
    use super::*;

    #[test]
    fn a_lost_grant_is_caught_and_so_is_a_lost_release() {
        let locked = history(&["c1 lock 0..1 true"]);
        check(&locked, &ends_held(true)).expect("it is held");
        check(&locked, &ends_held(false)).expect_err("a violation");

        let unlocked = history(&["c1 lock 0..1 true", "c1 unlock 2..3 true"]);
        check(&unlocked, &ends_held(false)).expect("it is free");
        let violation = check(&unlocked, &ends_held(true)).expect_err("it was released");
        assert_eq!(violation.calls[0].verb, Verb::Unlock);
    }

    #[test]
    fn a_refused_call_is_an_acknowledgement_too() {
        let refused = history(&[
            "c1 lock 0..1 true",
            "c1 unlock 2..3 true",
            "c3 lock 4..? unknown",
            "c2 lock 5..6 false",
        ]);
        check(&refused, &ends_held(true)).expect("c3 holds it");
        check(&refused, &ends_held(false)).expect_err("a violation");
    }

    #[test]
    fn a_call_under_way_or_without_an_answer_may_have_changed_it() {
        let crossing = history(&["c1 lock 0..3 true", "c2 unlock 1..2 true"]);
        check(&crossing, &ends_held(false)).expect("locked, unlocked");
        let unanswered = history(&["c2 unlock 0..? unknown", "c1 lock 1..2 true"]);
        check(&unanswered, &ends_held(false)).expect("unlocked later");
    }

    #[test]
    fn nothing_is_said_of_a_lock_whose_end_is_not_known() {
        check(&history(&["c1 lock 0..1 true"]), &FinalState::default()).expect("not known");
    }
}
