//! Breadth first through every state of a scope, and back again from where all is well.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldhash::quality::FixedState;

use super::super::{A, B};
use super::actions::Action;
use super::acts::Context;
use super::checks::{self, Violation};
use super::cores::{Cores, Late};
use super::scope::Scope;
use super::world::World;

/// What was found.
#[derive(Debug)]
pub(super) struct Report {
    states: usize,
    steps: usize,
    depth: usize,
    /// The highest view.
    view: u64,
    /// States of a single server, and how often the core was run.
    cores: (usize, usize),
    /// Whether all states were seen.
    pub(super) is_complete: bool,
    /// What is broken, and the shortest way there.
    pub(super) broken: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            steps,
            depth,
            view,
            cores: (cores, runs),
            ..
        } = self;
        let seen = match (&self.broken, self.is_complete) {
            (Some(_), _) => "broken after",
            (None, true) => "all of",
            (None, false) => "no more than",
        };
        write!(
            f,
            "{seen} {states} states, depth {depth}, {steps} steps, view {view}; {cores} states of one \
             server, {runs} steps of it"
        )
    }
}

struct Node {
    parent: u32,
    action: u16,
    depth: u16,
}

pub(super) struct Search<'a> {
    scope: &'a Scope,
    cores: Cores,
    root: World,
    seen: HashMap<u64, u32, FixedState>,
    nodes: Vec<Node>,
    /// Steps that are no faults, for the way back.
    edges: Vec<(u32, u32)>,
    done: Vec<u32>,
    view: u64,
}

/// Explores up to `most` states of `scope`.
pub(super) fn explore(scope: &Scope, most: usize) -> Report {
    let mut cores = Cores::default();
    let root = begin(scope, &mut cores);
    let mut search = Search {
        scope,
        cores,
        root,
        seen: HashMap::default(),
        nodes: Vec::new(),
        edges: Vec::new(),
        done: Vec::new(),
        view: 0,
    };
    let found = search.forward(most);
    let (is_complete, broken) = match found {
        Ok(true) => (true, search.backward()),
        Ok(false) => (false, None),
        Err(broken) => (false, Some(broken)),
    };
    Report {
        states: search.nodes.len(),
        steps: search.edges.len(),
        depth: search.nodes.last().map_or(0, |node| node.depth.into()),
        view: search.view,
        cores: search.cores.counts(),
        is_complete,
        broken,
    }
}

/// The first state: what is on the way arrives in order until there is nothing left to do.
fn begin(scope: &Scope, cores: &mut Cores) -> World {
    let mut world = World::new(scope);
    if !scope.begins_whole {
        return world;
    }
    let mut context = Context {
        scope,
        cores,
        events: Vec::new(),
    };
    let act = |world: &mut World, context: &mut Context, action| {
        world.act(action, context).expect("nothing goes wrong yet");
    };
    act(&mut world, &mut context, Action::Restart(A));
    act(&mut world, &mut context, Action::Restart(B));
    for _ in 0..1_000 {
        let actions = world.actions(scope, context.cores);
        let next = actions.iter().find(|action| {
            matches!(
                action,
                Action::Deliver(_) | Action::Forth(_) | Action::Back(_)
            )
        });
        if let Some(next) = next {
            act(&mut world, &mut context, *next);
        } else if !world.is_whole(context.cores) {
            act(&mut world, &mut context, Action::Quiet(A));
        } else if let Some((client, _)) = world
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.done < scope.before)
            .min_by_key(|(_, client)| client.done)
        {
            let client = u8::try_from(client).expect("few");
            act(&mut world, &mut context, Action::Ask(client, A));
        } else {
            return world;
        }
    }
    panic!("the pair does not form");
}

impl Search<'_> {
    fn note(&mut self, world: &World, parent: u32, action: u16) -> Result<u32, u32> {
        let next = u32::try_from(self.nodes.len()).expect("fewer states than that");
        let known = *self.seen.entry(world.fingerprint()).or_insert(next);
        if known != next {
            return Err(known);
        }
        let depth = self
            .nodes
            .get(parent as usize)
            .map_or(0, |node| node.depth + 1);
        self.nodes.push(Node {
            parent,
            action,
            depth,
        });
        self.view = self.view.max(world.view(&self.cores));
        if world.is_done(&self.cores) {
            self.done.push(next);
        }
        Ok(next)
    }

    /// Whether all states were seen; or what is broken.
    fn forward(&mut self, most: usize) -> Result<bool, String> {
        let root = self.root.clone();
        let mut queue = VecDeque::new();
        let _ = self.note(&root, 0, 0);
        queue.push_back((0, root));
        while let Some((from, world)) = queue.pop_front() {
            if self.nodes.len() >= most {
                return Ok(false);
            }
            let actions = world.actions(self.scope, &self.cores);
            for (at, action) in (0..).zip(actions) {
                let mut next = world.clone();
                let outcome = self.step(&mut next, action);
                if let Err(Violation(what)) = outcome {
                    return Err(self.tell(from, Some(at), &what));
                }
                let to = match self.note(&next, from, at) {
                    Ok(to) => {
                        queue.push_back((to, next));
                        to
                    }
                    Err(known) => known,
                };
                if !action.is_fault() && to != from {
                    self.edges.push((from, to));
                }
            }
        }
        Ok(true)
    }

    fn step(&mut self, world: &mut World, action: Action) -> Result<(), Violation> {
        let mut context = Context {
            scope: self.scope,
            cores: &mut self.cores,
            events: Vec::new(),
        };
        let act = AssertUnwindSafe(|| world.act(action, &mut context));
        let panicked = |_| Err(Violation("it panics".into()));
        catch_unwind(act).unwrap_or_else(panicked)?;
        checks::check(world, self.scope, &self.cores)
    }

    /// From every state the pair can become whole and answer every call, without anything going
    /// wrong on the way. Tells of the nearest state of which that is not true.
    fn backward(&self) -> Option<String> {
        let count = self.nodes.len();
        let mut start = vec![0u32; count + 1];
        for (_, to) in &self.edges {
            start[*to as usize + 1] += 1;
        }
        for at in 0..count {
            start[at + 1] += start[at];
        }
        let mut next = start.clone();
        let mut before = vec![0u32; self.edges.len()];
        for (from, to) in &self.edges {
            before[next[*to as usize] as usize] = *from;
            next[*to as usize] += 1;
        }
        let mut reaches = vec![false; count];
        let mut queue = self.done.clone();
        for at in &queue {
            reaches[*at as usize] = true;
        }
        while let Some(at) = queue.pop() {
            let range = start[at as usize] as usize..start[at as usize + 1] as usize;
            for from in &before[range] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    queue.push(*from);
                }
            }
        }
        let stuck = reaches.iter().position(|reaches| !reaches)?;
        let stuck = u32::try_from(stuck).expect("fewer states than that");
        Some(self.tell_stuck(stuck))
    }

    fn tell_stuck(&self, at: u32) -> String {
        let what = "from here the pair never becomes whole with every call answered";
        let mut copy = Search {
            scope: self.scope,
            cores: Cores::default(),
            root: self.root.clone(),
            seen: HashMap::default(),
            nodes: Vec::new(),
            edges: Vec::new(),
            done: Vec::new(),
            view: 0,
        };
        copy.root = begin(self.scope, &mut copy.cores);
        copy.tell_path(&self.path(at), None, what)
    }

    fn path(&self, mut at: u32) -> Vec<u16> {
        let mut path = Vec::new();
        while at != 0 {
            let node = &self.nodes[at as usize];
            path.push(node.action);
            at = node.parent;
        }
        path.reverse();
        path
    }

    fn tell(&mut self, at: u32, last: Option<u16>, what: &str) -> String {
        let path = self.path(at);
        self.tell_path(&path, last, what)
    }

    fn tell_path(&mut self, path: &[u16], last: Option<u16>, what: &str) -> String {
        let mut text = format!("{what}\nin the scope `{}`, after:\n", self.scope.name);
        let mut world = self.root.clone();
        for at in path.iter().copied().chain(last) {
            let action = world.actions(self.scope, &self.cores)[usize::from(at)];
            let _ = writeln!(text, "  {}", world.tell(action));
            let mut context = Context {
                scope: self.scope,
                cores: &mut self.cores,
                events: Vec::new(),
            };
            let _ = catch_unwind(AssertUnwindSafe(|| world.act(action, &mut context)));
            for (server, event) in context.events {
                let _ = writeln!(text, "      {server}: {event}");
            }
        }
        for server in [A, B] {
            let host = world.host(server);
            let core = host.core.map(|core| self.cores.look(core));
            let late = host.late != Late::No;
            let _ = writeln!(
                text,
                "  {server}, stopped: {:?}, late: {late}: {core:?}",
                host.stopped
            );
        }
        let _ = writeln!(text, "  {:?}\n  {:?}", world.conns, world.flights);
        let _ = writeln!(text, "  {:?}\n  {:?}", world.clients, world.history);
        text
    }
}
