//! Finds deadlocked sessions: those that cannot continue whatever the others do.
//!
//! A waiter for a permit waits for any of the holders, not for one in particular. So a cycle is no
//! deadlock while a holder outside of it can make room. The deadlocked sessions are what is left of
//! all waiters after removing, repeatedly, those that are granted their locks once all others have
//! released theirs.
//!
//! A session waits for those that run inside it, and keeps its own locks meanwhile: so a deadlocked
//! session makes the outer ones deadlocked too.

use std::collections::{BTreeMap, BTreeSet};

use crate::service::{LockInfo, QueueEntryInfo};
use crate::types::{LockName, SessionId};

/// The deadlocked sessions, and the locks that they wait for in vain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlocked<'a> {
    sessions: BTreeSet<SessionId>,
    waits: BTreeSet<(SessionId, &'a LockName)>,
}

impl<'a> Deadlocked<'a> {
    /// Finds those among the waiters for `locks`, which must have all locks that they wait for.
    pub(super) fn among(locks: &[&'a LockInfo]) -> Self {
        let waiters = locks.iter().flat_map(|lock| lock.queue());
        let outer: BTreeMap<_, _> = waiters.map(|it| (it.session, &it.inside)).collect();
        let with_outer = |session: &SessionId| {
            let outer = outer.get(session).into_iter();
            outer.flat_map(|it| it.iter().copied()).chain([*session])
        };
        let mut deadlocked = Self {
            sessions: outer.keys().flat_map(with_outer).collect(),
            waits: BTreeSet::new(),
        };
        loop {
            let each = locks.iter().flat_map(|lock| {
                let kept_out = kept_out(lock, &deadlocked.sessions);
                kept_out.map(|session| (session, &lock.name))
            });
            let waits: BTreeSet<_> = each.collect();
            let waiting = waits.iter().map(|(session, _)| session);
            let sessions: BTreeSet<_> = waiting.flat_map(with_outer).collect();
            let is_all = sessions == deadlocked.sessions;
            deadlocked = Self { sessions, waits };
            if is_all {
                return deadlocked;
            }
        }
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    /// Whether `session` cannot get the lock `name`, for which it waits.
    pub(super) fn keeps_out(&self, session: SessionId, name: &LockName) -> bool {
        self.waits.contains(&(session, name))
    }
}

/// Whether a holder that releases nothing keeps a waiter out.
///
/// A session does not keep itself out: it is taken for several tasks that take turns. But one that
/// shares a lock and waits to have it alone is taken for a single task. A lock that is only
/// retained is released by the servers.
pub(super) fn is_in_the_way(holder: &QueueEntryInfo, waiter: &QueueEntryInfo) -> bool {
    let is_shared = holder.mode.most_holders() > 1;
    let is_upgrade = is_shared && waiter.mode.most_holders() == 1;
    !holder.is_left && (holder.session != waiter.session || is_upgrade)
}

/// The waiters that are not granted the lock when all holders except the `stuck` ones have left.
fn kept_out<'a>(
    lock: &'a LockInfo,
    deadlocked: &'a BTreeSet<SessionId>,
) -> impl Iterator<Item = SessionId> + 'a {
    let remaining: Vec<_> = lock
        .holders()
        .filter(|holder| deadlocked.contains(&holder.session))
        .collect();
    // A waiter is not granted the lock before those ahead of it.
    let mut ahead = u32::MAX;
    lock.queue().filter_map(move |waiter| {
        ahead = ahead.min(waiter.mode.most_holders());
        let others = remaining
            .iter()
            .filter(|holder| is_in_the_way(holder, waiter));
        let promised = others.clone().map(|holder| holder.mode.most_holders());
        let most = promised.min()?.min(ahead);
        (others.count() as u64 >= u64::from(most)).then_some(waiter.session)
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{inside, lock, permits, shared};
    use super::*;
    use crate::service::LockMode;

    fn stuck(locks: &[LockInfo]) -> Vec<u64> {
        let locks: Vec<_> = locks.iter().collect();
        let deadlocked = Deadlocked::among(&locks);
        deadlocked
            .sessions
            .iter()
            .map(|session| session.0)
            .collect()
    }

    #[test]
    fn nobody_is_stuck_behind_a_holder_that_goes_on() {
        let locks = [
            lock("a", &[(1, 10)], &[2, 3]),
            shared("b", &[(2, 11), (3, 12)], &[4]),
        ];
        assert!(stuck(&locks).is_empty());
    }

    #[test]
    fn whoever_waits_for_a_permit_is_not_stuck_while_one_of_the_holders_goes_on() {
        let other = lock("b", &[(3, 12)], &[1]);
        let locks = [permits("a", 2, &[(1, 10), (2, 11)], &[3]), other.clone()];
        assert!(stuck(&locks).is_empty());
        let both_wait = lock("c", &[(3, 13)], &[2]);
        let locks = [permits("a", 2, &[(1, 10), (2, 11)], &[3]), other, both_wait];
        assert_eq!(stuck(&locks), [1, 2, 3]);
    }

    #[test]
    fn whoever_wants_fewer_holders_is_stuck_behind_fewer_and_so_are_those_behind_it() {
        let other = lock("b", &[(3, 12)], &[1]);
        let mut alone = permits("a", 2, &[(1, 10), (2, 11)], &[3, 4]);
        alone.entries[2].mode = LockMode::Exclusive;
        assert_eq!(stuck(&[alone, other.clone()]), [1, 3, 4]);
        let shares = shared("a", &[(1, 10), (2, 11)], &[3]);
        assert_eq!(stuck(&[shares, other]), [1, 3]);
    }

    #[test]
    fn what_the_holders_were_promised_keeps_out_too() {
        let mut shares = permits("a", 2, &[(1, 10), (2, 11)], &[3]);
        shares.entries[2].mode = LockMode::Shared;
        let locks = [
            shares,
            lock("b", &[(3, 12)], &[1]),
            lock("c", &[(3, 13)], &[2]),
        ];
        assert_eq!(stuck(&locks), [1, 2, 3]);
    }

    #[test]
    fn who_shares_a_lock_and_waits_to_have_it_alone_is_stuck() {
        let upgrade = shared("a", &[(1, 10)], &[1]);
        assert_eq!(stuck(&[upgrade]), [1]);
        let mut more_permits = permits("a", 2, &[(1, 10), (2, 11)], &[1]);
        more_permits.entries[2].mode = LockMode::Shared;
        assert!(stuck(&[more_permits]).is_empty(), "it would share it again");
    }

    #[test]
    fn who_waits_for_what_is_held_around_it_is_stuck_and_so_is_the_holder() {
        let mut held_around = [lock("a", &[(1, 10)], &[3])];
        assert!(stuck(&held_around).is_empty());
        inside(&mut held_around, 3, &[2, 1]);
        assert_eq!(stuck(&held_around), [1, 2, 3]);
        held_around[0].entries[0].is_left = true;
        assert!(stuck(&held_around).is_empty(), "it ends by itself");
    }

    #[test]
    fn who_runs_inside_a_session_that_does_not_wait_is_stuck_by_others_alone() {
        let mut locks = [lock("a", &[(1, 10)], &[4]), lock("b", &[(3, 11)], &[2])];
        inside(&mut locks, 2, &[1]);
        assert!(stuck(&locks).is_empty(), "3 goes on");
        inside(&mut locks, 4, &[3]);
        assert_eq!(stuck(&locks), [1, 2, 3, 4]);
    }

    #[test]
    fn what_a_session_holds_itself_does_not_keep_it_out() {
        assert!(stuck(&[lock("a", &[(1, 10)], &[1])]).is_empty());
        let locks = [
            permits("a", 2, &[(1, 10), (2, 11)], &[1]),
            lock("b", &[(1, 12)], &[2]),
        ];
        assert!(stuck(&locks).is_empty());
    }
}
