//! How near a leader is to its limits: what it refuses, and when it says so.
//!
//! A leader decides when a command asks for its place in the order, from its state and the limits
//! that its engine names. Nothing is decided when commands are applied: the other servers may have
//! other limits by then.

use super::LeaderEvent;
use crate::config::{Limits, RECORD_BYTES};
use crate::machine::{Machine, footprint};
use crate::service::Resource;

/// What was said last of how full this server is. Said once on the way up, and again after a fall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fullness {
    /// Nothing.
    #[default]
    Low,
    /// That a limit is near.
    Near,
    /// That requests are refused.
    Refusing,
}

/// From this many hundredths of a limit on it is near.
const NEAR: u64 = 80;

/// Below this many it is not near any more.
const FAR: u64 = 70;

/// What there is no more room for, when something needs `growth` more bytes for a lock.
pub(super) fn lacking_for_lock(
    machine: &Machine,
    limits: &Limits,
    growth: u64,
) -> Option<Resource> {
    if growth == 0 {
        None
    } else if held(machine) >= limits.locks {
        Some(Resource::Locks)
    } else if machine.footprint() + growth > limits.lock_bytes() {
        Some(Resource::Memory)
    } else {
        None
    }
}

/// What there is no more room for, when a client opens a record.
pub(super) fn lacking_for_client(machine: &Machine, limits: &Limits) -> Option<Resource> {
    if clients(machine) >= limits.clients {
        Some(Resource::Clients)
    } else if machine.footprint() + footprint::SESSION_BYTES > limits.state_bytes() {
        Some(Resource::Memory)
    } else {
        None
    }
}

/// What counts against the limit of locks.
fn held(machine: &Machine) -> u64 {
    machine.locks() + machine.queue_entries() + machine.retained()
}

/// What counts against the limit of clients. Names take memory like records do.
fn clients(machine: &Machine) -> u64 {
    machine.clients() + machine.text_bytes() / RECORD_BYTES
}

impl Fullness {
    /// What to report now that a request is decided, and was `refused` for want of something or
    /// not.
    pub(super) fn note(
        &mut self,
        machine: &Machine,
        limits: &Limits,
        refused: Option<Resource>,
    ) -> Option<LeaderEvent> {
        let is_limit = |resource| {
            use Resource::{Clients, Locks, Memory};
            matches!(resource, Locks | Clients | Memory)
        };
        if let Some(resource) = refused.filter(|resource| is_limit(*resource)) {
            let is_news = *self != Self::Refusing;
            *self = Self::Refusing;
            return is_news.then_some(LeaderEvent::Refusing { resource });
        }
        let (percent, resource) = fullest(machine, limits);
        if percent < FAR {
            *self = Self::Low;
        } else if percent >= NEAR && *self == Self::Low {
            *self = Self::Near;
            return Some(LeaderEvent::NearLimit { resource, percent });
        }
        None
    }
}

/// The limit that is nearest, and how much of it is used, in percent.
fn fullest(machine: &Machine, limits: &Limits) -> (u64, Resource) {
    let of = |used: u64, limit: u64| used / (limit / 100).max(1);
    let locks = of(held(machine), limits.locks);
    let clients = of(clients(machine), limits.clients);
    let memory = of(machine.footprint(), limits.lock_bytes());
    let all = [
        (locks, Resource::Locks),
        (clients, Resource::Clients),
        (memory, Resource::Memory),
    ];
    all.into_iter()
        .max_by_key(|(used, _)| *used)
        .unwrap_or((0, Resource::Locks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MIN_MEMORY;
    use crate::machine::{Command, Outcome};
    use crate::service::{CallId, Verb};
    use crate::types::{ClientId, LockName, OpNumber, Seq, ServerId, SessionId};

    fn limits() -> Limits {
        Limits {
            memory: Some(MIN_MEMORY),
            ..Limits::default()
        }
    }

    /// A machine, and the record of a client that locks and unlocks.
    struct Filling {
        machine: Machine,
        record: SessionId,
        seq: u64,
    }

    impl Filling {
        fn new() -> Self {
            let mut machine = Machine::new(OpNumber(0));
            let client = ClientId::from_u128(1);
            let session = None;
            let Outcome::Opened(session_id) = machine.apply(
                &Command::OpenSession {
                    client,
                    terms: session,
                },
                ServerId::A,
            ) else {
                panic!("a record is opened");
            };
            let seq = 0;
            Self {
                machine,
                record: session_id,
                seq,
            }
        }

        fn call(&mut self, verb: Verb, name: &LockName) {
            let seq = Seq(self.seq);
            self.seq += 1;
            let id = CallId {
                client: ClientId::from_u128(1),
                session: self.record,
                seq,
                first_incomplete: seq,
            };
            let name = name.clone();
            let outcome = self
                .machine
                .apply(&Command::Call { id, verb, name }, ServerId::A);
            assert_eq!(outcome, Outcome::Call(true));
        }

        /// Locks until there is no more room, and tells what was locked.
        fn fill(&mut self) -> (Vec<LockName>, Option<Resource>) {
            let mut names = Vec::new();
            loop {
                let text = format!("{:01000}", names.len());
                let name: LockName = text.parse().expect("a good name");
                let growth = footprint::of_lock(&name);
                let lacking = lacking_for_lock(&self.machine, &limits(), growth);
                if lacking.is_some() {
                    return (names, lacking);
                }
                self.call(Verb::Lock, &name);
                names.push(name);
            }
        }
    }

    #[test]
    fn locks_are_refused_before_memory_is_short_and_clients_after_that() {
        let mut filling = Filling::new();
        let (names, lacking) = filling.fill();
        assert_eq!(lacking, Some(Resource::Memory));
        let (machine, limits) = (&mut filling.machine, limits());
        assert!(
            names.len() as u64 * 1_000 <= limits.lock_bytes(),
            "{}",
            names.len()
        );
        assert!(machine.footprint() <= limits.lock_bytes());
        // What takes no memory goes on, and there is room for clients that want to free something.
        assert_eq!(lacking_for_lock(machine, &limits, 0), None);
        for client in 2..50 {
            assert_eq!(lacking_for_client(machine, &limits), None, "{client}");
            let client = ClientId::from_u128(client);
            machine.apply(
                &Command::OpenSession {
                    client,
                    terms: None,
                },
                ServerId::A,
            );
        }
        while lacking_for_client(machine, &limits).is_none() {
            let client = ClientId::from_u128(0);
            machine.apply(
                &Command::OpenSession {
                    client,
                    terms: None,
                },
                ServerId::A,
            );
            assert!(machine.footprint() <= limits.state_bytes());
        }
        assert_eq!(lacking_for_client(machine, &limits), Some(Resource::Memory));
    }

    #[test]
    fn what_is_freed_gives_its_memory_back() {
        let mut filling = Filling::new();
        let empty = filling.machine.footprint();
        let (names, _) = filling.fill();
        for name in &names {
            filling.call(Verb::Unlock, name);
        }
        assert_eq!(filling.machine.footprint(), empty);
        assert_eq!(filling.fill().0, names);
    }

    #[test]
    fn a_limit_is_told_once_when_it_is_near_and_once_when_it_is_reached() {
        let limits = Limits {
            locks: 100,
            ..Limits::default()
        };
        let mut filling = Filling::new();
        let mut fullness = Fullness::default();
        let names: Vec<LockName> = (0..100)
            .map(|n| n.to_string().parse().expect("a good name"))
            .collect();
        let mut notified = Vec::new();
        let mut note = |filling: &Filling, refused| {
            notified.extend(fullness.note(&filling.machine, &limits, refused));
        };
        for name in &names {
            filling.call(Verb::Lock, name);
            note(&filling, None);
        }
        note(&filling, Some(Resource::Calls));
        let resource = Resource::Locks;
        note(&filling, Some(resource));
        note(&filling, Some(resource));
        for name in &names[..31] {
            filling.call(Verb::Unlock, name);
            note(&filling, None);
        }
        for name in &names[..31] {
            filling.call(Verb::Lock, name);
            note(&filling, None);
        }
        let near = LeaderEvent::NearLimit {
            resource,
            percent: 80,
        };
        assert_eq!(
            notified,
            [near.clone(), LeaderEvent::Refusing { resource }, near]
        );
    }
}
