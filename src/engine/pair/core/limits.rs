//! The limits of the two servers' states: the smaller ones apply.
//!
//! A primary that filled its state up to larger limits than its backup has would kill its backup,
//! or leave the backup without room once that takes over. A backup that is away comes back, so the
//! limits that it had go on to apply until it names others.

use std::fmt;

use super::{Core, Effect, Event};
use crate::config::Limits;
use crate::engine::pair::protocol::StateLimits;

const MEBIBYTE: u64 = 1024 * 1024;

impl<T> Core<T> {
    /// Applies the peer's limits where they are smaller than this server's. Reports it once when
    /// they differ.
    pub(super) fn note_limits(&mut self, theirs: StateLimits, effects: &mut Vec<Effect<T>>) {
        if std::mem::replace(&mut self.peer_limits, theirs) == theirs {
            return;
        }
        let ours = self.limits;
        let least = ours.least(theirs);
        self.settings.limits = Limits {
            clients: least.clients,
            locks: least.locks,
            memory: least.memory,
            ..self.settings.limits
        };
        let event = (theirs != ours).then_some(Event::LimitsDiffer { ours, theirs });
        effects.extend(event.map(Effect::Event));
    }
}

impl StateLimits {
    fn least(self, other: Self) -> Self {
        Self {
            clients: self.clients.min(other.clients),
            locks: self.locks.min(other.locks),
            memory: match (self.memory, other.memory) {
                (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
                (ours, theirs) => ours.or(theirs),
            },
        }
    }
}

/// Tells which limits differ, by their options.
pub(super) fn differ(
    f: &mut fmt::Formatter<'_>,
    ours: StateLimits,
    theirs: StateLimits,
) -> fmt::Result {
    let counts = [
        ("--max-clients", ours.clients, theirs.clients),
        ("--max-locks", ours.locks, theirs.locks),
    ];
    let counts =
        counts.map(|(option, ours, theirs)| (option, ours.to_string(), theirs.to_string()));
    let memory = ("--max-memory", size(ours.memory), size(theirs.memory));
    let all = counts.into_iter().chain([memory]);
    let differing = all.filter(|(_, ours, theirs)| ours != theirs);
    let told: Vec<_> = differing
        .map(|(option, ours, theirs)| format!("{option} is {ours} here and {theirs} there"))
        .collect();
    write!(
        f,
        "the limits of the two servers differ, and the smaller ones apply: {}. \
         Start both servers with the same",
        told.join(", ")
    )
}

fn size(memory: Option<u64>) -> String {
    match memory {
        None => "none".to_owned(),
        Some(bytes) if bytes % MEBIBYTE == 0 => format!("{}MiB", bytes / MEBIBYTE),
        Some(bytes) => format!("{bytes}B"),
    }
}
