//! When each client's record was last heard of: what decides that a client is gone.
//!
//! This is the leader's own knowledge and no part of the replicated state. A new leader counts
//! every record as heard, so a record lives through a failover for its whole time to live.

use std::time::Duration;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

#[cfg(test)]
use super::Moments;
use super::Now;
use crate::types::SessionId;

/// The records that this leader knows, and when it heard of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastSeen {
    records: IndexMap<SessionId, Now, FixedState>,
    time_to_live: Duration,
    next_sweep: Now,
}

impl LastSeen {
    /// How many sweeps there are in a time to live; a record may outlive its time by one of them.
    const SWEEPS: u32 = 8;

    /// Counts all of `records` as heard now.
    pub(super) fn new(
        records: impl Iterator<Item = SessionId>,
        now: Now,
        time_to_live: Duration,
    ) -> Self {
        Self {
            records: records.map(|session| (session, now)).collect(),
            time_to_live,
            next_sweep: now.after(time_to_live / Self::SWEEPS),
        }
    }

    /// How long a session without a lease outlives its client's last request.
    pub(super) const fn time_to_live(&self) -> Duration {
        self.time_to_live
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

    /// Takes out the records that were not heard of for their time to live, when it is time to look
    /// for them.
    pub(super) fn take_silent(&mut self, now: Now) -> Vec<SessionId> {
        if now < self.next_sweep {
            return Vec::new();
        }
        self.next_sweep = now.after(self.time_to_live / Self::SWEEPS);
        let is_silent = |heard: &Now| now.since(*heard) >= self.time_to_live;
        let silent = self.records.iter().filter(|(_, heard)| is_silent(heard));
        let silent: Vec<_> = silent.map(|(session, _)| *session).collect();
        for session in &silent {
            self.forget(*session);
        }
        silent
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Moments) {
        names.due(&mut self.next_sweep, self.time_to_live / Self::SWEEPS);
        let records = self.records.values_mut();
        records.for_each(|heard| names.past(heard, self.time_to_live));
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
            assert_eq!(heard.take_silent(at(second)), []);
        }
        heard.next_sweep = at(9);
        assert_eq!(heard.take_silent(half), []);
        assert_eq!(heard.take_silent(at(10)), [SessionId(1)]);
    }
}
