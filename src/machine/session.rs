//! One session: its client, its terms, and the outcomes of its calls from `first_incomplete` on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::client_table::{DuplicateLookup, SessionInfo};
use super::command::CallRefusal;
use super::outcomes::Outcomes;
use crate::config::{CALL_WINDOW, MAX_BROKEN};
use crate::service::{CallId, Revision, SessionTerms};
use crate::types::{ClientId, Seq};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Session {
    client: ClientId,
    terms: Option<Arc<SessionTerms>>,
    /// The calls whose locks were broken, until the client has released them.
    broken: Vec<(Revision, Seq)>,
    outcomes: Outcomes,
}

impl Session {
    pub(super) const fn new(client: ClientId, session: Option<Arc<SessionTerms>>) -> Self {
        Self {
            client,
            terms: session,
            broken: Vec::new(),
            outcomes: Outcomes::new(),
        }
    }

    pub(super) fn info(&self) -> SessionInfo {
        SessionInfo {
            client: self.client,
            lease: self.terms.as_ref().map(|session| session.lease),
            next_seq: self.outcomes.next_seq(),
        }
    }

    /// Its terms, if it has a lease.
    pub(super) const fn terms(&self) -> Option<&Arc<SessionTerms>> {
        self.terms.as_ref()
    }

    pub(super) const fn first_incomplete(&self) -> Seq {
        self.outcomes.first_incomplete()
    }

    pub(super) fn find_duplicate(&self, id: &CallId) -> DuplicateLookup {
        let first_incomplete = self.first_incomplete().max(id.first_incomplete);
        if id.client != self.client {
            DuplicateLookup::Refused(CallRefusal::UnknownSession)
        } else if let Some(outcome) = self.outcomes.find(id.seq) {
            DuplicateLookup::Done(outcome)
        } else if id.seq < first_incomplete {
            DuplicateLookup::Refused(CallRefusal::GivenUp)
        } else if id.seq.0 >= first_incomplete.0.saturating_add(CALL_WINDOW) {
            DuplicateLookup::Refused(CallRefusal::WindowFull)
        } else {
            DuplicateLookup::Fresh
        }
    }

    /// The outcomes that are stored.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Seq, bool)> {
        self.outcomes.iter()
    }

    /// Raises `first_incomplete` if the new value is higher, and returns each outcome that is
    /// forgotten.
    pub(super) fn forget_below(&mut self, first_incomplete: Seq, forgotten: impl FnMut(Seq, bool)) {
        self.outcomes.forget_below(first_incomplete, forgotten);
    }

    /// Stores the outcome of a call that [`find_duplicate`](Self::find_duplicate) found fresh.
    pub(super) fn store(&mut self, seq: Seq, outcome: bool) {
        self.outcomes.store(seq, outcome);
    }

    pub(super) fn broken(&self) -> &[(Revision, Seq)] {
        &self.broken
    }

    /// Records that a lock was broken. False if there are too many already.
    pub(super) fn note_broken(&mut self, revision: Revision, acquired: Seq) -> bool {
        let has_room = self.broken.len() < MAX_BROKEN;
        if has_room {
            self.broken.push((revision, acquired));
        }
        has_room
    }

    /// Forgets that a lock was broken, and returns the revision at which it was.
    pub(super) fn forget_broken(&mut self, acquired: Seq) -> Option<Revision> {
        let at = self.broken.iter().position(|(_, seq)| *seq == acquired)?;
        Some(self.broken.remove(at).0)
    }

    /// Whether a machine could have produced it.
    pub(super) fn is_sound(&self) -> bool {
        self.broken.len() <= MAX_BROKEN && self.outcomes.are_sound()
    }

    /// An upper bound of the session's size on the wire, in bytes.
    pub(super) fn encoded_bytes(&self) -> usize {
        const CLIENT: usize = 17;
        const TERMS: usize = 24;
        const BROKEN: usize = 2 * 10;
        let text = self.terms().map_or(0, |session| session.text_bytes());
        CLIENT + TERMS + text + 1 + BROKEN * self.broken.len() + self.outcomes.encoded_bytes()
    }
}
