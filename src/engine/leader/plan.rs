//! What becomes of a request, before any command has a place in the order.
//!
//! Nothing is decided here that must hold when a command is applied: other commands may come first,
//! and another server, which may have other limits, applies it too.

use std::sync::Arc;

use super::fullness::{lacking_for_client, lacking_for_lock};
use super::polls::PollRequest;
use super::reads::notifications;
use super::{Leader, Now};
use crate::config::{Limits, MAX_HOLDINGS};
use crate::machine::{Command, DuplicateLookup, Machine, footprint};
use crate::service::{
    Answer, CallId, InView, Notifications, Refusal, Request, Resource, SessionTerms, Verb,
};
use crate::types::{ClientId, Lease, Seq, SessionId, View};

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The command is to be proposed; [`Leader::applied`] gives the answer.
    Propose(Command),
    /// It is the duplicate of a call that was carried out. Its answer is as safe as that command,
    /// which may have been applied a moment ago.
    Duplicate(Answer),
    /// It changes nothing. Its answer is safe if this server leads until after it was asked.
    Read(Result<Answer, Refusal>),
    /// It waits for notifications, for a part of the lease: see [`Leader::park`].
    Park(PollRequest, Lease),
}

/// What a plan is made by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub(crate) now: Now,
    pub(crate) machine: &'a Machine,
    pub(crate) view: View,
    pub(crate) limits: &'a Limits,
}

impl<T> Leader<T> {
    /// Plans a request. Its client is alive, so the session is renewed.
    pub(crate) fn plan(&mut self, basis: Basis<'_>, request: &Request) -> Plan {
        let Basis { now, machine, .. } = basis;
        match request {
            Request::OpenSession { client, terms } => open(basis, *client, terms.as_ref()),
            Request::Call { id, verb, name } => {
                let growth = match verb {
                    Verb::Lock if !machine.is_held(name) => footprint::of_lock(name),
                    Verb::Lock | Verb::Unlock => 0,
                };
                self.call(basis, id, growth, || Command::Call {
                    id: *id,
                    verb: *verb,
                    name: name.clone(),
                })
            }
            Request::Acquire { id, name, options } => {
                let growth = footprint::of_lock(name) + footprint::of_queue_entry(name);
                let plan = self.call(basis, id, growth, || Command::Acquire {
                    id: *id,
                    name: name.clone(),
                    options: *options,
                });
                match plan {
                    Plan::Duplicate(_) => Plan::Duplicate(Answer::Acquired(machine.acquired(id))),
                    plan => plan,
                }
            }
            Request::Release { id, acquired } => self.call(basis, id, 0, || Command::Release {
                id: *id,
                acquired: *acquired,
            }),
            Request::Retain {
                id,
                acquired,
                retention,
            } => {
                let growth = if retention.is_zero() {
                    0
                } else {
                    footprint::RETAINED_BYTES
                };
                self.call(basis, id, growth, || Command::Retain {
                    id: *id,
                    acquired: *acquired,
                    retention: *retention,
                })
            }
            Request::Break {
                id, name, token, ..
            } => self.call(basis, id, 0, || Command::Break {
                id: *id,
                name: name.clone(),
                token: *token,
            }),
            Request::Show { name } => {
                Plan::Read(Ok(Answer::Lock(self.show(now, machine, name).into())))
            }
            Request::List { prefix, from } => {
                let page = self.list(now, machine, prefix, from);
                Plan::Read(Ok(Answer::Page(page.into())))
            }
            Request::Poll {
                client,
                session,
                since,
                view,
            } => {
                let request = PollRequest {
                    client: *client,
                    session: *session,
                    since: *since,
                    view: *view,
                };
                self.poll(basis, request)
            }
            Request::Holdings {
                client,
                session,
                from,
            } => self.holdings(basis, *client, *session, *from),
            Request::KeepAlive { client, session } => self.keep_alive(basis, *client, *session),
            Request::CloseSession { client, session } => close(machine, *client, *session),
        }
    }

    /// A call that the records make run once. `growth`: how much memory it may take, in bytes.
    fn call(
        &mut self,
        basis: Basis<'_>,
        id: &CallId,
        growth: u64,
        command: impl FnOnce() -> Command,
    ) -> Plan {
        self.note_seen(id.session, basis.now);
        match basis.machine.find_duplicate(id) {
            DuplicateLookup::Done(done) => Plan::Duplicate(Answer::Call(done)),
            DuplicateLookup::Refused(refusal) => Plan::Read(Err(refusal.into())),
            DuplicateLookup::Fresh => match lacking_for_lock(basis.machine, basis.limits, growth) {
                Some(resource) => overloaded(resource),
                None => Plan::Propose(command()),
            },
        }
    }

    fn poll(&mut self, basis: Basis<'_>, request: PollRequest) -> Plan {
        let Basis {
            now, machine, view, ..
        } = basis;
        let lease = match self.renew(now, machine, request.client, request.session) {
            Ok(lease) => lease,
            Err(refusal) => return Plan::Read(Err(refusal)),
        };
        let notifications = notifications(machine, view, request);
        let Notifications {
            changes, broken, ..
        } = &notifications.answer;
        if changes.is_empty() && broken.is_empty() && request.view == view {
            return Plan::Park(request, lease);
        }
        Plan::Read(Ok(Answer::Notifications(notifications.into())))
    }

    fn holdings(
        &mut self,
        basis: Basis<'_>,
        client: ClientId,
        session: SessionId,
        from: Seq,
    ) -> Plan {
        let Basis {
            now, machine, view, ..
        } = basis;
        Plan::Read(self.renew(now, machine, client, session).map(|_| {
            let answer = machine.holdings(session, from, MAX_HOLDINGS);
            Answer::Holdings(InView { view, answer }.into())
        }))
    }

    fn keep_alive(&mut self, basis: Basis<'_>, client: ClientId, session: SessionId) -> Plan {
        if !owns(basis.machine, client, session) {
            return Plan::Read(Err(Refusal::UnknownSession));
        }
        self.note_seen(session, basis.now);
        Plan::Read(Ok(Answer::Done))
    }
}

fn open(basis: Basis<'_>, client: ClientId, terms: Option<&Arc<SessionTerms>>) -> Plan {
    match lacking_for_client(basis.machine, basis.limits) {
        Some(resource) => overloaded(resource),
        None => Plan::Propose(Command::OpenSession {
            client,
            terms: terms.cloned(),
        }),
    }
}

fn close(machine: &Machine, client: ClientId, session: SessionId) -> Plan {
    if owns(machine, client, session) {
        Plan::Propose(Command::CloseSession { client, session })
    } else {
        Plan::Read(Ok(Answer::Done))
    }
}

const fn overloaded(resource: Resource) -> Plan {
    Plan::Read(Err(Refusal::Overloaded(resource)))
}

fn owns(machine: &Machine, client: ClientId, session: SessionId) -> bool {
    let info = machine.session(session);
    info.is_some_and(|info| info.client == client)
}
