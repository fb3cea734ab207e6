//! Clients' requests: executed here, or handed to the primary.
//!
//! A relay whose connection failed may have been executed, and so may a request that this server
//! took as primary before it stepped down. From then on no refusal may claim that it was not: its
//! client would take a new number for it, and it could run twice.

use std::collections::BTreeMap;

#[cfg(test)]
use super::tests::Names;
use super::{Core, Effect, Now, RelayId, Reply, Role, Suspicion, Via};
use crate::engine::leader::PendingRequest;
use crate::service::{Answer, Refusal, Request, Resource};

/// How often a relay is tried before its client is sent away.
const MAX_FAILURES: u32 = 3;

/// The requests that this server has handed to the primary and that are not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelayTable<T> {
    outstanding: BTreeMap<RelayId, RelayedRequest<T>>,
    next: RelayId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RelayedRequest<T> {
    to: T,
    request: Request,
    /// Whether it may have been executed, whatever the primary says to this try.
    uncertain: bool,
    failures: u32,
    /// Whether it is on its way.
    sent: bool,
}

impl<T> RelayTable<T> {
    pub(super) const fn new() -> Self {
        Self {
            outstanding: BTreeMap::new(),
            next: RelayId(0),
        }
    }

    /// Takes out the polls, and returns who waits for them.
    pub(super) fn take_polls(&mut self) -> impl Iterator<Item = T> {
        let is_poll = |_: &RelayId, relay: &mut RelayedRequest<T>| {
            matches!(relay.request, Request::Poll { .. })
        };
        let polls = self.outstanding.extract_if(.., is_poll);
        polls.map(|(_, relay)| relay.to)
    }

    #[cfg(test)]
    pub(super) fn callers(&self) -> impl Iterator<Item = (RelayId, &T)> {
        let outstanding = self.outstanding.iter();
        outstanding.map(|(id, relay)| (*id, &relay.to))
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Names) {
        let outstanding = std::mem::take(&mut self.outstanding).into_iter();
        self.outstanding = outstanding
            .map(|(mut id, relay)| {
                names.relay(&mut id);
                (id, relay)
            })
            .collect();
        names.relay(&mut self.next);
    }
}

impl<T> Core<T> {
    pub(super) fn request(
        &mut self,
        now: Now,
        to: T,
        via: Via,
        request: Request,
        effects: &mut Vec<Effect<T>>,
    ) {
        let is_handing_over = self.is_handing_over();
        let refusal = match &mut self.role {
            // [M11]
            _ if is_handing_over => Refusal::NotReady,
            Role::Primary(primary) => {
                let pending = PendingRequest { to, via, request };
                primary.clock = self.clock;
                return primary.execute(now, &self.settings, self.next_frame, pending, effects);
            }
            Role::Backup(_) if via == Via::Client => {
                if self.relays.outstanding.len() < self.settings.limits.relays() {
                    return self.relay(to, request, false, effects);
                }
                Refusal::Overloaded(Resource::Calls)
            }
            Role::Backup(_) | Role::Starting(_) | Role::Retired(_) => Refusal::NotReady,
        };
        let result = Err(refusal);
        effects.push(Effect::Reply(Reply { to, result }));
    }

    fn relay(&mut self, to: T, request: Request, uncertain: bool, effects: &mut Vec<Effect<T>>) {
        let relay = self.relays.next;
        self.relays.next = RelayId(relay.0 + 1);
        effects.push(Effect::Relay {
            relay,
            request: request.clone(),
        });
        let entry = RelayedRequest {
            to,
            request,
            uncertain,
            failures: 0,
            sent: true,
        };
        self.relays.outstanding.insert(relay, entry);
    }

    pub(super) fn relayed(
        &mut self,
        now: Now,
        relay: RelayId,
        result: Option<Result<Answer, Refusal>>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Some(mut entry) = self.relays.outstanding.remove(&relay) else {
            return;
        };
        // A primary that is not ready gives up its role, or has done so: the next primary answers.
        let is_sent_back = result == Some(Err(Refusal::NotReady));
        let may_try_again =
            matches!(self.role, Role::Backup(_)) && entry.failures + 1 < MAX_FAILURES;
        if let Some(result) = result.filter(|_| !(is_sent_back && may_try_again)) {
            let unsure = entry.uncertain.then_some(Refusal::Interrupted);
            let result = result.map_err(|refusal| unsure.unwrap_or(refusal));
            return effects.push(Effect::Reply(Reply {
                to: entry.to,
                result,
            }));
        }
        entry.uncertain |= !is_sent_back;
        entry.failures += 1;
        entry.sent = false;
        if !may_try_again {
            return effects.push(Effect::Reply(Reply {
                to: entry.to,
                result: Err(Refusal::Interrupted),
            }));
        }
        self.relays.outstanding.insert(relay, entry);
        self.suspect(now, Suspicion::RelayFailed, effects);
    }

    /// Sends the relays again whose connection failed.
    pub(super) fn resend_relays(&mut self, effects: &mut Vec<Effect<T>>) {
        for (relay, entry) in &mut self.relays.outstanding {
            if !entry.sent {
                entry.sent = true;
                effects.push(Effect::Relay {
                    relay: *relay,
                    request: entry.request.clone(),
                });
            }
        }
    }

    /// This server is primary now: the requests that it had handed to the peer are its own.
    pub(super) fn execute_relays(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        effects.push(Effect::AbandonRelays);
        for entry in std::mem::take(&mut self.relays.outstanding).into_values() {
            self.request(now, entry.to, Via::Client, entry.request, effects);
        }
    }

    /// A request that this server executed and could not answer: the new primary can, by the
    /// request's own ids. A request that came by a relay goes back, or it might circle.
    pub(super) fn reroute(&mut self, pending: PendingRequest<T>, effects: &mut Vec<Effect<T>>) {
        let PendingRequest { to, via, request } = pending;
        match via {
            Via::Client => self.relay(to, request, true, effects),
            Via::Peer => effects.push(Effect::Reply(Reply {
                to,
                result: Err(Refusal::Interrupted),
            })),
        }
    }
}
