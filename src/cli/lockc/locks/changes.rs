//! What has changed between two looks at the locks.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::view::{PlaceView, Who, holders, mode, queue};
use crate::cli::exit::one_line;
use crate::service::{LockInfo, Mode, PlaceInfo};
use crate::types::{LockName, RecordNumber};

/// The locks that are held, by name.
pub(super) type Look = BTreeMap<LockName, LockInfo>;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    name: LockName,
    event: Event,
    /// Whose; nobody's for a lock without an owner.
    place: Option<PlaceInfo>,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// Somebody holds the lock by a new token.
    Granted,
    /// Somebody does not hold the lock by that token any more. Two looks do not tell why.
    Ended,
    /// Somebody waits.
    Queued,
    /// Somebody does not wait any more, and has not got the lock.
    Left,
    /// Held without an owner.
    Locked,
    /// Not held without an owner any more.
    Unlocked,
}

/// What has changed from `before` to `after`, by name; of each lock, first what makes room for the rest.
pub(super) fn changes(before: &Look, after: &Look) -> Vec<Change> {
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let each = |name: &LockName| changes_of(name, before.get(name), after.get(name));
    names.into_iter().flat_map(each).collect()
}

fn changes_of(name: &LockName, before: Option<&LockInfo>, after: Option<&LockInfo>) -> Vec<Change> {
    let was_ownerless = before.is_some_and(|lock| lock.is_ownerless);
    let is_ownerless = after.is_some_and(|lock| lock.is_ownerless);
    let ended = others(before, after).map(|place| (Event::Ended, Some(*place)));
    let granted: Vec<_> = others(after, before).collect();
    let mut queues = Queues::new(before, after);
    for place in &granted {
        queues.granted(place);
    }
    let unlocked = (was_ownerless && !is_ownerless).then_some((Event::Unlocked, None));
    let locked = (is_ownerless && !was_ownerless).then_some((Event::Locked, None));
    let granted = granted
        .into_iter()
        .map(|place| (Event::Granted, Some(*place)));
    ended
        .chain(queues.left())
        .chain(unlocked)
        .chain(locked)
        .chain(granted)
        .chain(queues.queued())
        .map(|(event, place)| Change {
            name: name.clone(),
            event,
            place,
        })
        .collect()
}

/// The holders of `one` that are not holders of the `other`.
fn others<'a>(
    one: Option<&'a LockInfo>,
    other: Option<&'a LockInfo>,
) -> impl Iterator<Item = &'a PlaceInfo> {
    let known = move |place: &PlaceInfo| {
        let mut holders = other.into_iter().flat_map(holders);
        holders.any(|holder| holder.token == place.token)
    };
    one.into_iter()
        .flat_map(holders)
        .filter(move |place| !known(place))
}

/// How many places a session has in a queue, before and after. A session can have several.
#[derive(Debug, Clone, Copy)]
struct Count {
    place: PlaceInfo,
    before: usize,
    after: usize,
}

struct Queues(BTreeMap<(RecordNumber, Mode), Count>);

impl Queues {
    fn new(before: Option<&LockInfo>, after: Option<&LockInfo>) -> Self {
        let mut queues = Self(BTreeMap::new());
        for place in before.into_iter().flat_map(queue) {
            queues.count(place).before += 1;
        }
        for place in after.into_iter().flat_map(queue) {
            queues.count(place).after += 1;
        }
        queues
    }

    fn count(&mut self, place: &PlaceInfo) -> &mut Count {
        let key = (place.session, place.mode);
        self.0.entry(key).or_insert(Count {
            place: PlaceInfo {
                token: None,
                since: None,
                ..*place
            },
            before: 0,
            after: 0,
        })
    }

    /// One that waited, if it did, has got the lock.
    fn granted(&mut self, place: &PlaceInfo) {
        let count = self.count(place);
        count.before = count.before.saturating_sub(1);
    }

    fn left(&self) -> impl Iterator<Item = (Event, Option<PlaceInfo>)> {
        self.times(Event::Left, |count| {
            count.before.saturating_sub(count.after)
        })
    }

    fn queued(&self) -> impl Iterator<Item = (Event, Option<PlaceInfo>)> {
        self.times(Event::Queued, |count| {
            count.after.saturating_sub(count.before)
        })
    }

    fn times(
        &self,
        event: Event,
        times: impl Fn(&Count) -> usize,
    ) -> impl Iterator<Item = (Event, Option<PlaceInfo>)> {
        let counts = self.0.values();
        counts.flat_map(move |count| std::iter::repeat_n((event, Some(count.place)), times(count)))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = one_line(self.name.as_str());
        let Some(place) = &self.place else {
            let what = match self.event {
                Event::Unlocked => "unlocked",
                _ => "locked, and belongs to nobody",
            };
            return write!(f, "{name}: {what}");
        };
        let (who, mode) = (Who(place), mode(place.mode));
        match self.event {
            Event::Granted => write!(f, "{name}: granted to {who}, {mode}")?,
            Event::Ended => write!(f, "{name}: no longer held by {who}")?,
            Event::Left => write!(f, "{name}: {who} left the queue")?,
            _ => write!(f, "{name}: {who} queued, {mode}")?,
        }
        place
            .token
            .map_or(Ok(()), |token| write!(f, ", token {token}"))
    }
}

/// What is told of it in JSON. Field names are a contract.
#[derive(Debug, Serialize)]
struct ChangeView<'a> {
    event: Event,
    name: &'a LockName,
    #[serde(flatten)]
    place: Option<PlaceView>,
}

impl Change {
    /// In one line.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&ChangeView {
            event: self.event,
            name: &self.name,
            place: self.place.as_ref().map(PlaceView::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{lock, plain, shared};
    use super::*;

    fn look(locks: &[LockInfo]) -> Look {
        let named = locks.iter().map(|lock| (lock.name.clone(), lock.clone()));
        named.collect()
    }

    fn told(before: &[LockInfo], after: &[LockInfo]) -> Vec<String> {
        let changes = changes(&look(before), &look(after));
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_told_of_what_has_not_changed() {
        let locks = [lock("a", &[(1, 10)], &[2, 2, 3]), plain("b", &[1])];
        assert_eq!(told(&locks, &locks), [""; 0]);
    }

    #[test]
    fn a_lock_that_passes_on_is_told_as_it_happened() {
        assert_eq!(
            told(
                &[lock("a", &[(1, 10)], &[2, 3])],
                &[lock("a", &[(2, 11)], &[3, 4])]
            ),
            [
                "a: no longer held by 00000001/1, token 10",
                "a: granted to 00000002/2, exclusive, token 11",
                "a: 00000004/4 queued, exclusive",
            ]
        );
    }

    #[test]
    fn who_leaves_the_queue_without_the_lock_is_told() {
        assert_eq!(
            told(
                &[lock("a", &[(1, 10)], &[2])],
                &[lock("a", &[(1, 10)], &[])]
            ),
            ["a: 00000002/2 left the queue"]
        );
    }

    #[test]
    fn a_session_with_several_places_is_counted() {
        assert_eq!(
            told(
                &[lock("a", &[(1, 10)], &[2, 2])],
                &[lock("a", &[(2, 11)], &[2])]
            ),
            [
                "a: no longer held by 00000001/1, token 10",
                "a: granted to 00000002/2, exclusive, token 11",
            ]
        );
        assert_eq!(
            told(
                &[lock("a", &[(1, 10)], &[2])],
                &[lock("a", &[(1, 10)], &[2, 2, 2])]
            ),
            ["a: 00000002/2 queued, exclusive"; 2]
        );
    }

    #[test]
    fn a_new_grant_of_the_same_session_is_a_change() {
        assert_eq!(
            told(&[lock("a", &[(1, 10)], &[])], &[lock("a", &[(1, 11)], &[])]),
            [
                "a: no longer held by 00000001/1, token 10",
                "a: granted to 00000001/1, exclusive, token 11",
            ]
        );
    }

    #[test]
    fn locks_come_and_go_by_name() {
        assert_eq!(
            told(
                &[shared("b", &[(1, 10), (2, 11)], &[]), plain("d", &[])],
                &[lock("a", &[(3, 12)], &[]), plain("c", &[])],
            ),
            [
                "a: granted to 00000003/3, exclusive, token 12",
                "b: no longer held by 00000001/1, token 10",
                "b: no longer held by 00000002/2, token 11",
                "c: locked, and belongs to nobody",
                "d: unlocked",
            ]
        );
    }

    #[test]
    fn the_json_of_a_change_is_a_line_with_what_is_known() {
        let changes = changes(
            &look(&[]),
            &look(&[lock("a\n", &[(1, 10)], &[]), plain("b", &[])]),
        );
        let lines: Vec<_> = changes
            .iter()
            .map(|it| it.json().expect("it encodes"))
            .collect();
        assert_eq!(
            lines,
            [
                r#"{"event":"granted","name":"a\n","client":"00000001-0000-0000-0000-000000000000","session":1,"mode":"exclusive","token":10,"since":10}"#,
                r#"{"event":"locked","name":"b"}"#,
            ]
        );
    }
}
