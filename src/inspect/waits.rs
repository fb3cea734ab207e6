//! Who waits for whom: from the holders of a lock to what their sessions wait for, and so on.
//!
//! The servers know sessions, not the tasks in them. A session that holds one lock and waits for
//! another may do so in two tasks, one of which goes on; so what is called a deadlock here is one
//! if each session in it holds and waits in one task. A session that waits for what it holds itself
//! is taken for several tasks that take turns, and not for a deadlock, unless it shares a lock and
//! waits to have it alone.
//!
//! A session that runs inside another one is waited for by that one, as a command is by the holder
//! of a lock around it. So the outer one waits for whatever the inner one waits for; and where the
//! inner one waits for what the outer one holds, it waits for itself.
//!
//! A listing is no look at one moment, so what looks like a deadlock in it may never have been one.
//! But what is held by the same token in two looks was held all the while between them: so a second
//! look at the locks that matter settles it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use super::cycle::WaitMap;
use super::deadlocked::Deadlocked;
use crate::service::{LockInfo, QueueEntryInfo};
use crate::types::{LockName, SessionId};

/// What there is to be known of why a lock is not to be had: the part of the wait-for graph that
/// begins at it.
///
/// [`Clerk::wait_graph`](crate::Clerk::wait_graph) makes it, and looks as often as it takes to be
/// sure of a deadlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitGraph {
    locks: Vec<LockInfo>,
    waits: Vec<Wait>,
    cycle: Vec<CycleEdge>,
    /// All locks that have to be as they are for the cycle to be a deadlock.
    deadlock_set: BTreeSet<LockName>,
}

/// A holder of a lock that waits for another one, or a session inside it that does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// Its place in the queue of the lock that it waits for.
    pub who: QueueEntryInfo,
    /// What it holds, or the session that it runs inside.
    pub holds: LockName,
    /// The session that holds it and that it runs inside; none if it holds it itself.
    pub inside: Option<SessionId>,
    /// What it waits for.
    pub waits_for: LockName,
    /// Which place that is, counted from 1.
    pub place: usize,
}

/// A part of a cycle: a session that waits, and a holder that keeps it out. It is the holder of the
/// link before, or runs inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CycleEdge {
    /// Its place in the queue of the lock that it waits for.
    pub who: QueueEntryInfo,
    /// What it waits for.
    pub waits_for: LockName,
    /// Who holds that, and keeps it out: it waits itself, or one inside it does, which is the next
    /// of the cycle.
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

    /// The lock, and then those that its holders wait for, and so on.
    #[must_use]
    pub fn locks(&self) -> &[LockInfo] {
        &self.locks
    }

    /// What the holders of these locks wait for, or those that run inside them; each once, at the
    /// first of these locks.
    #[must_use]
    pub fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// A circle in which each waits for a lock that the next one holds, and the last for one that
    /// the first one holds; or, in place of holding it, runs inside the holder. Empty unless there
    /// is a deadlock.
    #[must_use]
    pub fn cycle(&self) -> &[CycleEdge] {
        &self.cycle
    }

    /// Whether the lock is not to be had because its holders wait in a circle: until one of them
    /// gives up, or one of their locks is broken.
    #[must_use]
    pub const fn is_deadlock(&self) -> bool {
        !self.cycle.is_empty()
    }

    /// The locks to be looked at once more, after all of them have been seen, for
    /// [`stands`](Self::stands). None if there is no deadlock.
    pub fn deadlock_set(&self) -> impl Iterator<Item = &LockName> {
        self.deadlock_set.iter()
    }

    /// Whether the cycle is still a deadlock in a later look at the locks in the
    /// [knot](Self::deadlock_set), and so was one in between. Without a cycle, there is nothing
    /// that could have ended.
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

    /// A lock, without the places that were not there before.
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
