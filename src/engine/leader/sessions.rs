//! Until when sessions live: with a lease until it is over, without one until nothing has been
//! heard of them for long.

use super::{Leader, Now};
use crate::machine::Machine;
use crate::service::{Answer, Opened, Refusal};
use crate::types::{ClientId, Lease, SessionId, View};

impl<T> Leader<T> {
    /// A session has been opened: its time begins.
    pub(super) fn opened(
        &mut self,
        now: Now,
        machine: &Machine,
        view: View,
        session: SessionId,
        lease: Option<Lease>,
    ) -> Answer {
        self.begin(now, session, lease);
        let time_to_live = match lease {
            Some(lease) => lease.duration(),
            None => self.last_seen.time_to_live(),
        };
        Answer::Opened(Opened {
            session,
            time_to_live,
            inside: machine.ancestors(session),
            view,
        })
    }

    /// Counts the time of a session from now on.
    pub(super) fn begin(&mut self, now: Now, session: SessionId, lease: Option<Lease>) {
        match lease {
            Some(lease) => self.leases.begin(session, lease, now),
            None => self.last_seen.note(session, now),
        }
    }

    /// Renews the lease of a session, and returns it.
    pub(super) fn renew(
        &mut self,
        now: Now,
        machine: &Machine,
        client: ClientId,
        session: SessionId,
    ) -> Result<Lease, Refusal> {
        let info = machine.session(session);
        let info = info.filter(|info| info.client == client);
        let lease = info.ok_or(Refusal::UnknownSession)?.lease;
        let lease = lease.ok_or(Refusal::NoLease)?;
        self.note_seen(session, now);
        Ok(lease)
    }

    /// Something came from the client of a session. One that is ending stays so.
    pub(super) fn note_seen(&mut self, session: SessionId, now: Now) {
        self.last_seen.note_known(session, now);
        self.leases.renew(session, now);
    }

    /// A session has been dropped. Its poll, if there is one, is told so.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.last_seen.forget(session);
        self.leases.end(session);
        self.notify(session);
    }
}
