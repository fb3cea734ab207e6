//! Follows the wait-for graph from a lock, and finds a cycle in it.

use std::collections::{BTreeMap, BTreeSet};

use super::deadlocked::{Deadlocked, is_in_the_way};
use super::waits::CycleEdge;
use crate::service::{LockInfo, QueueEntryInfo};
use crate::types::{LockName, SessionId};

/// A lock that a session waits for, its queue entry, and how it waits.
type Waiting<'a> = (&'a LockName, usize, &'a QueueEntryInfo);

/// All locks, and what each session waits for, itself or through sessions that run inside it.
pub(super) struct WaitMap<'a> {
    locks: BTreeMap<&'a LockName, &'a LockInfo>,
    waits: BTreeMap<SessionId, Vec<Waiting<'a>>>,
}

/// A session on the path, and the edge to follow next.
struct Step<'a> {
    session: SessionId,
    edges: Vec<Edge<'a>>,
    /// The edge that was followed from it.
    gone: Option<Edge<'a>>,
}

#[derive(Clone, Copy)]
struct Edge<'a> {
    who: &'a QueueEntryInfo,
    waits_for: &'a LockName,
    held_by: &'a QueueEntryInfo,
}

impl<'a> WaitMap<'a> {
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

    /// What a session waits for, itself or through sessions that run inside it.
    pub(super) fn waits(&self, session: SessionId) -> &[Waiting<'a>] {
        self.waits.get(&session).map_or(&[], Vec::as_slice)
    }

    /// Returns the first cycle of deadlocked sessions that can be reached from the holders of
    /// `name`. A waiter waits for the holders, also through those ahead of it in the queue, so
    /// edges between waiters need not be followed.
    pub(super) fn cycle(&self, name: &LockName, deadlocked: &Deadlocked<'_>) -> Vec<CycleEdge> {
        let mut done = BTreeSet::new();
        let lock = self.lock(name);
        for holder in lock.into_iter().flat_map(LockInfo::holders) {
            let mut path = vec![self.step(holder.session, deadlocked)];
            while let Some(step) = path.last_mut() {
                let Some(way) = step.edges.pop() else {
                    done.insert(step.session);
                    path.pop();
                    continue;
                };
                step.gone = Some(way);
                let to = way.held_by.session;
                if let Some(at) = path.iter().position(|step| step.session == to) {
                    let ways = path[at..].iter().filter_map(|step| step.gone);
                    return ways.map(Edge::to_cycle_edge).collect();
                }
                if !done.contains(&to) {
                    path.push(self.step(to, deadlocked));
                }
            }
        }
        Vec::new()
    }

    fn step(&self, session: SessionId, deadlocked: &Deadlocked<'_>) -> Step<'a> {
        Step {
            session,
            edges: self.edges(session, deadlocked),
            gone: None,
        }
    }

    /// The edges from a session to the deadlocked holders that keep it out.
    fn edges(&self, session: SessionId, deadlocked: &Deadlocked<'_>) -> Vec<Edge<'a>> {
        let mut ways = Vec::new();
        for (waits_for, _, who) in self.waits(session) {
            if !deadlocked.keeps_out(who.session, waits_for) {
                continue;
            }
            let lock = self.lock(waits_for);
            let others = lock.into_iter().flat_map(LockInfo::holders);
            let others = others.filter(|other| is_in_the_way(other, who));
            ways.extend(
                others
                    .filter(|other| deadlocked.has(other.session))
                    .map(|held_by| Edge {
                        who,
                        waits_for,
                        held_by,
                    }),
            );
        }
        ways
    }

    /// The locks that the sessions of a cycle wait for, those that keep them out wait for, and so
    /// on.
    pub(super) fn deadlock_set(
        &self,
        cycle: &[CycleEdge],
        deadlocked: &Deadlocked<'_>,
    ) -> BTreeSet<LockName> {
        let mut names = BTreeSet::new();
        let mut next: Vec<_> = cycle.iter().map(|link| link.who.session).collect();
        let mut seen: BTreeSet<_> = next.iter().copied().collect();
        while let Some(session) = next.pop() {
            for way in self.edges(session, deadlocked) {
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

impl Edge<'_> {
    fn to_cycle_edge(self) -> CycleEdge {
        CycleEdge {
            who: self.who.clone(),
            waits_for: self.waits_for.clone(),
            held_by: self.held_by.clone(),
        }
    }
}
