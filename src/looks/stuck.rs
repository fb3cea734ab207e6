//! Who cannot go on whatever the others do.
//!
//! Whoever waits for a permit does so until any of the holders lets go, not one of them in particular: so a circle of
//! sessions that wait for each other is no deadlock as long as somebody outside of it makes room. Those who are
//! stuck are what is left of all who wait when those are taken away, again and again, that get in once all others
//! have let go.

use std::collections::BTreeSet;

use crate::service::LockInfo;
use crate::types::{LockName, RecordNumber};

/// The sessions that are stuck, each with the locks that it cannot get.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stuck<'a> {
    sessions: BTreeSet<RecordNumber>,
    waits: BTreeSet<(RecordNumber, &'a LockName)>,
}

impl<'a> Stuck<'a> {
    /// Those among whoever waits for `locks`. All that they wait for should be there.
    pub(super) fn among(locks: &[&'a LockInfo]) -> Self {
        let mut stuck = Self::default();
        let waiters = locks.iter().flat_map(|lock| lock.queue());
        stuck.sessions.extend(waiters.map(|place| place.session));
        loop {
            let each = locks.iter().flat_map(|lock| {
                let kept_out = kept_out(lock, &stuck.sessions);
                kept_out.map(|session| (session, &lock.name))
            });
            let waits: BTreeSet<_> = each.collect();
            let sessions: BTreeSet<_> = waits.iter().map(|(session, _)| *session).collect();
            let is_all = sessions == stuck.sessions;
            stuck = Self { sessions, waits };
            if is_all {
                return stuck;
            }
        }
    }

    pub(super) fn has(&self, session: RecordNumber) -> bool {
        self.sessions.contains(&session)
    }

    /// Whether `session` cannot get the lock `name`, for which it waits.
    pub(super) fn keeps_out(&self, session: RecordNumber, name: &LockName) -> bool {
        self.waits.contains(&(session, name))
    }
}

/// Who does not get in when all holders but those that are `stuck` have let go. What a session holds itself does not
/// keep it out: it is taken for several tasks, which take turns.
fn kept_out<'a>(
    lock: &'a LockInfo,
    stuck: &'a BTreeSet<RecordNumber>,
) -> impl Iterator<Item = RecordNumber> + 'a {
    let remaining: Vec<_> = lock
        .holders()
        .filter(|holder| stuck.contains(&holder.session))
        .collect();
    // Nobody gets in before those who are further ahead.
    let mut ahead = u32::MAX;
    lock.queue().filter_map(move |waiter| {
        ahead = ahead.min(waiter.mode.most_holders());
        let others = remaining
            .iter()
            .filter(|holder| holder.session != waiter.session);
        let promised = others.clone().map(|holder| holder.mode.most_holders());
        let most = promised.min()?.min(ahead);
        (others.count() as u64 >= u64::from(most)).then_some(waiter.session)
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{lock, permits, shared};
    use super::*;
    use crate::service::Mode;

    fn stuck(locks: &[LockInfo]) -> Vec<u64> {
        let locks: Vec<_> = locks.iter().collect();
        let stuck = Stuck::among(&locks);
        stuck.sessions.iter().map(|session| session.0).collect()
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
        alone.places[2].mode = Mode::Exclusive;
        assert_eq!(stuck(&[alone, other.clone()]), [1, 3, 4]);
        let shares = shared("a", &[(1, 10), (2, 11)], &[3]);
        assert_eq!(stuck(&[shares, other]), [1, 3]);
    }

    #[test]
    fn what_the_holders_were_promised_keeps_out_too() {
        let mut shares = permits("a", 2, &[(1, 10), (2, 11)], &[3]);
        shares.places[2].mode = Mode::Shared;
        let locks = [
            shares,
            lock("b", &[(3, 12)], &[1]),
            lock("c", &[(3, 13)], &[2]),
        ];
        assert_eq!(stuck(&locks), [1, 2, 3]);
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
