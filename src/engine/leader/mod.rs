//! What any leader does, whatever makes it one: it decides what becomes of a request, keeps time
//! for sessions and for what they retain, and lets polls wait until there is something to tell.
//!
//! A request that changes something is handled in two steps. `Leader::plan` comes first: it looks
//! duplicates up, checks limits and ownership, and gives the command to be proposed; the machine
//! stays as it is. `Leader::applied` comes when that command has been applied: it takes note of
//! the outcome, and gives the answer. Other commands may be planned and applied between the two. So
//! whatever must hold when a command takes effect is decided by the machine, which looks duplicates
//! up again; a plan only saves it the work.
//!
//! A session whose time is over is *ending* from `Leader::expired` on, which gives the command
//! that drops it, until that command has been applied: nothing renews it, and its polls wait.
//!
//! Nothing here is part of the replicated state. A new leader counts every session as renewed and
//! every retention from what is left of it, so no time ends early because the leader has changed.
//!
//! All of it is pure: `now` goes in, plans, commands and answers come out.

mod deadlines;
mod event;
mod fullness;
mod last_seen;
mod leases;
mod plan;
mod polls;
mod reads;
mod request;
mod retentions;
mod sessions;
#[cfg(test)]
mod tests;

use std::iter::from_fn;
use std::time::Duration;

pub use self::event::{LeaderEvent, SessionOwner};
use self::fullness::Fullness;
use self::last_seen::LastSeen;
use self::leases::Leases;
pub(crate) use self::plan::{Basis, Plan};
pub(crate) use self::polls::Poll;
use self::polls::Polls;
pub(crate) use self::reads::poll_answer;
pub(crate) use self::request::PendingRequest;
use self::retentions::Retentions;
#[cfg(test)]
pub(crate) use self::tests::Moments;
use super::Now;
use crate::config::Limits;
use crate::machine::{Command, Machine, Outcome};
use crate::service::{Acquired, Answer, CallId, Refusal, Resource};
use crate::types::{Lease, Seq, SessionId, View};

/// What a leader knows beside the machine. `T` is where the answer to a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leader<T> {
    last_seen: LastSeen,
    leases: Leases,
    retentions: Retentions,
    polls: Polls<T>,
    /// Sessions that there are notifications for since the last polls were answered.
    notified: Vec<SessionId>,
    /// What was said last of how full it is.
    fullness: Fullness,
}

/// What is over.
#[derive(Debug)]
pub(crate) struct Expired {
    /// The commands that say so, to be proposed in this order.
    pub(crate) commands: Vec<Command>,
    /// What is to be reported.
    pub(crate) event: Option<LeaderEvent>,
}

impl<T> Leader<T> {
    /// Begins to lead: counts every session of `machine` as heard now.
    pub(crate) fn new(machine: &Machine, session_time_to_live: Duration, now: Now) -> Self {
        let mut leases = Leases::default();
        let mut others = Vec::new();
        for (number, info) in machine.sessions() {
            match info.lease {
                Some(lease) => leases.begin(number, lease, now),
                None => others.push(number),
            }
        }
        let mut retentions = Retentions::default();
        for (token, left) in machine.retentions() {
            retentions.begin(token, left, now);
        }
        Self {
            last_seen: LastSeen::new(others.into_iter(), now, session_time_to_live),
            leases,
            retentions,
            polls: Polls::new(),
            notified: Vec::new(),
            fullness: Fullness::default(),
        }
    }

    /// There are notifications for a session: its poll is to be answered.
    pub(crate) fn notify(&mut self, session: SessionId) {
        self.notified.push(session);
    }

    /// Takes note of a command that `machine` has just applied, and gives the answer to whoever
    /// asked for it.
    pub(crate) fn applied(
        &mut self,
        now: Now,
        machine: &Machine,
        view: View,
        command: &Command,
        outcome: Outcome,
    ) -> Result<Answer, Refusal> {
        match command {
            Command::OpenSession { terms, .. } => {
                let lease = terms.as_ref().map(|terms| terms.lease);
                if let Outcome::Opened(session) = outcome {
                    return Ok(self.opened(now, machine, view, session, lease));
                }
            }
            Command::CloseSession { session, .. } => self.forget(*session),
            Command::Expire { session, .. } => match machine.session(*session) {
                None => self.forget(*session),
                // A call of its client was applied first: it lives on.
                Some(info) => self.begin(now, *session, info.lease),
            },
            Command::Retain { id, acquired, .. } => self.retained(now, machine, id, *acquired),
            // Nothing is left to be timed.
            Command::Break { token, .. } if machine.retention(*token).is_none() => {
                self.retentions.end(*token);
            }
            Command::Call { .. }
            | Command::Acquire { .. }
            | Command::Release { .. }
            | Command::Break { .. }
            | Command::Elapse { .. }
            | Command::Clock { .. } => {}
        }
        answer(outcome)
    }

    /// Counts a retention from now on.
    fn retained(&mut self, now: Now, machine: &Machine, id: &CallId, acquired: Seq) {
        let first = CallId {
            seq: acquired,
            ..*id
        };
        if let Acquired::Granted(token) = machine.acquired(&first) {
            self.retentions.end(token);
            if let Some(left) = machine.retention(token) {
                self.retentions.begin(token, left, now);
            }
        }
    }

    /// What is over by now: says how much is left of retentions and ends those that are over, drops
    /// the sessions of clients that have gone silent.
    pub(crate) fn expired(&mut self, now: Now, machine: &Machine) -> Expired {
        let elapsed = from_fn(|| self.retentions.pop_due(now));
        let elapsed = elapsed.map(|(token, left)| Command::Elapse { token, left });
        let mut commands: Vec<_> = elapsed.collect();
        let mut silent = self.last_seen.take_silent(now);
        silent.extend(from_fn(|| self.leases.pop_over(now)));
        commands.extend(silent.iter().filter_map(|session| {
            let seen = machine.session(*session)?.next_seq;
            let session = *session;
            Some(Command::Expire { session, seen })
        }));
        let mut owners = silent.iter();
        let owner = owners.find_map(|session| SessionOwner::of_session(machine, *session));
        let count = silent.len();
        let event = (count > 0).then_some(LeaderEvent::SessionsExpired { count, owner });
        Expired { commands, event }
    }

    /// Lets a poll wait. Gives the one back that its session let wait before.
    pub(crate) fn park(&mut self, now: Now, poll: Poll<T>, lease: Lease) -> Option<Poll<T>> {
        self.polls.insert(poll, lease, now)
    }

    /// Takes out the polls that the last commands have brought notifications for.
    pub(crate) fn take_notified_polls(&mut self) -> Vec<Poll<T>> {
        let notified = std::mem::take(&mut self.notified).into_iter();
        notified
            .filter_map(|session| self.polls.take(session))
            .collect()
    }

    /// Takes out a poll that has waited long enough.
    pub(crate) fn pop_due_poll(&mut self, now: Now) -> Option<Poll<T>> {
        self.polls.pop_due(now)
    }

    /// Takes out all polls: this server does not lead any more.
    pub(crate) fn into_polls(self) -> impl Iterator<Item = Poll<T>> {
        self.polls.into_all()
    }

    /// This server did not run for a while: renewals may lie unread.
    pub(crate) fn renew_all(&mut self, now: Now) {
        self.leases.renew_all(now);
    }

    /// What to report of limits, now that a command was applied, or refused for want of something.
    pub(crate) fn note_fullness(
        &mut self,
        machine: &Machine,
        limits: &Limits,
        refused: Option<Resource>,
    ) -> Option<LeaderEvent> {
        self.fullness.note(machine, limits, refused)
    }

    /// When [`Self::expired`] may find something. Renewals that have arrived have to be read before
    /// that.
    pub(crate) fn next_expiry(&self) -> Now {
        let sweep = self.last_seen.next_sweep();
        let due = [self.leases.next_due(), self.retentions.next_due()];
        due.into_iter().flatten().fold(sweep, Now::min)
    }

    /// When there is something to do, if nothing else comes before.
    pub(crate) fn next_wake(&self) -> Now {
        let expiry = self.next_expiry();
        self.polls.next_due().map_or(expiry, |due| due.min(expiry))
    }
}

/// The answer of an outcome to the command's caller.
fn answer(outcome: Outcome) -> Result<Answer, Refusal> {
    match outcome {
        Outcome::Call(answer) => Ok(Answer::Call(answer)),
        Outcome::Acquired(acquired) => Ok(Answer::Acquired(acquired)),
        Outcome::Refused(refusal) => Err(refusal.into()),
        Outcome::Opened(_) | Outcome::Dropped(_) | Outcome::Noted => Ok(Answer::Done),
    }
}
