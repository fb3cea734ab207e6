//! Who waits for whom: from the holders of a lock to what their sessions wait for, and so on.
//!
//! The servers know sessions, not the tasks in them. A session that holds one lock and waits for another may do
//! so in two tasks, one of which goes on; so what is called a deadlock here is one if each session in it holds
//! and waits in one task. A session that waits for what it holds itself is taken for several tasks that take
//! turns, and not for a deadlock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use serde::Serialize;

use super::stuck::Stuck;
use super::view::{LockView, ModeView, Who, headline, holders, queue};
use crate::cli::exit::one_line;
use crate::service::{LockInfo, PlaceInfo};
use crate::types::{LockName, RecordNumber, Token};

/// What there is to be known of why a lock is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    /// The lock, and then those that its holders wait for, and so on.
    locks: Vec<LockInfo>,
    waits: Vec<Wait>,
    /// Each waits for a lock that the next one holds, and the last for one that the first one holds.
    cycle: Vec<Link>,
    /// All locks that have to be as they are for the cycle to be a deadlock.
    pub(super) knot: BTreeSet<LockName>,
}

/// A holder of a lock that waits for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wait {
    who: PlaceInfo,
    holds: LockName,
    waits_for: LockName,
    /// Counts from 1.
    place: usize,
}

/// A part of a cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    who: PlaceInfo,
    waits_for: LockName,
    held_by: PlaceInfo,
}

impl Trace {
    /// Follows `name` through all `locks` that are held.
    pub(super) fn new(locks: &[LockInfo], name: &LockName) -> Self {
        let map = Map::new(locks);
        let mut trace = Self {
            locks: Vec::new(),
            waits: Vec::new(),
            cycle: Vec::new(),
            knot: BTreeSet::new(),
        };
        let mut next = VecDeque::from([name]);
        let (mut locks_seen, mut sessions_seen) = (BTreeSet::from([name]), BTreeSet::new());
        while let Some(name) = next.pop_front() {
            let Some(lock) = map.locks.get(name) else {
                trace.locks.push(free(name));
                continue;
            };
            trace.locks.push((*lock).clone());
            for holder in holders(lock).filter(|holder| sessions_seen.insert(holder.session)) {
                for (waits_for, place, who) in map.waits(holder.session) {
                    trace.waits.push(Wait {
                        who: **who,
                        holds: name.clone(),
                        waits_for: (*waits_for).clone(),
                        place: *place,
                    });
                    if locks_seen.insert(waits_for) {
                        next.push_back(waits_for);
                    }
                }
            }
        }
        let seen: Vec<_> = trace.locks.iter().collect();
        let stuck = Stuck::among(&seen);
        trace.cycle = map.cycle(name, &stuck);
        trace.knot = map.knot(&trace.cycle, &stuck);
        trace
    }

    /// Whether the cycle is still a deadlock in a later look at the locks in the knot. The first look was no look at
    /// one moment; but what is held by the same token in both was held all the while.
    pub(super) fn stands(&self, later: &[LockInfo]) -> bool {
        let both: Vec<_> = later.iter().map(|lock| self.as_before(lock)).collect();
        let stuck = Stuck::among(&both.iter().collect::<Vec<_>>());
        self.cycle.iter().all(|link| {
            let mut locks = both.iter();
            let lock = locks.find(|lock| lock.name == link.waits_for);
            stuck.keeps_out(link.who.session, &link.waits_for)
                && lock.is_some_and(|lock| {
                    holders(lock).any(|place| place.token == link.held_by.token)
                })
        })
    }

    /// A lock, without the places that were not there before.
    fn as_before(&self, lock: &LockInfo) -> LockInfo {
        let before = self.locks.iter().find(|before| before.name == lock.name);
        let before = before.map_or(&[][..], |before| &before.places);
        let mut lock = lock.clone();
        lock.places.retain(|place| {
            let mut before = before.iter();
            before.any(|it| (it.session, it.token) == (place.session, place.token))
        });
        lock
    }

    /// The same, without a cycle that was none.
    pub(super) fn without_cycle(self) -> Self {
        Self {
            cycle: Vec::new(),
            knot: BTreeSet::new(),
            ..self
        }
    }

    pub(super) fn is_deadlock(&self) -> bool {
        !self.cycle.is_empty()
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&TraceView::new(self))
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for lock in &self.locks {
            text.push_str(&headline(lock));
            text.push('\n');
            for wait in self.waits.iter().filter(|wait| wait.holds == lock.name) {
                let (who, name) = (Who(&wait.who), one_line(wait.waits_for.as_str()));
                // A string takes what is written to it.
                let _ = writeln!(text, "  {who} waits for {name}, place {}", wait.place);
            }
        }
        text.push('\n');
        text.push_str(&self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let links = self.cycle.iter().map(|link| {
            let name = one_line(link.waits_for.as_str());
            let (who, holder) = (Who(&link.who), Who(&link.held_by));
            format!("{who} waits for {name}, which {holder} holds")
        });
        let links: Vec<_> = links.collect();
        if links.is_empty() {
            return "No deadlock.".to_owned();
        }
        format!("DEADLOCK: {}.", links.join("; "))
    }
}

fn free(name: &LockName) -> LockInfo {
    LockInfo {
        name: name.clone(),
        is_ownerless: false,
        places: Vec::new(),
        waiters: 0,
    }
}

/// A lock that a session waits for, its place in the queue, and what else is known of that.
type Waiting<'a> = (&'a LockName, usize, &'a PlaceInfo);

/// All locks, and what each session waits for.
struct Map<'a> {
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
    fn new(locks: &'a [LockInfo]) -> Self {
        let mut waits: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for lock in locks {
            for (place, who) in (1..).zip(queue(lock)) {
                let of_session = waits.entry(who.session).or_default();
                of_session.push((&lock.name, place, who));
            }
        }
        Self {
            locks: locks.iter().map(|lock| (&lock.name, lock)).collect(),
            waits,
        }
    }

    fn waits(&self, session: RecordNumber) -> &[Waiting<'a>] {
        self.waits.get(&session).map_or(&[], Vec::as_slice)
    }

    /// The first cycle of those who are stuck that is come to from the holders of `name`. Whoever waits in a queue
    /// waits for the holders, also through those who are before it: so these need not be followed.
    fn cycle(&self, name: &LockName, stuck: &Stuck<'_>) -> Vec<Link> {
        let mut done = BTreeSet::new();
        let lock = self.locks.get(name);
        for holder in lock.into_iter().flat_map(|lock| holders(lock)) {
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
            if !stuck.keeps_out(session, waits_for) {
                continue;
            }
            let lock = self.locks.get(waits_for);
            let others = lock.into_iter().flat_map(|lock| holders(lock));
            let others = others.filter(|other| other.session != session);
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
    fn knot(&self, cycle: &[Link], stuck: &Stuck<'_>) -> BTreeSet<LockName> {
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
            who: *self.who,
            waits_for: self.waits_for.clone(),
            held_by: *self.held_by,
        }
    }
}

/// What is told of it in JSON. Field names are a contract.
#[derive(Debug, Serialize)]
struct TraceView {
    deadlock: bool,
    locks: Vec<LockView>,
    waits: Vec<WaitView>,
    cycle: Vec<LinkView>,
}

#[derive(Debug, Serialize)]
struct WaitView {
    client: String,
    session: u64,
    #[serde(flatten)]
    mode: ModeView,
    holds: LockName,
    waits_for: LockName,
    place: usize,
}

#[derive(Debug, Serialize)]
struct LinkView {
    client: String,
    session: u64,
    waits_for: LockName,
    /// The session of the next one.
    held_by: u64,
    token: Option<u64>,
}

impl TraceView {
    fn new(trace: &Trace) -> Self {
        let waits = trace.waits.iter().map(|wait| WaitView {
            client: wait.who.client.to_string(),
            session: wait.who.session.0,
            mode: ModeView::new(wait.who.mode),
            holds: wait.holds.clone(),
            waits_for: wait.waits_for.clone(),
            place: wait.place,
        });
        let cycle = trace.cycle.iter().map(|link| LinkView {
            client: link.who.client.to_string(),
            session: link.who.session.0,
            waits_for: link.waits_for.clone(),
            held_by: link.held_by.session.0,
            token: link.held_by.token.map(Token::get),
        });
        Self {
            deadlock: trace.is_deadlock(),
            locks: trace.locks.iter().map(LockView::new).collect(),
            waits: waits.collect(),
            cycle: cycle.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::samples::{lock, permits, plain, shared};
    use super::*;

    fn trace(locks: &[LockInfo], start: &str) -> Trace {
        Trace::new(locks, &start.parse().expect("a good name"))
    }

    /// The names of the locks that it comes through, and the sessions of the cycle.
    fn told(locks: &[LockInfo], start: &str) -> (Vec<String>, Vec<u64>) {
        let trace = trace(locks, start);
        let names = trace.locks.iter().map(|lock| lock.name.to_string());
        let cycle = trace.cycle.iter().map(|link| link.who.session.0);
        (names.collect(), cycle.collect())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_lock_that_is_free_or_whose_holder_waits_for_nothing_is_its_own_reason() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[])];
        assert_eq!(told(&locks, "a"), (names(&["a"]), vec![]));
        assert_eq!(told(&locks, "c"), (names(&["c"]), vec![]));
        assert!(trace(&locks, "c").text().starts_with("c is free\n"));
    }

    #[test]
    fn it_goes_from_holders_to_what_they_wait_for_and_ends_at_a_lock_of_nobody() {
        let locks = [
            lock("a", &[(1, 10)], &[9]),
            lock("b", &[(2, 11)], &[8, 1]),
            plain("c", &[2]),
            lock("d", &[(9, 12)], &[]),
        ];
        assert_eq!(told(&locks, "a"), (names(&["a", "b", "c"]), vec![]));
        let trace = trace(&locks, "a");
        assert_eq!(trace.waits[0].place, 2);
        assert!(
            trace
                .text()
                .contains("\n  00000001/1 waits for b, place 2\n"),
            "{}",
            trace.text()
        );
        assert!(trace.text().ends_with("\nNo deadlock."), "{}", trace.text());
    }

    #[test]
    fn every_holder_of_a_shared_lock_is_followed() {
        let locks = [
            shared("a", &[(1, 10), (2, 11)], &[]),
            lock("b", &[(3, 12)], &[1]),
            lock("c", &[(4, 13)], &[2]),
        ];
        assert_eq!(told(&locks, "a"), (names(&["a", "b", "c"]), vec![]));
    }

    #[test]
    fn two_that_wait_for_each_other_are_a_deadlock() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
        assert_eq!(told(&locks, "a"), (names(&["a", "b"]), vec![1, 2]));
        assert_eq!(told(&locks, "b"), (names(&["b", "a"]), vec![2, 1]));
        assert!(
            trace(&locks, "a").text().ends_with(
                "DEADLOCK: 00000001/1 waits for b, which 00000002/2 holds; \
                 00000002/2 waits for a, which 00000001/1 holds."
            ),
            "{}",
            trace(&locks, "a").text()
        );
    }

    #[test]
    fn a_deadlock_is_found_from_a_lock_that_only_leads_to_it_and_names_only_those_in_it() {
        let locks = [
            lock("a", &[(1, 10)], &[]),
            lock("b", &[(2, 11)], &[1, 4]),
            lock("c", &[(3, 12)], &[2]),
            lock("d", &[(4, 13)], &[3]),
            lock("e", &[(5, 14)], &[1]),
        ];
        let (_, cycle) = told(&locks, "a");
        assert_eq!(cycle, [2, 3, 4]);
        assert!(told(&locks, "e").1.is_empty());
    }

    #[test]
    fn one_of_several_holders_is_enough_for_a_deadlock() {
        let locks = [
            shared("a", &[(1, 10), (2, 11)], &[3]),
            lock("b", &[(3, 12)], &[2]),
        ];
        assert_eq!(told(&locks, "a").1, [2, 3]);
        assert_eq!(told(&locks, "b").1, [3, 2]);
    }

    #[test]
    fn whoever_waits_for_a_permit_is_in_a_deadlock_when_no_holder_can_go_on() {
        let mut locks = vec![
            permits("a", 2, &[(1, 10), (2, 11)], &[3]),
            lock("b", &[(3, 12)], &[1]),
        ];
        assert_eq!(told(&locks, "a"), (names(&["a", "b"]), vec![]));
        locks.push(lock("c", &[(4, 13)], &[2]));
        locks.push(lock("d", &[(3, 14)], &[4]));
        let stuck = trace(&locks, "a");
        assert_eq!(told(&locks, "a").1, [3, 2, 4]);
        assert!(stuck.stands(&locks));
        // The other holder of a permit goes on.
        locks[2] = lock("c", &[(4, 13)], &[]);
        assert!(!stuck.stands(&locks));
        locks[2] = lock("c", &[(4, 13)], &[2]);
        locks[0] = permits("a", 2, &[(1, 10), (2, 15)], &[3]);
        assert!(!stuck.stands(&locks));
    }

    #[test]
    fn two_ways_to_one_session_are_no_deadlock() {
        let locks = [
            shared("a", &[(1, 10), (2, 11)], &[]),
            lock("b", &[(3, 12)], &[1, 2]),
            lock("c", &[(3, 13)], &[1, 2]),
        ];
        assert!(told(&locks, "a").1.is_empty());
    }

    #[test]
    fn a_session_that_waits_for_what_it_holds_is_shown_but_is_no_deadlock() {
        let locks = [lock("a", &[(1, 10)], &[1])];
        assert_eq!(told(&locks, "a"), (names(&["a"]), vec![]));
        assert!(
            trace(&locks, "a")
                .text()
                .contains("\n  00000001/1 waits for a, place 1\n")
        );
    }

    #[test]
    fn a_deadlock_stands_if_it_is_there_again_by_the_same_tokens() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
        let trace = trace(&locks, "a");
        assert!(trace.stands(&locks));
        let other_grant = [lock("a", &[(1, 15)], &[2]), locks[1].clone()];
        let waits_no_more = [lock("a", &[(1, 10)], &[]), locks[1].clone()];
        let gone = [locks[0].clone()];
        for later in [&other_grant[..], &waits_no_more, &gone] {
            assert!(!trace.stands(later), "{later:?}");
        }
    }

    #[test]
    fn the_json_tells_all_of_it() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
        let json = trace(&locks, "a").json().expect("it encodes");
        let told: Value = serde_json::from_str(&json).expect("JSON");
        let client = "00000001-0000-0000-0000-000000000000";
        assert_eq!(told["deadlock"], true);
        assert_eq!(told["locks"][1]["holders"][0]["token"], 11);
        assert_eq!(
            told["waits"][0],
            json!({ "client": client, "session": 1, "mode": "exclusive", "holds": "a",
                "waits_for": "b", "place": 1 })
        );
        assert_eq!(
            told["cycle"][0],
            json!({ "client": client, "session": 1, "waits_for": "b", "held_by": 2, "token": 11 })
        );
    }
}
