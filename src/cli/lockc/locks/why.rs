//! Who waits for whom, as it is told: lines for people, JSON for machines.

use std::fmt::Write as _;

use serde::Serialize;

use super::view::{LockView, ModeView, Who, headline};
use crate::cli::escape::escaped;
use crate::looks::WaitGraph;
use crate::types::{LockName, Token};

/// The locks on the way, who waits for which, and the verdict.
pub(super) fn why_text(graph: &WaitGraph) -> String {
    let mut text = String::new();
    for lock in graph.locks() {
        text.push_str(&headline(lock));
        text.push('\n');
        let waits = graph.waits().iter().filter(|wait| wait.holds == lock.name);
        for wait in waits {
            let (who, name) = (Who(&wait.who), escaped(wait.waits_for.as_str()));
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
    let links = graph.cycle().iter().map(|link| {
        let name = escaped(link.waits_for.as_str());
        let (who, holder) = (Who(&link.who), Who(&link.held_by));
        format!("{who} waits for {name}, which {holder} holds")
    });
    let links: Vec<_> = links.collect();
    format!("DEADLOCK: {}.", links.join("; "))
}

/// What is told of it in JSON. Field names are a contract.
#[derive(Debug, Serialize)]
pub(in crate::cli::lockc) struct WhyView {
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

impl WhyView {
    pub(in crate::cli::lockc) fn new(graph: &WaitGraph) -> Self {
        let waits = graph.waits().iter().map(|wait| WaitView {
            client: wait.who.client.to_string(),
            session: wait.who.session.0,
            mode: ModeView::new(wait.who.mode),
            holds: wait.holds.clone(),
            waits_for: wait.waits_for.clone(),
            place: wait.place,
        });
        let cycle = graph.cycle().iter().map(|link| LinkView {
            client: link.who.client.to_string(),
            session: link.who.session.0,
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
    use crate::looks::samples::{lock, plain};
    use crate::service::LockInfo;

    fn graph(locks: &[LockInfo], start: &str) -> WaitGraph {
        WaitGraph::new(locks, &start.parse().expect("a good name"))
    }

    #[test]
    fn the_text_names_each_lock_and_what_its_holders_wait_for() {
        let locks = [
            lock("a", &[(1, 10)], &[9]),
            lock("b", &[(2, 11)], &[8, 1]),
            plain("c", &[2]),
        ];
        assert_eq!(
            why_text(&graph(&locks, "a")),
            "a is held by 00000001/1 (exclusive, token 10); 1 waits\n  \
             00000001/1 waits for b, place 2\n\
             b is held by 00000002/2 (exclusive, token 11); 2 wait\n  \
             00000002/2 waits for c, place 1\n\
             c is held, but by nobody; 1 waits\n\
             \nNo deadlock."
        );
        assert_eq!(why_text(&graph(&locks, "x")), "x is free\n\nNo deadlock.");
    }

    #[test]
    fn a_deadlock_is_told_as_a_sentence() {
        let locks = [lock("a", &[(1, 10)], &[2]), lock("b", &[(2, 11)], &[1])];
        let text = why_text(&graph(&locks, "a"));
        assert!(
            text.ends_with(
                "\n\nDEADLOCK: 00000001/1 waits for b, which 00000002/2 holds; \
                 00000002/2 waits for a, which 00000001/1 holds."
            ),
            "{text}"
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
