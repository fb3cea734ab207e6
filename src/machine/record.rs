//! One client's record: the outcomes of its calls from `done_below` on.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::CallRefusal;
use super::clients::{Recall, RecordInfo};
use crate::config::CALL_WINDOW;
use crate::service::CallId;
use crate::types::{ClientId, Seq};

/// As many outcomes as a record may have room for without using it; more room is given back.
const SMALL: usize = 16;

#[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
const WINDOW: usize = CALL_WINDOW as usize;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Record {
    client: ClientId,
    done_below: Seq,
    /// Of the calls `done_below`, `done_below + 1`, ...: the outcome, or none for a call that has not
    /// been executed yet though a later one has. The last one is always there.
    outcomes: VecDeque<Option<bool>>,
}

impl Record {
    pub(super) const fn new(client: ClientId) -> Self {
        Self {
            client,
            done_below: Seq(0),
            outcomes: VecDeque::new(),
        }
    }

    pub(super) fn info(&self) -> RecordInfo {
        RecordInfo {
            client: self.client,
            next_seq: Seq(self.done_below.0.saturating_add(self.outcomes.len() as u64)),
        }
    }

    pub(super) const fn done_below(&self) -> Seq {
        self.done_below
    }

    pub(super) fn recall(&self, id: &CallId) -> Recall {
        let done_below = self.done_below.max(id.done_below);
        if id.client != self.client {
            Recall::Refused(CallRefusal::UnknownRecord)
        } else if let Some(outcome) = self.outcome(id.seq) {
            Recall::Done(outcome)
        } else if id.seq < done_below {
            Recall::Refused(CallRefusal::GivenUp)
        } else if id.seq.0 >= done_below.0.saturating_add(CALL_WINDOW) {
            Recall::Refused(CallRefusal::WindowFull)
        } else {
            Recall::Fresh
        }
    }

    fn outcome(&self, seq: Seq) -> Option<bool> {
        let index = seq.0.checked_sub(self.done_below.0)?;
        *self.outcomes.get(usize::try_from(index).ok()?)?
    }

    /// The outcomes that the record holds.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Seq, bool)> {
        (self.done_below.0..)
            .zip(&self.outcomes)
            .filter_map(|(seq, outcome)| outcome.map(|outcome| (Seq(seq), outcome)))
    }

    /// Raises `done_below` if that is higher than it was, and names each outcome that is forgotten.
    pub(super) fn forget_below(&mut self, done_below: Seq, mut forgotten: impl FnMut(Seq, bool)) {
        while self.done_below < done_below {
            let Some(outcome) = self.outcomes.pop_front() else {
                self.done_below = done_below;
                break;
            };
            if let Some(outcome) = outcome {
                forgotten(self.done_below, outcome);
            }
            self.done_below = self.done_below.next();
        }
        let room = self.outcomes.capacity();
        if room > SMALL && self.outcomes.len() < room / 4 {
            self.outcomes.shrink_to(self.outcomes.len() * 2);
        }
    }

    /// Stores the outcome of a call that [`recall`](Self::recall) found fresh.
    pub(super) fn store(&mut self, seq: Seq, outcome: bool) {
        let index =
            usize::try_from(seq.0 - self.done_below.0).expect("a fresh call is in the window");
        if index >= self.outcomes.len() {
            self.make_room(index + 1);
            self.outcomes.resize(index + 1, None);
        }
        self.outcomes[index] = Some(outcome);
    }

    /// Grows by doubling, but never beyond the window.
    fn make_room(&mut self, len: usize) {
        let room = self.outcomes.capacity();
        if len > room {
            let room = (room * 2).min(WINDOW).max(len);
            self.outcomes.reserve_exact(room - self.outcomes.len());
        }
    }

    /// Whether it is one that could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.outcomes.len() as u64 <= CALL_WINDOW && !matches!(self.outcomes.back(), Some(None))
    }

    /// At the most how many bytes the record takes on the wire.
    pub(super) fn encoded_bytes(&self) -> usize {
        const CLIENT: usize = 17;
        const NUMBER: usize = 10;
        CLIENT + 2 * NUMBER + 2 * self.outcomes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::RecordNumber;

    const CLIENT: ClientId = ClientId::from_u128(1);

    fn put(record: &mut Record, seq: u64, done_below: u64) {
        let id = CallId {
            client: CLIENT,
            record: RecordNumber(1),
            seq: Seq(seq),
            done_below: Seq(done_below),
        };
        assert_eq!(record.recall(&id), Recall::Fresh);
        record.forget_below(Seq(done_below), |_, _| {});
        record.store(Seq(seq), true);
    }

    #[test]
    fn a_record_has_room_for_a_window_of_outcomes_and_no_more() {
        let mut record = Record::new(CLIENT);
        for seq in (4..CALL_WINDOW).step_by(3) {
            put(&mut record, seq, 0);
            assert!(record.outcomes.capacity() <= WINDOW);
        }
        for done_below in [7, 10 * CALL_WINDOW] {
            put(&mut record, done_below + CALL_WINDOW - 1, done_below);
            assert!(record.outcomes.capacity() <= WINDOW);
        }
        assert_eq!(record.outcomes.len(), WINDOW);
    }

    #[test]
    fn room_for_outcomes_that_are_forgotten_is_given_back() {
        let mut record = Record::new(CLIENT);
        put(&mut record, CALL_WINDOW - 1, 0);
        put(&mut record, CALL_WINDOW, CALL_WINDOW);
        assert!(record.outcomes.capacity() <= SMALL);
        assert_eq!(record.outcomes.len(), 1);
    }

    #[test]
    fn every_forgotten_outcome_is_named_once() {
        let mut record = Record::new(CLIENT);
        for seq in [0, 1, 3, 6] {
            put(&mut record, seq, 0);
        }
        let mut forgotten = Vec::new();
        for done_below in [2, 1, 4, 100, 50] {
            record.forget_below(Seq(done_below), |seq, _| forgotten.push(seq.0));
        }
        assert_eq!(forgotten, [0, 1, 3, 6]);
        assert_eq!(record.done_below(), Seq(100));
        assert_eq!(record.outcomes().count(), 0);
    }

    #[test]
    fn an_impossible_record_is_not_sound() {
        let record = |outcomes: Vec<Option<bool>>| Record {
            outcomes: outcomes.into(),
            ..Record::new(CLIENT)
        };
        assert!(record(vec![]).is_sound());
        assert!(record(vec![None, Some(false)]).is_sound());
        assert!(!record(vec![Some(true), None]).is_sound());
        assert!(record(vec![Some(true); WINDOW]).is_sound());
        assert!(!record(vec![Some(true); WINDOW + 1]).is_sound());
    }
}
