//! The lock machine: commands in, outcomes out. Pure and deterministic.
//!
//! Two machines that start equal and are given the same commands in the same order give the same
//! outcomes and stay equal, on every server, at every speed. So nothing in here knows a clock, a
//! socket, a task or a random number. What time it is comes as a command, and decides nothing. (The
//! tables hash with a seed of their own, against clients that choose colliding names; no order,
//! outcome or digest depends on it.)
//!
//! **Exactly once**, as in RIFL (Lee et al. 2015): the outcome of a call is stored in the same step
//! as its effect, in the client's session, and is part of every [`Snapshot`]. A repeated call gets
//! the stored outcome and changes nothing. [`CallId`] identifies a call.
//!
//! **Bounded memory**: a free lock takes none; a session keeps at most
//! [`CALL_WINDOW`](crate::config::CALL_WINDOW) outcomes.

mod client_table;
mod command;
mod digest;
pub(crate) mod footprint;
mod listing;
mod locks;
mod outcomes;
mod owned;
mod ownership;
mod retained;
mod session;
mod session_index;
mod shards;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::service::{CallId, Revision, SessionTerms, Verb};
use crate::types::{
    ClusterId, Digest, LockName, OpNumber, Retention, ServerId, SessionId, Token, UnixTime,
};
use client_table::ClientTable;
use locks::{Locks, Unlocked};
use retained::Retained;
use session_index::SessionIndex;

pub use client_table::{DuplicateLookup, SessionInfo};
pub use command::{CallRefusal, Command, Outcome};
#[cfg(test)]
pub(crate) use locks::Queue;
pub use snapshot::{Chunk, Snapshot, SnapshotError, SnapshotReceiver};

/// The lock table and the client table, at one point in the order of commands.
///
/// Cloning costs a few thousand pointers, however many locks are held: the copies share what
/// neither of them has changed since.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The cluster whose state this is.
    cluster: ClusterId,
    op: OpNumber,
    /// The highest revision so far: of a grant, or of a lock that was contended or broken.
    revision: Revision,
    /// The time of the last [`Command::Clock`].
    clock: UnixTime,
    locks: Locks,
    clients: ClientTable,
    sessions: SessionIndex,
    retained: Retained,
}

impl Machine {
    /// Creates a machine without locks and sessions, whose last command was `base`.
    #[must_use]
    pub fn new(base: OpNumber) -> Self {
        Self {
            op: base,
            ..Self::default()
        }
    }

    /// The same machine, as the state of `cluster`.
    #[must_use]
    pub const fn of_cluster(mut self, cluster: ClusterId) -> Self {
        self.cluster = cluster;
        self
    }

    /// The cluster whose state this is.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The number of the last command that was applied.
    #[must_use]
    pub const fn op(&self) -> OpNumber {
        self.op
    }

    /// The highest number so far, of a command or a revision.
    #[must_use]
    pub fn highest(&self) -> OpNumber {
        self.op.max(OpNumber(self.revision.0))
    }

    /// From now on, makes revisions above `number` only. This is not a command, so the machine must
    /// not be replicated yet.
    pub fn give_marks_above(&mut self, number: OpNumber) {
        self.revision = self.revision.max(Revision(number.0));
    }

    /// The time of the last [`Command::Clock`].
    #[must_use]
    pub const fn clock(&self) -> UnixTime {
        self.clock
    }

    /// The digest of the whole state: cluster, op number, revision, clock, locks with their queue
    /// entries and retentions, sessions with their outcomes. It is kept up to date, so its cost
    /// does not depend on the size of the state.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest::combine(&[
            digest::of_cluster(self.cluster).into(),
            digest::of_op(self.op).into(),
            digest::of_revision(self.revision).into(),
            digest::of_clock(self.clock).into(),
            self.locks.sum(),
            self.clients.sum(),
            self.retained.sum(),
        ])
    }

    /// Executes `command` and gives it the next op number, whatever its outcome. `issuer` is the
    /// primary that ordered the command: its index is the remainder of the tokens.
    pub fn apply(&mut self, command: &Command, issuer: ServerId) -> Outcome {
        self.apply_and_notify(command, issuer, |_| {})
    }

    /// Executes a command as [`apply`](Self::apply) does, and calls `notify` with each session that
    /// has new [`notifications`](Self::notifications).
    ///
    /// A session whose own call is granted a lock at once is not notified of that grant: the call's
    /// outcome says it.
    pub fn apply_and_notify(
        &mut self,
        command: &Command,
        issuer: ServerId,
        mut notified: impl FnMut(SessionId),
    ) -> Outcome {
        self.op = self.op.next();
        let step = &mut Step {
            issuer,
            told: &mut notified,
        };
        match command {
            Command::OpenSession {
                client,
                terms: session,
            } => {
                let number = SessionId(self.op.0);
                self.clients.open(number, *client, session.clone());
                Outcome::Opened(number)
            }
            Command::Call { id, verb, name } => self.call(id, *verb, name, step),
            Command::Acquire { id, name, options } => self.acquire(id, name, *options, step),
            Command::Release { id, acquired } => self.release(id, *acquired, step),
            Command::Retain {
                id,
                acquired,
                retention,
            } => self.retain(id, *acquired, *retention),
            Command::Break { id, name, token } => self.break_lock(id, name, *token, step),
            Command::CloseSession {
                client,
                session: session_id,
            } => self.close(*session_id, |info| info.client == *client, step),
            Command::Expire {
                session: session_id,
                seen,
            } => self.close(*session_id, |info| info.next_seq == *seen, step),
            Command::Elapse { token, left } => self.elapse(*token, *left, step),
            Command::Clock { time } => {
                self.clock = *time;
                Outcome::Noted
            }
        }
    }

    fn call(&mut self, id: &CallId, verb: Verb, name: &LockName, step: &mut Step<'_>) -> Outcome {
        if let Some(known) = self.known(id) {
            return known;
        }
        let outcome = match verb {
            Verb::Lock => self.locks.lock(name),
            Verb::Unlock => match self.locks.unlock(name) {
                Unlocked::Owned => return Outcome::Refused(CallRefusal::Owned),
                Unlocked::WasFree => false,
                Unlocked::Freed => true,
                Unlocked::Awaited => {
                    self.grant_and_notify(name, step);
                    true
                }
            },
        };
        self.clients.store_outcome(id, outcome);
        Outcome::Call(outcome)
    }

    /// The outcome of a call that must not be executed now.
    fn known(&self, id: &CallId) -> Option<Outcome> {
        match self.clients.find_duplicate(id) {
            DuplicateLookup::Done(outcome) => Some(Outcome::Call(outcome)),
            DuplicateLookup::Refused(refusal) => Some(Outcome::Refused(refusal)),
            DuplicateLookup::Fresh => None,
        }
    }

    /// Looks a call up: whether [`apply`](Self::apply) would execute it.
    #[must_use]
    pub fn find_duplicate(&self, id: &CallId) -> DuplicateLookup {
        self.clients.find_duplicate(id)
    }

    /// Whether the lock `name` is held.
    #[must_use]
    pub fn is_held(&self, name: &LockName) -> bool {
        self.locks.is_held(name)
    }

    /// How many locks are held.
    #[must_use]
    pub fn locks(&self) -> u64 {
        self.locks.held()
    }

    /// Whether a session owns the lock `name`.
    #[must_use]
    pub fn is_owned(&self, name: &LockName) -> bool {
        self.locks.is_owned(name)
    }

    /// The number of holders and waiters of all locks.
    #[must_use]
    pub fn queue_entries(&self) -> u64 {
        self.locks.entries()
    }

    /// The number of waiters of all locks.
    #[must_use]
    pub fn waiters(&self) -> u64 {
        self.locks.waiters()
    }

    /// The holders and waiters of the lock `name`.
    #[cfg(test)]
    pub(crate) fn queue_of(&self, name: &LockName) -> Queue {
        self.locks.queue_of(name)
    }

    /// An upper estimate of the memory that locks and sessions take, in bytes: see
    /// `machine/footprint.rs`.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        let records = self.clients() * footprint::SESSION_BYTES + self.text_bytes() / 4 * 5;
        self.locks.bytes() + records + self.retained() * footprint::RETAINED_BYTES
    }

    /// The number of open sessions.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients.open_sessions()
    }

    /// The session `number`; none if it is not open.
    #[must_use]
    pub fn session(&self, number: SessionId) -> Option<SessionInfo> {
        self.clients.session(number)
    }

    /// The terms of a session; none if it is not open or has no lease.
    #[must_use]
    pub fn terms(&self, number: SessionId) -> Option<&SessionTerms> {
        self.clients.terms(number).map(AsRef::as_ref)
    }

    /// The number of a session's queue entries: locks that it holds or waits for.
    #[must_use]
    pub fn queue_entries_of(&self, session: SessionId) -> usize {
        self.sessions.entries_of(session)
    }

    /// The length of the names and addresses of all sessions, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        self.clients.text_bytes()
    }

    /// The number of retained locks.
    #[must_use]
    pub fn retained(&self) -> u64 {
        self.retained.len()
    }

    /// The rest of a lock's retention, by the last command that set it; none if it has none.
    #[must_use]
    pub fn retention(&self, token: Token) -> Option<Retention> {
        self.retained.get(token).map(|lock| lock.left)
    }

    /// All locks that are retained, in no particular order. Costs a step for each.
    pub fn retentions(&self) -> impl Iterator<Item = (Token, Retention)> + '_ {
        self.retained.iter().map(|(token, lock)| (token, lock.left))
    }

    /// All open sessions, in no particular order. Costs a step for each.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, SessionInfo)> + '_ {
        self.clients.sessions()
    }

    /// Freezes the state as it is now, to be sent to another server chunk by chunk.
    ///
    /// Costs as little as a clone. Afterwards, the first change to each part of the tables copies
    /// that part, as long as the snapshot still holds it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self)
    }
}

/// The context in which a command is executed.
struct Step<'a> {
    /// The primary that ordered the command.
    issuer: ServerId,
    /// Called with each session that has new notifications.
    told: &'a mut dyn FnMut(SessionId),
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("op", &self.op)
            .field("locks", &self.locks())
            .field("clients", &self.clients())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}
