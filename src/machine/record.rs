//! One client's record: whose it is, and the outcomes of its calls from `done_below` on.

use serde::{Deserialize, Serialize};

use super::CallRefusal;
use super::clients::{Recall, RecordInfo};
use super::outcomes::Outcomes;
use crate::config::CALL_WINDOW;
use crate::service::CallId;
use crate::types::{ClientId, Lease, Seq};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Record {
    client: ClientId,
    lease: Option<Lease>,
    outcomes: Outcomes,
}

impl Record {
    pub(super) const fn new(client: ClientId, lease: Option<Lease>) -> Self {
        Self {
            client,
            lease,
            outcomes: Outcomes::new(),
        }
    }

    pub(super) fn info(&self) -> RecordInfo {
        RecordInfo {
            client: self.client,
            lease: self.lease,
            next_seq: self.outcomes.next_seq(),
        }
    }

    pub(super) const fn done_below(&self) -> Seq {
        self.outcomes.done_below()
    }

    pub(super) fn recall(&self, id: &CallId) -> Recall {
        let done_below = self.done_below().max(id.done_below);
        if id.client != self.client {
            Recall::Refused(CallRefusal::UnknownRecord)
        } else if let Some(outcome) = self.outcomes.find(id.seq) {
            Recall::Done(outcome)
        } else if id.seq < done_below {
            Recall::Refused(CallRefusal::GivenUp)
        } else if id.seq.0 >= done_below.0.saturating_add(CALL_WINDOW) {
            Recall::Refused(CallRefusal::WindowFull)
        } else {
            Recall::Fresh
        }
    }

    /// The outcomes that the record holds.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Seq, bool)> {
        self.outcomes.iter()
    }

    /// Raises `done_below` if that is higher than it was, and names each outcome that is forgotten.
    pub(super) fn forget_below(&mut self, done_below: Seq, forgotten: impl FnMut(Seq, bool)) {
        self.outcomes.forget_below(done_below, forgotten);
    }

    /// Stores the outcome of a call that [`recall`](Self::recall) found fresh.
    pub(super) fn store(&mut self, seq: Seq, outcome: bool) {
        self.outcomes.store(seq, outcome);
    }

    /// Whether it is one that could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.outcomes.are_sound()
    }

    /// At the most how many bytes the record takes on the wire.
    pub(super) fn encoded_bytes(&self) -> usize {
        const CLIENT_AND_LEASE: usize = 17 + 6;
        CLIENT_AND_LEASE + self.outcomes.encoded_bytes()
    }
}
