//! The wait-for graph: from the holders of a lock to what their sessions wait for, and so on.
//!
//! The servers know sessions, not the tasks in them. A session that holds one lock and waits for
//! another may do so in two tasks, and one of them may continue. So a deadlock reported here is one
//! if each session holds and waits in a single task. A session that waits for a lock that it holds
//! itself is taken for several tasks that take turns, not for a deadlock, unless it shares the lock
//! and waits to have it alone.
//!
//! A session waits for those that run inside it, as the holder of a lock does for its command. So
//! the outer one waits for everything that the inner one waits for; and if the inner one waits for
//! a lock of the outer one, it waits for itself.
//!
//! A listing is not atomic, so a deadlock found in it may never have existed. But a lock that is
//! held by the same token in two inspections was held throughout: a second inspection of the locks
//! concerned decides.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use super::cycle::WaitMap;
use super::deadlocked::Deadlocked;
use crate::service::{LockInfo, QueueEntryInfo};
use crate::types::{LockName, SessionId};

/// Explains why a lock is unavailable: the part of the wait-for graph that begins at it.
///
/// [`Clerk::wait_graph`](crate::Clerk::wait_graph) makes it, and inspects the locks until it is
/// sure of a deadlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitGraph {
    locks: Vec<LockInfo>,
    waits: Vec<Wait>,
    cycle: Vec<CycleEdge>,
    /// The locks whose holders and waiters make the cycle a deadlock.
    deadlock_set: BTreeSet<LockName>,
}

/// A holder of a lock that waits for another lock, itself or through a session inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// Its place in the queue of the lock that it waits for.
    pub who: QueueEntryInfo,
    /// The lock that it holds, or that the session holds that it runs inside.
    pub holds: LockName,
    /// The session that it runs inside and that holds the lock; none if it holds the lock itself.
    pub inside: Option<SessionId>,
    /// What it waits for.
    pub waits_for: LockName,
    /// The position in that queue, counted from 1.
    pub place: usize,
}

/// An edge of a cycle: a session that waits, and a holder that keeps it out. The session is the
/// holder of the previous edge, or runs inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CycleEdge {
    /// Its place in the queue of the lock that it waits for.
    pub who: QueueEntryInfo,
    /// What it waits for.
    pub waits_for: LockName,
    /// The holder that keeps it out. It waits too, or a session inside it does, on the next edge.
    pub held_by: QueueEntryInfo,
}

impl WaitGraph {
    /// Follows `name` through all `locks` that are held.
    #[must_use]
    pub fn new(locks: &[LockInfo], name: &LockName) -> Self {
        let map = WaitMap::new(locks);
        let mut graph = Self {
            locks: Vec::new(),
            waits: Vec::new(),
            cycle: Vec::new(),
            deadlock_set: BTreeSet::new(),
        };
        graph.follow(name, &map);
        let seen: Vec<_> = graph.locks.iter().collect();
        let deadlocked = Deadlocked::among(&seen);
        graph.cycle = map.cycle(name, &deadlocked);
        graph.deadlock_set = map.deadlock_set(&graph.cycle, &deadlocked);
        graph
    }

    fn follow(&mut self, name: &LockName, map: &WaitMap<'_>) {
        let mut next = VecDeque::from([name]);
        let (mut locks_seen, mut waits_seen) = (BTreeSet::from([name]), BTreeSet::new());
        while let Some(name) = next.pop_front() {
            let Some(lock) = map.lock(name) else {
                self.locks.push(free(name));
                continue;
            };
            self.locks.push(lock.clone());
            let holders = lock.holders().filter(|holder| !holder.is_left);
            for session in holders.map(|holder| holder.session) {
                for (waits_for, place, who) in map.waits(session) {
                    if !waits_seen.insert((*waits_for, *place)) {
                        continue;
                    }
                    self.waits.push(Wait {
                        who: (*who).clone(),
                        holds: name.clone(),
                        inside: (who.session != session).then_some(session),
                        waits_for: (*waits_for).clone(),
                        place: *place,
                    });
                    if locks_seen.insert(waits_for) {
                        next.push_back(waits_for);
                    }
                }
            }
        }
    }

    /// The lock, then those that its holders wait for, and so on.
    #[must_use]
    pub fn locks(&self) -> &[LockInfo] {
        &self.locks
    }

    /// The waits of these locks' holders, or of sessions that run inside them; each once, at the
    /// first of these locks.
    #[must_use]
    pub fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// The cycle: each session waits for a lock that the next one holds (or that a session holds
    /// that the next one runs inside), and the last for one of the first. Empty unless there is a
    /// deadlock.
    #[must_use]
    pub fn cycle(&self) -> &[CycleEdge] {
        &self.cycle
    }

    /// Whether the lock is unavailable because of a deadlock: until one of the sessions gives up,
    /// or one of their locks is broken.
    #[must_use]
    pub const fn is_deadlock(&self) -> bool {
        !self.cycle.is_empty()
    }

    /// The locks to inspect once more for [`stands`](Self::stands). None if there is no deadlock.
    pub fn deadlock_set(&self) -> impl Iterator<Item = &LockName> {
        self.deadlock_set.iter()
    }

    /// Whether the cycle is still a deadlock in a later inspection of the
    /// [deadlock set](Self::deadlock_set), and so was one throughout. True if there is no cycle.
    #[must_use]
    pub fn stands(&self, later: &[LockInfo]) -> bool {
        let both: Vec<_> = later.iter().map(|lock| self.as_before(lock)).collect();
        let deadlocked = Deadlocked::among(&both.iter().collect::<Vec<_>>());
        self.cycle.iter().all(|link| {
            let lock = both.iter().find(|lock| lock.name == link.waits_for);
            let mut holders = lock.into_iter().flat_map(LockInfo::holders);
            deadlocked.keeps_out(link.who.session, &link.waits_for)
                && holders.any(|holder| holder.token == link.held_by.token)
        })
    }

    /// A lock without the queue entries that are new.
    fn as_before(&self, lock: &LockInfo) -> LockInfo {
        let before = self.locks.iter().find(|before| before.name == lock.name);
        let before = before.map_or(&[][..], |before| &before.entries);
        let mut lock = lock.clone();
        lock.entries.retain(|place| {
            let mut before = before.iter();
            before.any(|it| (it.session, it.token) == (place.session, place.token))
        });
        lock
    }

    /// The same, without a cycle that did not [stand](Self::stands).
    #[must_use]
    pub fn without_cycle(self) -> Self {
        Self {
            cycle: Vec::new(),
            deadlock_set: BTreeSet::new(),
            ..self
        }
    }
}

fn free(name: &LockName) -> LockInfo {
    LockInfo {
        name: name.clone(),
        is_unowned: false,
        entries: Vec::new(),
        waiters: 0,
    }
}
