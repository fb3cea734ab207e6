//! Hand-made histories, good and bad, and the checker against brute force.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::checker::history::Outcome;
use crate::checker::history::simulated::{from_a_real_lock, moment};
use crate::service::Verb;

/// Judges calls of one lock, written without its name.
fn judge(calls: &[&str]) -> Result<(), Inexplicable> {
    let calls: Vec<_> = calls.iter().map(|call| format!("{call} x")).collect();
    check(&calls.join("\n").parse().expect("a history"))
}

#[track_caller]
fn good(calls: &[&str]) {
    if let Err(inexplicable) = judge(calls) {
        panic!("{inexplicable}");
    }
}

/// Asserts that the history is wrong, and that the blame is put on the call `blamed`.
#[track_caller]
fn bad(calls: &[&str], blamed: usize) {
    let inexplicable = judge(calls).expect_err("no order explains it");
    assert_eq!(
        inexplicable.call.to_string(),
        format!("{} x", calls[blamed])
    );
}

#[test]
fn one_client_after_the_other_is_the_sequential_lock() {
    good(&[]);
    good(&["c1 lock 0..1 true", "c1 lock 2..3 false"]);
    good(&["c1 unlock 0..1 false", "c1 lock 2..3 true"]);
    good(&[
        "c1 lock 0..1 true",
        "c2 unlock 2..3 true",
        "c2 unlock 4..5 false",
        "c1 lock 6..7 true",
    ]);
    bad(&["c1 lock 0..1 false"], 0);
    bad(&["c1 unlock 0..1 true"], 0);
    bad(&["c1 lock 0..1 true", "c1 unlock 2..3 false"], 1);
}

#[test]
fn a_lock_granted_twice_is_seen() {
    bad(&["c1 lock 0..1 true", "c2 lock 2..3 true"], 1);
    bad(&["c1 lock 0..3 true", "c2 lock 1..2 true"], 0);
    good(&[
        "c1 lock 0..5 true",
        "c2 lock 1..4 true",
        "c3 unlock 2..3 true",
    ]);
    bad(
        &[
            "c1 lock 0..1 true",
            "c3 unlock 2..3 true",
            "c2 lock 4..7 true",
            "c4 lock 5..6 true",
        ],
        2,
    );
}

#[test]
fn a_lost_unlock_is_seen() {
    bad(
        &[
            "c1 lock 0..1 true",
            "c1 unlock 2..3 true",
            "c2 lock 4..5 false",
        ],
        2,
    );
}

#[test]
fn an_answer_false_is_evidence() {
    // Somebody must have held it between 4 and 5, and nobody can have.
    bad(
        &[
            "c1 lock 0..1 true",
            "c1 unlock 2..3 true",
            "c2 lock 4..5 false",
            "c3 lock 6..7 true",
        ],
        2,
    );
    good(&[
        "c1 lock 0..1 true",
        "c1 unlock 2..6 true",
        "c2 lock 4..5 false",
        "c3 lock 7..8 true",
    ]);
    // The two `false` need free, then held, then free again, in the time of one lock and no unlock.
    bad(
        &[
            "c1 lock 0..9 true",
            "c2 unlock 1..2 false",
            "c2 lock 3..4 false",
            "c2 unlock 5..6 false",
        ],
        3,
    );
}

#[test]
fn a_call_without_an_answer_may_explain_one_thing_at_any_later_time_or_nothing() {
    good(&["c1 lock 0..? unknown"]);
    good(&["c1 lock 0..? unknown", "c2 lock 5..6 true"]);
    good(&["c1 lock 0..? unknown", "c2 lock 5..6 false"]);
    good(&[
        "c1 lock 0..1 true",
        "c1 unlock 2..? unknown",
        "c2 lock 3..4 false",
        "c2 lock 5..6 true",
    ]);
    // It happens once at the most, and not before it has started.
    bad(
        &[
            "c1 lock 0..1 true",
            "c1 unlock 2..? unknown",
            "c2 lock 3..4 true",
            "c3 lock 5..6 true",
        ],
        3,
    );
    bad(&["c2 lock 0..1 false", "c1 lock 2..? unknown"], 0);
}

#[test]
fn an_unanswered_call_is_spared_while_an_answered_one_explains_as_much() {
    good(&[
        "c1 lock 0..1 true",
        "c2 unlock 2..? unknown",
        "c3 unlock 3..6 true",
        "c4 lock 4..5 true",
        "c5 lock 7..8 true",
    ]);
}

#[test]
fn locks_are_judged_apart() {
    let history: History = "c1 lock 0..1 true a\nc2 lock 2..3 true b\nc3 lock 4..5 true b"
        .parse()
        .expect("a history");
    let inexplicable = check(&history).expect_err("b was granted twice");
    assert_eq!(inexplicable.call.name.as_str(), "b");
    assert_eq!(inexplicable.around.len(), 2);
}

#[test]
fn planted_bugs_of_a_pair_are_caught() {
    // No records: c1's lock was executed, its reply lost, and executed again by the next primary.
    bad(&["c1 lock 0..5 false", "c2 lock 6..7 false"], 0);
    // Forwards out of order: the backup took the unlock first, and after the failover it is held.
    bad(
        &[
            "c1 lock 0..3 true",
            "c2 unlock 1..4 true",
            "c3 lock 5..6 false",
        ],
        2,
    );
    // A stale answer of a server that woke up: c1's unlock at the new primary is not in it.
    bad(
        &[
            "c1 lock 0..1 true",
            "c1 unlock 2..3 true",
            "c3 lock 4..7 true",
            "c3 unlock 8..9 true",
            "c2 lock 10..11 false",
        ],
        4,
    );
    // A reply before the backup had the command: the next primary never heard of c1's lock.
    bad(
        &[
            "c1 lock 0..1 true",
            "c2 lock 2..3 true",
            "c1 unlock 4..5 true",
        ],
        1,
    );
}

#[test]
fn an_excerpt_shows_what_matters_and_no_more() {
    let mut calls = Vec::new();
    for round in 0..50 {
        calls.push(format!("c1 lock {}..{} true", round * 4, round * 4 + 1));
        calls.push(format!(
            "c1 unlock {}..{} true",
            round * 4 + 2,
            round * 4 + 3
        ));
    }
    calls.push("c1 lock 200..201 true".to_owned());
    calls.push("c3 lock 202..205 false".to_owned());
    calls.push("c2 lock 203..204 true".to_owned());
    let calls: Vec<_> = calls.iter().map(String::as_str).collect();
    assert_eq!(
        judge(&calls).expect_err("it was held").to_string(),
        "no order of the calls of \"x\" explains\n    c2 lock 203..204 true x\n\
         which came in the middle of\n    c1 lock 200..201 true x\n    \
         c3 lock 202..205 false x\n    c2 lock 203..204 true x"
    );
}

#[test]
fn long_histories_of_many_clients_are_judged_quickly() {
    for clients in [8, 32, 1_000] {
        let (operations, _) = from_a_real_lock(clients, 60_000, 1);
        let start = Instant::now();
        check(&operations.iter().cloned().collect()).expect("the lock is a real one");

        // Taken again and again until no lost unlock is left that explains it.
        let stolen = (0..2_000).map(|n| Operation {
            client: clients,
            verb: Verb::Lock,
            name: "x".parse().expect("a name"),
            called: moment(1_000_000 + 2 * n),
            outcome: Outcome::Answered {
                result: true,
                at: moment(1_000_001 + 2 * n),
            },
        });
        let wrong: History = operations.iter().cloned().chain(stolen).collect();
        let inexplicable = check(&wrong).expect_err("it was taken twice");
        assert_eq!(inexplicable.call.client, clients);
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

/// Tries every order.
fn brute_force(operations: &[Operation]) -> bool {
    fn explains(operations: &[Operation], placed: u32, held: bool) -> bool {
        let left = |index: &usize| placed & (1 << index) == 0;
        let todo: Vec<usize> = (0..operations.len()).filter(left).collect();
        let due = |&index: &usize| operations[index].answered().is_some();
        if !todo.iter().any(due) {
            return true;
        }
        todo.iter().any(|&next| {
            let operation = &operations[next];
            let overtakes = todo
                .iter()
                .any(|&other| operations[other].is_over_before(operation));
            let changes = (operation.verb == Verb::Lock) != held;
            let right = operation.result().is_none_or(|result| result == changes);
            !overtakes && right && explains(operations, placed | 1 << next, held ^ changes)
        })
    }
    explains(operations, 0, false)
}

/// A few calls at random, with random answers.
fn any_calls() -> impl Strategy<Value = Vec<Operation>> {
    let call = (any::<bool>(), any::<bool>(), 0_u64..16, 1_u64..10, 0..5);
    prop::collection::vec(call, 0..8).prop_map(|calls| {
        let calls = calls.into_iter().enumerate();
        calls
            .map(|(index, (lock, result, start, length, fate))| Operation {
                client: u32::try_from(index).expect("a few"),
                verb: if lock { Verb::Lock } else { Verb::Unlock },
                name: "x".parse().expect("a name"),
                // All moments differ.
                called: moment(start * 32 + index as u64),
                outcome: if fate == 0 {
                    Outcome::Unknown
                } else {
                    Outcome::Answered {
                        result,
                        at: moment((start + length) * 32 + 16 + index as u64),
                    }
                },
            })
            .collect()
    })
}

/// A few calls of a real lock, one of them perhaps answered wrongly.
fn nearly_right_calls() -> impl Strategy<Value = Vec<Operation>> {
    (
        2_u32..6,
        3_u32..11,
        any::<u64>(),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(clients, calls, seed, which, wrong)| {
            let (mut operations, _) = from_a_real_lock(clients, calls, seed);
            let which = which.index(operations.len());
            if let (true, Outcome::Answered { result, .. }) =
                (wrong, &mut operations[which].outcome)
            {
                *result = !*result;
            }
            operations
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_checker_agrees_with_brute_force(
        operations in prop_oneof![any_calls(), nearly_right_calls()]
    ) {
        let history: History = operations.iter().cloned().collect();
        prop_assert_eq!(check(&history).is_ok(), brute_force(&operations), "{}", history);
    }
}
