//! The client table of Viewstamped Replication: the open sessions, which let a repeated call run
//! once.
//!
//! A session keeps the outcome of every call from `first_incomplete` on. It refuses calls below:
//! their outcomes are forgotten, so executing one could be the second time. For the same reason
//! `first_incomplete` never falls, although calls arrive in any order, each with the value at which
//! it was sent.

use std::sync::Arc;

use super::command::CallRefusal;
use super::digest::{self, EntryHash, Sum};
use super::session::Session;
use super::shards::{Slot, Table, Walk};
use crate::service::{CallId, Revision, SessionTerms};
use crate::types::{ClientId, Lease, Seq, SessionId};

/// The number of shards. A snapshot costs a pointer for each, and a write after it the copy of one.
/// Few in tests, which keep many machines.
const SHARDS: usize = if cfg!(test) { 4 } else { 1024 };

/// The result of looking a call up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DuplicateLookup {
    /// It has not been executed, and may be.
    Fresh,
    /// It has been executed, with this outcome.
    Done(bool),
    /// It must not be executed.
    Refused(CallRefusal),
}

/// A session, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionInfo {
    /// The client that opened it.
    pub client: ClientId,
    /// Its lease, if it has one.
    pub lease: Option<Lease>,
    /// One above the highest call that was executed.
    pub next_seq: Seq,
}

/// The open sessions.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientTable {
    table: Table<SessionId, Session>,
    /// The length of all names and addresses, in bytes.
    text_bytes: u64,
    sum: Sum,
}

impl Default for ClientTable {
    fn default() -> Self {
        Self {
            table: Table::new(SHARDS),
            text_bytes: 0,
            sum: Sum::default(),
        }
    }
}

impl ClientTable {
    pub(super) fn open(
        &mut self,
        number: SessionId,
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) {
        self.insert(number, Session::new(client, session));
    }

    /// Removes a session if it is open and `condition` holds; returns whether it was removed.
    pub(super) fn close(
        &mut self,
        number: SessionId,
        condition: impl FnOnce(SessionInfo) -> bool,
    ) -> bool {
        if !self.session(number).is_some_and(condition) {
            return false;
        }
        if let Some(session) = self.table.remove(slot(number), &number) {
            hashes(number, &session).for_each(|hash| self.sum.remove(hash));
            self.text_bytes -= text_bytes(&session);
        }
        true
    }

    pub(super) fn find_duplicate(&self, id: &CallId) -> DuplicateLookup {
        match self.table.get(slot(id.session), &id.session) {
            Some(session) => session.find_duplicate(id),
            None => DuplicateLookup::Refused(CallRefusal::UnknownSession),
        }
    }

    /// Stores the outcome of a call that [`find_duplicate`](Self::find_duplicate) found fresh.
    pub(super) fn store_outcome(&mut self, id: &CallId, outcome: bool) {
        let number = id.session;
        let sum = &mut self.sum;
        let session = self
            .table
            .get_mut(slot(number), &number)
            .expect("a fresh call has a record");
        sum.remove(hash(number, session));
        session.forget_below(id.first_incomplete, |seq, outcome| {
            sum.remove(digest::of_outcome(number, seq, outcome));
        });
        session.store(id.seq, outcome);
        sum.add(digest::of_outcome(number, id.seq, outcome));
        sum.add(hash(number, session));
    }

    /// Records that the lock of a call was broken. False if there are too many already.
    pub(super) fn note_broken(
        &mut self,
        number: SessionId,
        revision: Revision,
        acquired: Seq,
    ) -> bool {
        let Some(session) = self.table.get_mut(slot(number), &number) else {
            return false;
        };
        let noted = session.note_broken(revision, acquired);
        if noted {
            self.sum.add(digest::of_broken(number, revision, acquired));
        }
        noted
    }

    pub(super) fn forget_broken(&mut self, number: SessionId, acquired: Seq) {
        if self.broken(number).is_empty() {
            return;
        }
        let session = self.table.get_mut(slot(number), &number);
        if let Some(revision) = session.and_then(|session| session.forget_broken(acquired)) {
            self.sum
                .remove(digest::of_broken(number, revision, acquired));
        }
    }

    /// The calls whose locks were broken.
    pub(super) fn broken(&self, number: SessionId) -> &[(Revision, Seq)] {
        let session = self.table.get(slot(number), &number);
        session.map_or(&[], Session::broken)
    }

    /// Inserts a session from a snapshot; returns whether its number was new.
    pub(super) fn insert(&mut self, number: SessionId, session: Session) -> bool {
        if self.session(number).is_some() {
            return false;
        }
        hashes(number, &session).for_each(|hash| self.sum.add(hash));
        self.text_bytes += text_bytes(&session);
        self.table.insert(slot(number), number, session);
        true
    }

    pub(super) fn session(&self, number: SessionId) -> Option<SessionInfo> {
        self.table.get(slot(number), &number).map(Session::info)
    }

    /// The terms of a session with a lease.
    pub(super) fn terms(&self, number: SessionId) -> Option<&Arc<SessionTerms>> {
        self.table.get(slot(number), &number)?.terms()
    }

    pub(super) const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = (SessionId, SessionInfo)> {
        self.table
            .iter()
            .map(|(number, session)| (*number, session.info()))
    }

    pub(super) const fn open_sessions(&self) -> u64 {
        self.table.len()
    }

    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn walk(&self) -> Walk<SessionId, Session> {
        Walk::new(&self.table)
    }
}

/// Session numbers are op numbers, which are spread evenly.
const fn slot(number: SessionId) -> Slot {
    Slot(number.0)
}

fn hash(number: SessionId, session: &Session) -> EntryHash {
    let info = session.info();
    digest::of_session(number, &info, session.first_incomplete())
}

fn text_bytes(session_id: &Session) -> u64 {
    let bytes = session_id.terms().map_or(0, |session| session.text_bytes());
    bytes as u64
}

/// The hashes of a session, its terms and its outcomes.
fn hashes(number: SessionId, session_id: &Session) -> impl Iterator<Item = EntryHash> {
    let outcomes = session_id
        .outcomes()
        .map(move |(seq, outcome)| digest::of_outcome(number, seq, outcome));
    let broken = session_id.broken().iter();
    let broken = broken.map(move |(revision, seq)| digest::of_broken(number, *revision, *seq));
    let session = session_id.terms().into_iter();
    let session = session.map(move |session| digest::of_terms(number, session));
    std::iter::once(hash(number, session_id))
        .chain(session)
        .chain(outcomes)
        .chain(broken)
}
