//! One client's record: whose it is, and the outcomes of its calls from `done_below` on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clients::{Recall, RecordInfo};
use super::command::CallRefusal;
use super::outcomes::Outcomes;
use crate::config::{CALL_WINDOW, MAX_BROKEN};
use crate::service::{CallId, Mark, SessionTerms};
use crate::types::{ClientId, Seq};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Record {
    client: ClientId,
    session: Option<Arc<SessionTerms>>,
    /// The calls whose locks were broken, until the client has released them.
    broken: Vec<(Mark, Seq)>,
    outcomes: Outcomes,
}

impl Record {
    pub(super) const fn new(client: ClientId, session: Option<Arc<SessionTerms>>) -> Self {
        Self {
            client,
            session,
            broken: Vec::new(),
            outcomes: Outcomes::new(),
        }
    }

    pub(super) fn info(&self) -> RecordInfo {
        RecordInfo {
            client: self.client,
            lease: self.session.as_ref().map(|session| session.lease),
            next_seq: self.outcomes.next_seq(),
        }
    }

    /// What it was opened with, if it is that of a session.
    pub(super) const fn session(&self) -> Option<&Arc<SessionTerms>> {
        self.session.as_ref()
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

    pub(super) fn broken(&self) -> &[(Mark, Seq)] {
        &self.broken
    }

    /// Notes that a lock was broken. False if too many are noted already.
    pub(super) fn note_broken(&mut self, mark: Mark, acquired: Seq) -> bool {
        let has_room = self.broken.len() < MAX_BROKEN;
        if has_room {
            self.broken.push((mark, acquired));
        }
        has_room
    }

    /// Forgets that a lock was broken, and tells when that was.
    pub(super) fn forget_broken(&mut self, acquired: Seq) -> Option<Mark> {
        let at = self.broken.iter().position(|(_, seq)| *seq == acquired)?;
        Some(self.broken.remove(at).0)
    }

    /// Whether it is one that could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.broken.len() <= MAX_BROKEN && self.outcomes.are_sound()
    }

    /// At the most how many bytes the record takes on the wire.
    pub(super) fn encoded_bytes(&self) -> usize {
        const CLIENT: usize = 17;
        const TERMS: usize = 24;
        const BROKEN: usize = 2 * 10;
        let text = self.session().map_or(0, |session| session.text_bytes());
        CLIENT + TERMS + text + 1 + BROKEN * self.broken.len() + self.outcomes.encoded_bytes()
    }
}
