//! The way through all locks, from a session to those that it waits for, and round a circle of
//! them.

use std::collections::{BTreeMap, BTreeSet};

use super::stuck::{Stuck, is_in_the_way};
use super::waits::Link;
use crate::service::{LockInfo, PlaceInfo};
use crate::types::{LockName, RecordNumber};

/// A lock that a session waits for, its place in the queue, and what else is known of that.
type Waiting<'a> = (&'a LockName, usize, &'a PlaceInfo);

/// All locks, and what each session waits for, itself or by those that run inside it.
pub(super) struct Map<'a> {
    locks: BTreeMap<&'a LockName, &'a LockInfo>,
    waits: BTreeMap<RecordNumber, Vec<Waiting<'a>>>,
}

/// A session on the way, and where to go on from it.
struct Step<'a> {
    session: RecordNumber,
    ways: Vec<Way<'a>>,
    /// Where it went on from it.
    gone: Option<Way<'a>>,
}

#[derive(Clone, Copy)]
struct Way<'a> {
    who: &'a PlaceInfo,
    waits_for: &'a LockName,
    held_by: &'a PlaceInfo,
}

impl<'a> Map<'a> {
    pub(super) fn new(locks: &'a [LockInfo]) -> Self {
        let mut waits: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for lock in locks {
            for (place, who) in (1..).zip(lock.queue()) {
                for session in [who.session].iter().chain(&who.inside) {
                    let of_session = waits.entry(*session).or_default();
                    of_session.push((&lock.name, place, who));
                }
            }
        }
        Self {
            locks: locks.iter().map(|lock| (&lock.name, lock)).collect(),
            waits,
        }
    }

    /// The lock, if it is held.
    pub(super) fn lock(&self, name: &LockName) -> Option<&'a LockInfo> {
        self.locks.get(name).copied()
    }

    /// What a session waits for, or those that run inside it.
    pub(super) fn waits(&self, session: RecordNumber) -> &[Waiting<'a>] {
        self.waits.get(&session).map_or(&[], Vec::as_slice)
    }

    /// The first cycle of those who are stuck that is come to from the holders of `name`. Whoever
    /// waits in a queue waits for the holders, also through those who are before it: so these need
    /// not be followed.
    pub(super) fn cycle(&self, name: &LockName, stuck: &Stuck<'_>) -> Vec<Link> {
        let mut done = BTreeSet::new();
        let lock = self.lock(name);
        for holder in lock.into_iter().flat_map(LockInfo::holders) {
            let mut path = vec![self.step(holder.session, stuck)];
            while let Some(step) = path.last_mut() {
                let Some(way) = step.ways.pop() else {
                    done.insert(step.session);
                    path.pop();
                    continue;
                };
                step.gone = Some(way);
                let to = way.held_by.session;
                if let Some(at) = path.iter().position(|step| step.session == to) {
                    let ways = path[at..].iter().filter_map(|step| step.gone);
                    return ways.map(Way::link).collect();
                }
                if !done.contains(&to) {
                    path.push(self.step(to, stuck));
                }
            }
        }
        Vec::new()
    }

    fn step(&self, session: RecordNumber, stuck: &Stuck<'_>) -> Step<'a> {
        Step {
            session,
            ways: self.ways(session, stuck),
            gone: None,
        }
    }

    /// From a session to those that keep it out and are stuck.
    fn ways(&self, session: RecordNumber, stuck: &Stuck<'_>) -> Vec<Way<'a>> {
        let mut ways = Vec::new();
        for (waits_for, _, who) in self.waits(session) {
            if !stuck.keeps_out(who.session, waits_for) {
                continue;
            }
            let lock = self.lock(waits_for);
            let others = lock.into_iter().flat_map(LockInfo::holders);
            let others = others.filter(|other| is_in_the_way(other, who));
            ways.extend(
                others
                    .filter(|other| stuck.has(other.session))
                    .map(|held_by| Way {
                        who,
                        waits_for,
                        held_by,
                    }),
            );
        }
        ways
    }

    /// What those in a cycle wait for, and those who keep them out, and so on.
    pub(super) fn knot(&self, cycle: &[Link], stuck: &Stuck<'_>) -> BTreeSet<LockName> {
        let mut names = BTreeSet::new();
        let mut next: Vec<_> = cycle.iter().map(|link| link.who.session).collect();
        let mut seen: BTreeSet<_> = next.iter().copied().collect();
        while let Some(session) = next.pop() {
            for way in self.ways(session, stuck) {
                names.insert(way.waits_for.clone());
                let to = way.held_by.session;
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        names
    }
}

impl Way<'_> {
    fn link(self) -> Link {
        Link {
            who: self.who.clone(),
            waits_for: self.waits_for.clone(),
            held_by: self.held_by.clone(),
        }
    }
}
