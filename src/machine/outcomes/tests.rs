use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Raises `first_incomplete` and stores, as a call does.
fn put(outcomes: &mut Outcomes, seq: u64, first_incomplete: u64) {
    outcomes.forget_below(Seq(first_incomplete), |_, _| {});
    outcomes.store(Seq(seq), true);
}

#[test]
fn there_is_room_for_a_window_of_outcomes_and_no_more() {
    let mut outcomes = Outcomes::new();
    for seq in (4..CALL_WINDOW).step_by(3) {
        put(&mut outcomes, seq, 0);
        assert!(outcomes.words.capacity() <= MOST_WORDS);
    }
    for first_incomplete in [7, 10 * CALL_WINDOW] {
        put(
            &mut outcomes,
            first_incomplete + CALL_WINDOW - 1,
            first_incomplete,
        );
        assert!(outcomes.words.capacity() <= MOST_WORDS);
    }
}

#[test]
fn a_full_window_takes_a_kilobyte_of_memory_and_of_the_wire() {
    let mut outcomes = Outcomes::new();
    for seq in 0..CALL_WINDOW {
        outcomes.store(Seq(31 + seq), seq % 2 == 0);
        outcomes.forget_below(Seq(31), |_, _| {});
    }
    assert!(outcomes.words.capacity() * size_of::<u64>() <= 1_032);
    let wire = postcard::to_stdvec(&outcomes).expect("it encodes");
    assert!(wire.len() <= outcomes.encoded_bytes() && wire.len() < 1_350);
}

#[test]
fn room_for_outcomes_that_are_forgotten_is_given_back() {
    let mut outcomes = Outcomes::new();
    put(&mut outcomes, CALL_WINDOW - 1, 0);
    put(&mut outcomes, CALL_WINDOW, CALL_WINDOW);
    assert!(outcomes.words.capacity() <= SMALL);
    assert_eq!(outcomes.iter().count(), 1);
}

#[test]
fn every_forgotten_outcome_is_named_once() {
    let mut outcomes = Outcomes::new();
    for seq in [0, 1, 3, 6, 40] {
        put(&mut outcomes, seq, 0);
    }
    let mut forgotten = Vec::new();
    for first_incomplete in [2, 1, 4, 39, 100, 50] {
        outcomes.forget_below(Seq(first_incomplete), |seq, _| forgotten.push(seq.0));
    }
    assert_eq!(forgotten, [0, 1, 3, 6, 40]);
    assert_eq!(outcomes.first_incomplete(), Seq(100));
    assert_eq!(outcomes.iter().count(), 0);
}

#[test]
fn impossible_outcomes_are_not_sound() {
    let sound = |first_incomplete, words: &[u64]| {
        let words = words.iter().copied().collect();
        let first_incomplete = Seq(first_incomplete);
        Outcomes {
            first_incomplete,
            words,
        }
        .are_sound()
    };
    let full = [u64::MAX; MOST_WORDS];
    assert!(sound(0, &[]) && sound(u64::MAX, &[]));
    assert!(sound(0, &[0, THERE]) && sound(5, &[THERE << 10]));
    assert!(sound(0, &full[1..]) && sound(u64::MAX, &[]));
    assert!(!sound(0, &[THERE, 0]), "nothing in the last word");
    assert!(!sound(6, &[THERE << 10]), "one below `first_incomplete`");
    assert!(!sound(0, &[GRANTED]), "one that is not there");
    assert!(!sound(0, &full), "more than a window");
    assert!(!sound(u64::MAX - 9, &[THERE << 62]), "the last number");
    assert!(sound(u64::MAX - 9, &[THERE << 60]));
    assert!(!sound(u64::MAX - 9, &[0, THERE]), "beyond the last number");
}

/// A step of a client near `start`: how far its call is ahead, and how far its `first_incomplete`
/// rises.
fn steps() -> impl Strategy<Value = (u64, Vec<(u64, u64, bool)>)> {
    let start = prop_oneof![Just(0), 20..70_u64, Just(u64::MAX - 150)];
    let ahead = prop_oneof![0..3_u64, 0..100_u64];
    let rise = prop_oneof![Just(0), 0..3_u64, 0..80_u64];
    (start, vec((ahead, rise, any::<bool>()), 0..40))
}

proptest! {
    #[test]
    fn properties_of_packed_outcomes_are_those_of_a_map((start, steps) in steps()) {
        let mut outcomes = Outcomes::new();
        outcomes.forget_below(Seq(start), |_, _| {});
        let mut map = BTreeMap::new();
        let mut first_incomplete = start;
        for (ahead, rise, outcome) in steps {
            first_incomplete = first_incomplete.saturating_add(rise);
            let mut forgotten = Vec::new();
            outcomes.forget_below(Seq(first_incomplete), |seq, outcome| forgotten.push((seq, outcome)));
            let kept = map.split_off(&Seq(first_incomplete));
            let lost = std::mem::replace(&mut map, kept);
            prop_assert_eq!(forgotten, lost.into_iter().collect::<Vec<_>>());

            let seq = Seq(first_incomplete.saturating_add(ahead).min(u64::MAX - 1));
            if seq.0 >= first_incomplete && !map.contains_key(&seq) {
                map.insert(seq, outcome);
                outcomes.store(seq, outcome);
            }
            prop_assert!(outcomes.are_sound());
            prop_assert_eq!(outcomes.find(seq), map.get(&seq).copied());
            let all: Vec<_> = map.iter().map(|(seq, outcome)| (*seq, *outcome)).collect();
            prop_assert_eq!(outcomes.iter().collect::<Vec<_>>(), all);
            let next = map.keys().last().map_or(Seq(first_incomplete), |seq| seq.next());
            prop_assert_eq!(outcomes.next_seq(), next);
            let wire = postcard::to_stdvec(&outcomes).expect("it encodes");
            prop_assert_eq!(postcard::from_bytes(&wire), Ok(outcomes.clone()));
        }
    }
}
