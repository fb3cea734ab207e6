//! A server that is asked to end: it hands over to its peer, and only then closes its connections.
//!
//! A primary takes no new request, waits until its backup has acknowledged everything and every
//! answer has left, and gives up its role and its state in one step. From then on it is retired: it
//! says so to a peer that probes it, which makes the peer take over at once, and answers nobody
//! else (rule M11). A backup has nothing to wait for. A primary that is syncing its peer goes on
//! until the peer has joined, for until then it has the only copy.
//!
//! Two servers that retire together would each wait for the other's probe. So a server that retires
//! probes its peer once: a peer that has retired too, or is gone, need not be told. That probe
//! decides nothing for a peer that still has its role, which finds the link closed and probes.
//!
//! The race this guards against: a peer that hears that this server retires takes over, so nothing
//! that this server still does may count. Retirement also names the view that was given up. A peer
//! in the same view knows that no later one was made, and a peer in a lower one knows that its own
//! state is old.

use super::primary::{Primary, ReplicationMode};
use super::{Core, Effect, Event, FailureCause, Now, Reply, Role};
use crate::service::Refusal;
use crate::types::View;

/// A server that has given up its role and its state, and is about to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Retired {
    /// The view that it was in.
    pub(super) view: Option<View>,
    /// The peer has been told, or need not be, or has not asked for a whole `peer_timeout`.
    pub(super) told: bool,
}

impl<T> Core<T> {
    /// Whether this server was asked to end, has given up its role, and has told its peer, if it
    /// had one.
    #[must_use]
    pub const fn has_handed_over(&self) -> bool {
        matches!(&self.role, Role::Retired(retired) if retired.told)
    }

    /// Whether new requests are refused, since this server is about to hand over.
    pub(super) fn is_handing_over(&self) -> bool {
        let syncs = matches!(
            &self.role,
            Role::Primary(primary) if matches!(primary.mode, ReplicationMode::Standalone { sync: Some(_), .. })
        );
        self.retiring && !syncs
    }

    /// [M11] Gives up the role, once nothing waits for an answer.
    pub(super) fn consider_retiring(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let may_retire = match &self.role {
            Role::Starting(_) | Role::Backup(_) => true,
            Role::Primary(primary) => primary.owes_nothing(),
            Role::Retired(_) => false,
        };
        if self.retiring && may_retire {
            self.retire(now, effects);
        }
    }

    fn retire(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let view = self.peer_state().view();
        let told = !self.has_partner();
        let retired = Role::Retired(Retired { view, told });
        match std::mem::replace(&mut self.role, retired) {
            Role::Starting(mut starting) => {
                effects.extend(starting.drop_transfer().map(Effect::CloseInStream));
            }
            Role::Backup(backup) => effects.extend(backup.stream.map(Effect::CloseInStream)),
            Role::Primary(mut primary) => {
                let stream = primary.sending().and_then(|(queue, _)| queue.close());
                effects.extend(stream.map(Effect::CloseOutStream));
                let polls = primary.leader.into_polls();
                effects.extend(polls.map(|poll| not_ready(poll.to)));
            }
            Role::Retired(_) => {}
        }
        // Their clients renew their sessions at the peer.
        let polls = self.relays.take_polls();
        effects.extend(polls.map(not_ready));
        self.detector.restart(now);
        effects.push(Effect::Event(Event::Retired { view }));
        if !told {
            self.probe(now, effects);
        }
    }

    /// Whether the peer has the other role of this server's view, as far as this server knows. Such
    /// a peer has to be told that this server retires.
    fn has_partner(&self) -> bool {
        match &self.role {
            Role::Starting(_) | Role::Retired(_) => false,
            Role::Primary(primary) => matches!(primary.mode, ReplicationMode::Replicated { .. }),
            Role::Backup(_) => true,
        }
    }

    /// A peer that has retired probes this server.
    pub(super) fn probed_by_retired(&mut self, effects: &mut Vec<Effect<T>>) {
        if let Role::Retired(retired) = &mut self.role {
            retired.told = true;
        }
        effects.push(Effect::Introduction(self.introduction()));
    }

    /// A probe found that the peer has retired from this server's own `view` or a lower one.
    pub(super) fn peer_retired(
        &mut self,
        now: Now,
        theirs: Option<View>,
        view: View,
        effects: &mut Vec<Effect<T>>,
    ) {
        let is_alone = matches!(&self.role, Role::Primary(it) if matches!(it.mode, ReplicationMode::Standalone { .. }));
        if is_alone {
            return self.detector.back_off(now);
        }
        if theirs == Some(view) {
            // It has made no later view, so this server's state is not old: that ends a doubt.
            self.detector.satisfy(now);
        }
        self.peer_is_dead(now, FailureCause::Retired, effects);
    }
}

impl<T> Primary<T> {
    /// Whether the backup has acknowledged everything, and every answer has left; always true
    /// without one, unless it is being synced.
    fn owes_nothing(&self) -> bool {
        match &self.mode {
            ReplicationMode::Standalone { sync, .. } => sync.is_none(),
            ReplicationMode::Replicated { queue, waiting } => {
                queue.is_followed() && queue.len() == 0 && waiting.is_empty()
            }
        }
    }
}

fn not_ready<T>(to: T) -> Effect<T> {
    let result = Err(Refusal::NotReady);
    Effect::Reply(Reply { to, result })
}
