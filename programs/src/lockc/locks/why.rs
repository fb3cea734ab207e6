//! Prints who waits for whom: in lines for people, as JSON for machines.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::Serialize;

use super::view::{HolderName, LockView, ModeView, headline};
use crate::escape::escaped;
use lockservice::inspect::WaitGraph;
use lockservice::service::QueueEntryInfo;
use lockservice::types::{LockName, SessionName, Token};

/// The locks on the way, who waits for which, and the verdict.
pub(super) fn why_text(graph: &WaitGraph, now: SystemTime) -> String {
    let mut text = String::new();
    for lock in graph.locks() {
        text.push_str(&headline(lock, now));
        text.push('\n');
        let waits = graph.waits().iter().filter(|wait| wait.holds == lock.name);
        for wait in waits {
            let mut holders = lock.holders();
            let outer = holders.find(|holder| Some(holder.session) == wait.inside);
            let (who, name) = (waiter(&wait.who, outer), escaped(wait.waits_for.as_str()));
            // A string takes what is written to it.
            let _ = writeln!(text, "  {who} waits for {name}, place {}", wait.place);
        }
    }
    text.push('\n');
    text.push_str(&verdict(graph));
    text
}

fn verdict(graph: &WaitGraph) -> String {
    if !graph.is_deadlock() {
        return "No deadlock.".to_owned();
    }
    // Each is the holder that the one before it waits for, or runs inside it.
    let before = graph.cycle().iter().cycle().skip(graph.cycle().len() - 1);
    let links = graph.cycle().iter().zip(before).map(|(link, before)| {
        let (name, holder) = (escaped(link.waits_for.as_str()), HolderName(&link.held_by));
        if link.who.session == link.held_by.session {
            return format!("{holder} waits to have {name} alone, which it shares");
        }
        let who = waiter(&link.who, Some(&before.held_by));
        format!("{who} waits for {name}, which {holder} holds")
    });
    let links: Vec<_> = links.collect();
    format!("DEADLOCK: {}.", links.join("; "))
}

/// Who waits, and the holder that it runs inside, if it is not that one itself.
fn waiter(who: &QueueEntryInfo, outer: Option<&QueueEntryInfo>) -> String {
    match outer.filter(|outer| outer.session != who.session) {
        Some(outer) => format!("{}, inside {},", HolderName(who), HolderName(outer)),
        None => HolderName(who).to_string(),
    }
}

/// Its JSON. Field names are a contract.
#[derive(Debug, Serialize)]
pub(in crate::lockc) struct WhyView {
    deadlock: bool,
    locks: Vec<LockView>,
    waits: Vec<WaitView>,
    cycle: Vec<CycleEdgeView>,
}

#[derive(Debug, Serialize)]
struct WaitView {
    client: String,
    session: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<SessionName>,
    #[serde(flatten)]
    mode: ModeView,
    holds: LockName,
    /// The session that holds it, if it runs inside that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<u64>,
    waits_for: LockName,
    place: usize,
}

#[derive(Debug, Serialize)]
struct CycleEdgeView {
    client: String,
    session: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<SessionName>,
    /// The sessions that it runs inside, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inside: Vec<u64>,
    waits_for: LockName,
    /// The session of the next one, or the one that it runs inside.
    held_by: u64,
    token: Option<u64>,
}

impl WhyView {
    pub(in crate::lockc) fn new(graph: &WaitGraph) -> Self {
        let waits = graph.waits().iter().map(|wait| WaitView {
            client: wait.who.client.to_string(),
            session: wait.who.session.0,
            session_name: wait.who.name.clone(),
            inside: wait.inside.map(|session| session.0),
            mode: ModeView::new(wait.who.mode),
            holds: wait.holds.clone(),
            waits_for: wait.waits_for.clone(),
            place: wait.place,
        });
        let cycle = graph.cycle().iter().map(|link| CycleEdgeView {
            client: link.who.client.to_string(),
            session: link.who.session.0,
            session_name: link.who.name.clone(),
            inside: link.who.inside.iter().map(|session| session.0).collect(),
            waits_for: link.waits_for.clone(),
            held_by: link.held_by.session.0,
            token: link.held_by.token.map(Token::get),
        });
        Self {
            deadlock: graph.is_deadlock(),
            locks: graph.locks().iter().map(LockView::new).collect(),
            waits: waits.collect(),
            cycle: cycle.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use lockservice::inspect::samples::{inside, lock, shared, unowned};
    use lockservice::service::LockInfo;
    use lockservice::types::UnixTime;

    fn graph(locks: &[LockInfo], start: &str) -> WaitGraph {
        WaitGraph::new(locks, &start.parse().expect("a good name"))
    }

    fn text(locks: &[LockInfo], start: &str) -> String {
        why_text(&graph(locks, start), UnixTime(11).time())
    }

    #[test]
    fn the_text_names_each_lock_and_what_its_holders_wait_for() {
        let locks = [
            lock("a", &[(1, 10)], &[9]),
            lock("b", &[(2, 11)], &[8, 1]),
            unowned("c", &[2]),
        ];
        assert_eq!(
            text(&locks, "a"),
            "a is held by 00000001/1, for 1 second, token 10; 1 waits\n  \
             00000001/1 waits for b, place 2\n\
             b is held by 00000002/2, for 0 seconds, token 11; 2 wait\n  \
             00000002/2 waits for c, place 1\n\
             c is held, but by nobody; 1 waits\n\
             \nNo deadlock."
        );
        assert_eq!(text(&locks, "x"), "x is free\n\nNo deadlock.");
    }

    #[test]
    fn a_deadlock_is_told_as_a_sentence() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
        let text = text(&locks, "a");
        assert!(
            text.ends_with(
                "\n\nDEADLOCK: 00000001/1 waits for b, which 00000002/2 holds; \
                 00000002/2 waits for a, which 00000001/1 holds."
            ),
            "{text}"
        );
    }

    #[test]
    fn a_deadlock_of_those_inside_holders_and_of_one_that_would_have_alone_what_it_shares() {
        let mut locks = [lock("a", &[(1, 10)], &[4]), lock("b", &[(2, 11)], &[3])];
        inside(&mut locks, 3, &[1]);
        inside(&mut locks, 4, &[2]);
        let told = text(&locks, "a");
        assert!(
            told.ends_with(
                "\n\nDEADLOCK: 00000003/3, inside 00000001/1, waits for b, which 00000002/2 holds; \
                 00000004/4, inside 00000002/2, waits for a, which 00000001/1 holds."
            ),
            "{told}"
        );
        assert!(
            told.contains("\n  00000003/3, inside 00000001/1, waits for b, place 1\n"),
            "{told}"
        );
        let mut itself = [lock("a", &[(1, 10)], &[3])];
        inside(&mut itself, 3, &[1]);
        assert!(
            text(&itself, "a").ends_with(
                "DEADLOCK: 00000003/3, inside 00000001/1, waits for a, which 00000001/1 holds."
            ),
            "{}",
            text(&itself, "a")
        );
        let upgrade = text(&[shared("a", &[(1, 10)], &[1])], "a");
        assert!(
            upgrade.ends_with("DEADLOCK: 00000001/1 waits to have a alone, which it shares."),
            "{upgrade}"
        );
    }

    #[test]
    fn the_json_tells_all_of_it() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
        let view = WhyView::new(&graph(&locks, "a"));
        let told = serde_json::to_value(view).expect("it encodes");
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
