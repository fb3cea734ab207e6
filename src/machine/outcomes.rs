//! The outcomes of one client's calls, in two bits each: a client that fills its window costs a
//! kilobyte.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::config::CALL_WINDOW;
use crate::types::Seq;

/// The number of outcomes in a word.
const PER_WORD: u64 = 32;

/// The bits of an outcome: that there is one, and its value. Both are clear if there is none.
const THERE: u64 = 0b10;
const GRANTED: u64 = 0b01;

/// The word in which every outcome is `GRANTED`, without being `THERE`.
const ALL_GRANTED: u64 = u64::MAX / 3;

/// The unused capacity that is kept, in words; more is freed.
const SMALL: usize = 4;

/// The most words that a window touches.
const MOST_WORDS: usize = (CALL_WINDOW / PER_WORD) as usize + 1;

/// The outcomes of calls from `first_incomplete` on. A call may have none although a later one has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Outcomes {
    first_incomplete: Seq,
    /// The first word is that of `first_incomplete`, and the last one has an outcome. A word does
    /// not depend on the words before it, so none is rewritten when `first_incomplete` rises.
    words: VecDeque<u64>,
}

impl Outcomes {
    pub(super) const fn new() -> Self {
        Self {
            first_incomplete: Seq(0),
            words: VecDeque::new(),
        }
    }

    pub(super) const fn first_incomplete(&self) -> Seq {
        self.first_incomplete
    }

    /// One above the highest call that has an outcome.
    pub(super) fn next_seq(&self) -> Seq {
        let Some(last) = self.words.back() else {
            return self.first_incomplete;
        };
        let word = word_of(self.first_incomplete) + self.words.len() as u64 - 1;
        let slot = u64::from(last.leading_zeros()) / 2;
        Seq(word * PER_WORD + (PER_WORD - slot))
    }

    pub(super) fn find(&self, seq: Seq) -> Option<bool> {
        let word = self.words.get(self.index(seq)?)?;
        outcome_in(*word, slot_of(seq))
    }

    /// Each call that has an outcome, with that outcome.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Seq, bool)> {
        (self.first_incomplete.0..self.next_seq().0)
            .filter_map(|seq| self.find(Seq(seq)).map(|outcome| (Seq(seq), outcome)))
    }

    /// Inserts the outcome of a call in the window that has none yet.
    pub(super) fn store(&mut self, seq: Seq, outcome: bool) {
        let index = self.index(seq).expect("a fresh call is in the window");
        if index >= self.words.len() {
            self.make_room(index + 1);
            self.words.resize(index + 1, 0);
        }
        let bits = THERE | if outcome { GRANTED } else { 0 };
        self.words[index] |= bits << (2 * slot_of(seq));
    }

    /// Raises `first_incomplete` if the new value is higher, and returns each outcome that is
    /// forgotten.
    pub(super) fn forget_below(
        &mut self,
        first_incomplete: Seq,
        mut forgotten: impl FnMut(Seq, bool),
    ) {
        if first_incomplete <= self.first_incomplete {
            return;
        }
        self.iter()
            .take_while(|(seq, _)| *seq < first_incomplete)
            .for_each(|(seq, outcome)| forgotten(seq, outcome));
        if first_incomplete >= self.next_seq() {
            self.words.clear();
        } else if let Some(passed) = self.index(first_incomplete) {
            self.words.drain(..passed);
        }
        self.first_incomplete = first_incomplete;
        if let Some(first) = self.words.front_mut() {
            *first &= u64::MAX << (2 * slot_of(first_incomplete));
        }
        self.give_room_back();
    }

    /// Whether a machine could have produced them.
    pub(super) fn are_sound(&self) -> bool {
        let few = self.words.len() <= MOST_WORDS;
        let last = word_of(self.first_incomplete).checked_add(self.words.len() as u64);
        let in_reach = last.is_some_and(|last| last <= word_of(Seq(u64::MAX)) + 1);
        few && in_reach && self.words_are_sound() && self.are_in_the_window()
    }

    fn words_are_sound(&self) -> bool {
        let begun = self.words.front().is_none_or(|first| {
            let below = !(u64::MAX << (2 * slot_of(self.first_incomplete)));
            first & below == 0
        });
        let whole = |word: &u64| word & ALL_GRANTED & !(word >> 1) == 0;
        begun && self.words.back() != Some(&0) && self.words.iter().all(whole)
    }

    fn are_in_the_window(&self) -> bool {
        // The last possible call has no successor, and is never executed.
        self.find(Seq(u64::MAX)).is_none()
            && self.next_seq().0 - self.first_incomplete.0 <= CALL_WINDOW
    }

    /// An upper bound of their size on the wire, in bytes.
    pub(super) fn encoded_bytes(&self) -> usize {
        const NUMBER: usize = 10;
        NUMBER * (2 + self.words.len())
    }

    /// The index of the word of `seq`; none if it is below the first one.
    fn index(&self, seq: Seq) -> Option<usize> {
        let index = word_of(seq).checked_sub(word_of(self.first_incomplete))?;
        usize::try_from(index).ok()
    }

    /// Grows by doubling, but never beyond the window.
    fn make_room(&mut self, len: usize) {
        let room = self.words.capacity();
        if len > room {
            let room = (room * 2).min(MOST_WORDS).max(len);
            self.words.reserve_exact(room - self.words.len());
        }
    }

    fn give_room_back(&mut self) {
        let room = self.words.capacity();
        if room > SMALL && self.words.len() < room / 4 {
            self.words.shrink_to(self.words.len() * 2);
        }
    }
}

const fn word_of(seq: Seq) -> u64 {
    seq.0 / PER_WORD
}

const fn slot_of(seq: Seq) -> u64 {
    seq.0 % PER_WORD
}

const fn outcome_in(word: u64, slot: u64) -> Option<bool> {
    let bits = word >> (2 * slot);
    if bits & THERE == 0 {
        return None;
    }
    Some(bits & GRANTED != 0)
}

#[cfg(test)]
mod tests;
