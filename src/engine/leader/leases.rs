//! When the lease of each session ends, unless it is renewed.
//!
//! Like [`LastSeen`](super::last_seen::LastSeen) this is the leader's own knowledge: a session is
//! dropped by a replicated command. A new leader counts every session as renewed, and so does one
//! that did not run for a while, for renewals may have come meanwhile that nobody read. So a lease
//! never ends early, and at most one lease late for each such case.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
use super::Moments;
use super::Now;
use super::deadlines::Deadlines;
use crate::types::{Lease, SessionId};

/// The sessions that this leader knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leases {
    sessions: BTreeMap<SessionId, LeaseTimer>,
    /// When to look at each session. Renewals do not move it, for most sessions are renewed before.
    deadlines: Deadlines,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LeaseTimer {
    lease: Duration,
    renewed: Now,
    due: Now,
}

impl Leases {
    pub(super) fn begin(&mut self, session_id: SessionId, lease: Lease, now: Now) {
        let lease = lease.duration();
        let due = now.after(lease);
        let renewed = now;
        let session = LeaseTimer {
            lease,
            renewed,
            due,
        };
        self.sessions.insert(session_id, session);
        self.deadlines.insert(due, session_id);
    }

    pub(super) fn renew(&mut self, session_id: SessionId, now: Now) {
        if let Some(session) = self.sessions.get_mut(&session_id) {
            session.renewed = now;
        }
    }

    pub(super) fn renew_all(&mut self, now: Now) {
        for session in self.sessions.values_mut() {
            session.renewed = now;
        }
    }

    pub(super) fn end(&mut self, session_id: SessionId) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.deadlines.remove(session.due, session_id);
        }
    }

    /// When one of them may be over.
    pub(super) fn next_due(&self) -> Option<Now> {
        self.deadlines.next()
    }

    /// Takes out a session whose lease is over.
    pub(super) fn pop_over(&mut self, now: Now) -> Option<SessionId> {
        while let Some(session_id) = self.deadlines.pop(now) {
            let session = self.sessions.get_mut(&session_id)?;
            session.due = session.renewed.after(session.lease);
            if session.due <= now {
                self.sessions.remove(&session_id);
                return Some(session_id);
            }
            self.deadlines.insert(session.due, session_id);
        }
        None
    }

    #[cfg(test)]
    pub(super) fn knows(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Lets the lease of a session be over at `now`, as if it had been renewed that long before.
    #[cfg(test)]
    pub(super) fn let_end(&mut self, session_id: SessionId, now: Now) {
        if let Some(session) = self.sessions.get_mut(&session_id) {
            self.deadlines.remove(session.due, session_id);
            session.renewed = Now(now.0.saturating_sub(session.lease));
            session.due = now;
            self.deadlines.insert(now, session_id);
        }
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Moments) {
        self.deadlines.clear();
        for (session_id, session) in &mut self.sessions {
            names.past(&mut session.renewed, session.lease);
            session.due = session.renewed.after(session.lease);
            self.deadlines.insert(session.due, *session_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Now {
        Now(Duration::from_secs(seconds))
    }

    fn one() -> Leases {
        let mut leases = Leases::default();
        let lease = Lease::new(LEASE).expect("a lease");
        leases.begin(SessionId(1), lease, at(0));
        leases
    }

    #[test]
    fn a_lease_is_over_when_it_was_not_renewed_for_its_length_and_not_before() {
        let mut leases = one();
        assert_eq!(leases.pop_over(at(9)), None);
        leases.renew(SessionId(1), at(9));
        assert_eq!(leases.pop_over(at(10)), None);
        assert_eq!(leases.next_due(), Some(at(19)));
        assert_eq!(leases.pop_over(at(18)), None);
        assert_eq!(leases.pop_over(at(19)), Some(SessionId(1)));
        assert_eq!(leases, Leases::default());
    }

    #[test]
    fn a_leader_that_did_not_run_counts_all_as_renewed() {
        let mut leases = one();
        leases.renew_all(at(15));
        assert_eq!(leases.pop_over(at(24)), None);
        assert_eq!(leases.pop_over(at(25)), Some(SessionId(1)));
    }

    #[test]
    fn a_session_that_ended_leaves_nothing() {
        let mut leases = one();
        leases.end(SessionId(1));
        assert_eq!(leases, Leases::default());
    }
}
