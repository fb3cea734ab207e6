//! Finds the changes between two inspections of the locks.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::iter::repeat_n;

use crate::service::{LockInfo, LockMode, QueueEntryInfo};
use crate::types::{LockName, SessionId};

/// A change of a lock between two inspections.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockChange {
    /// The name of the lock.
    pub name: LockName,
    /// What happened.
    pub event: LockEvent,
}

/// What happened to a lock, and to whose queue entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockEvent {
    /// A session holds the lock by a new token.
    Granted(QueueEntryInfo),
    /// A session no longer holds the lock by that token: the lock was released or broken, or the
    /// lease is over. Two inspections cannot tell which.
    Ended(QueueEntryInfo),
    /// A session waits for the lock.
    Queued(QueueEntryInfo),
    /// A session no longer waits, and was not granted the lock.
    Left(QueueEntryInfo),
    /// The unowned lock was taken.
    Locked,
    /// The unowned lock was freed.
    Unlocked,
}

impl LockEvent {
    /// The event in one word, as programs print it: `granted`, `ended` and so on.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Ended(_) => "ended",
            Self::Queued(_) => "queued",
            Self::Left(_) => "left",
            Self::Locked => "locked",
            Self::Unlocked => "unlocked",
        }
    }

    /// The queue entry concerned; none for an unowned lock.
    #[must_use]
    pub const fn entry(&self) -> Option<&QueueEntryInfo> {
        match self {
            Self::Granted(place) | Self::Ended(place) | Self::Queued(place) | Self::Left(place) => {
                Some(place)
            }
            Self::Locked | Self::Unlocked => None,
        }
    }
}

/// Returns the changes from `before` to `after`, by name; for each lock, the ends of grants before
/// new grants.
///
/// Both are listings of all locks with one prefix: a lock in neither is free in both. A change that
/// was undone in between is not seen.
#[must_use]
pub fn changes(before: &[LockInfo], after: &[LockInfo]) -> Vec<LockChange> {
    let (before, after) = (by_name(before), by_name(after));
    let mut names: Vec<_> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let each = |name: &LockName| {
        let events = events(before.get(name).copied(), after.get(name).copied());
        let change = |event| LockChange {
            name: name.clone(),
            event,
        };
        events.into_iter().map(change).collect::<Vec<_>>()
    };
    names.into_iter().flat_map(each).collect()
}

fn by_name(locks: &[LockInfo]) -> BTreeMap<&LockName, &LockInfo> {
    locks.iter().map(|lock| (&lock.name, lock)).collect()
}

fn events(before: Option<&LockInfo>, after: Option<&LockInfo>) -> Vec<LockEvent> {
    let was_ownerless = before.is_some_and(|lock| lock.is_unowned);
    let is_ownerless = after.is_some_and(|lock| lock.is_unowned);
    let ended = others(before, after).map(|place| LockEvent::Ended(place.clone()));
    let granted: Vec<_> = others(after, before).collect();
    let mut queues = Queues::new(before, after);
    for place in &granted {
        queues.granted(place);
    }
    let unlocked = (was_ownerless && !is_ownerless).then_some(LockEvent::Unlocked);
    let locked = (is_ownerless && !was_ownerless).then_some(LockEvent::Locked);
    let granted = granted
        .iter()
        .map(|place| LockEvent::Granted((*place).clone()));
    ended
        .chain(queues.left())
        .chain(unlocked)
        .chain(locked)
        .chain(granted)
        .chain(queues.queued())
        .collect()
}

/// Returns the holders of `one` that are not holders of `other`.
fn others<'a>(
    one: Option<&'a LockInfo>,
    other: Option<&'a LockInfo>,
) -> impl Iterator<Item = &'a QueueEntryInfo> {
    let known = move |place: &QueueEntryInfo| {
        let mut holders = other.into_iter().flat_map(LockInfo::holders);
        holders.any(|holder| holder.token == place.token)
    };
    one.into_iter()
        .flat_map(LockInfo::holders)
        .filter(move |place| !known(place))
}

/// How many queue entries a session has, before and after. A session can have several.
#[derive(Debug, Clone)]
struct Count {
    place: QueueEntryInfo,
    before: usize,
    after: usize,
}

struct Queues(BTreeMap<(SessionId, LockMode), Count>);

impl Queues {
    fn new(before: Option<&LockInfo>, after: Option<&LockInfo>) -> Self {
        let mut queues = Self(BTreeMap::new());
        for place in before.into_iter().flat_map(LockInfo::queue) {
            queues.count(place).before += 1;
        }
        for place in after.into_iter().flat_map(LockInfo::queue) {
            queues.count(place).after += 1;
        }
        queues
    }

    fn count(&mut self, place: &QueueEntryInfo) -> &mut Count {
        let key = (place.session, place.mode);
        self.0.entry(key).or_insert_with(|| Count {
            place: QueueEntryInfo {
                token: None,
                since: None,
                retained_for: None,
                ..place.clone()
            },
            before: 0,
            after: 0,
        })
    }

    /// A waiter of the session, if there was one, was granted the lock.
    fn granted(&mut self, place: &QueueEntryInfo) {
        let count = self.count(place);
        count.before = count.before.saturating_sub(1);
    }

    fn left(&self) -> impl Iterator<Item = LockEvent> {
        self.times(LockEvent::Left, |count| {
            count.before.saturating_sub(count.after)
        })
    }

    fn queued(&self) -> impl Iterator<Item = LockEvent> {
        self.times(LockEvent::Queued, |count| {
            count.after.saturating_sub(count.before)
        })
    }

    fn times(
        &self,
        event: impl Fn(QueueEntryInfo) -> LockEvent,
        times: impl Fn(&Count) -> usize,
    ) -> impl Iterator<Item = LockEvent> {
        let counts = self.0.values();
        counts.flat_map(move |count| repeat_n(event(count.place.clone()), times(count)))
    }
}
