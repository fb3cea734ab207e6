//! When each client's record was last heard of: what decides that a client is gone.
//!
//! This is the primary's own knowledge and no part of the replicated state. A new primary counts
//! every record as heard when it takes over, so a record lives through a failover for its whole
//! time to live.

use std::time::Duration;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use super::Now;
#[cfg(test)]
use super::tests::Names;
use crate::types::SessionId;

/// The records that this primary knows, and when it heard of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastSeen {
    records: IndexMap<SessionId, Now, FixedState>,
    next_sweep: Now,
}

impl LastSeen {
    /// How many sweeps there are in a time to live; a record may outlive its time by one of them.
    const SWEEPS: u32 = 8;

    /// Counts all of `records` as heard now.
    pub(super) fn new(records: impl Iterator<Item = SessionId>, now: Now, ttl: Duration) -> Self {
        Self {
            records: records.map(|session| (session, now)).collect(),
            next_sweep: now.after(ttl / Self::SWEEPS),
        }
    }

    pub(super) fn note(&mut self, session: SessionId, now: Now) {
        self.records.insert(session, now);
    }

    /// Like [`Self::note`], unless the record is not known at all.
    pub(super) fn note_known(&mut self, session: SessionId, now: Now) {
        if let Some(heard) = self.records.get_mut(&session) {
            *heard = now;
        }
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        self.records.swap_remove(&session);
    }

    pub(super) const fn next_sweep(&self) -> Now {
        self.next_sweep
    }

    /// The records that were not heard of for `ttl`, when it is time to look for them.
    pub(super) fn sweep(&mut self, now: Now, ttl: Duration) -> Vec<SessionId> {
        if now < self.next_sweep {
            return Vec::new();
        }
        self.next_sweep = now.after(ttl / Self::SWEEPS);
        let silent = self
            .records
            .iter()
            .filter(|(_, heard)| now.since(**heard) >= ttl);
        silent.map(|(session, _)| *session).collect()
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, ttl: Duration, names: &mut impl Names) {
        names.due(&mut self.next_sweep, ttl / Self::SWEEPS);
        let records = self.records.values_mut();
        records.for_each(|heard| names.past(heard, ttl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_looked_through_eight_times_in_a_time_to_live() {
        let ttl = Duration::from_secs(8);
        let at = |seconds| Now(Duration::from_secs(seconds));
        let half = Now(Duration::from_millis(8_500));
        let mut heard = LastSeen::new([SessionId(1)].into_iter(), at(0), ttl);
        for second in 1..8 {
            assert_eq!(heard.next_sweep(), at(second));
            assert_eq!(heard.sweep(at(second), ttl), []);
        }
        heard.next_sweep = at(9);
        assert_eq!(heard.sweep(half, ttl), []);
        assert_eq!(heard.sweep(at(10), ttl), [SessionId(1)]);
    }
}
