//! A place at the servers that is given up when it is dropped: in the queue, or as the holder.

use std::sync::Arc;

use tokio::time::Instant;

use super::places::{Known, Place};
use super::{AcquireError, GuardState, Handle, LossReason, ReleaseError, Session, Within};
use crate::clerk::call::AskError;
use crate::clerk::record::Numbered;
use crate::service::{Acquired, Answer, How, Mode, Request, Resource};
use crate::types::{LockName, RecordNumber, Retention, Token, View};

/// A place in a session, from before it is asked for until it is dropped.
#[derive(Debug)]
pub(in crate::clerk) struct Claim {
    handle: Arc<Handle>,
    pub(in crate::clerk) place: Arc<Place>,
    /// The servers have nothing for it, by an answer to what was asked after that view was met.
    settled: Option<View>,
    /// A guard has it.
    is_held: bool,
}

/// What came of asking for a lock.
#[derive(Debug)]
pub(in crate::clerk) enum Asked {
    /// It is granted.
    Granted(Claim, Token),
    /// It is waited for.
    Queued(Claim),
    /// It is not to be had, and not waited for.
    Held,
}

impl Claim {
    /// Asks for a lock; no answer when the session or the place was lost before there was one.
    ///
    /// # Cancel safety
    ///
    /// Safe: what it has come to is given up.
    pub(in crate::clerk) async fn ask(
        handle: Arc<Handle>,
        name: &LockName,
        how: How,
        within: Within,
    ) -> Result<Option<Asked>, AcquireError> {
        let session = handle.session.clone();
        let numbered = session.record.clone().number_by(within.deadline).await;
        let call = numbered.map_err(|_| AcquireError::Overloaded {
            after: within.after,
            resource: Resource::Calls,
        })?;
        let claim = Self::enter(handle, &call, name);
        let request = Request::Acquire {
            id: call.id(session.shared.client),
            name: name.clone(),
            how,
        };
        let pair = &session.shared.pair;
        let answer = tokio::select! {
            biased;
            _ = session.life.lost() => return Ok(None),
            token = claim.place.granted() => return match token {
                Ok(token) => Ok(Some(Asked::Granted(claim, token))),
                Err(LossReason::Diverged) => Ok(None),
                Err(reason) => Err(reason.into()),
            },
            answer = pair.ask(&request, Instant::now(), within.deadline) => answer,
        };
        claim.judge(answer, within)
    }

    fn enter(handle: Arc<Handle>, call: &Numbered, name: &LockName) -> Self {
        let place = handle.session.places.enter(call.seq, name.clone());
        Self {
            handle,
            place,
            settled: None,
            is_held: false,
        }
    }

    fn judge(
        mut self,
        answer: Result<Answer, AskError>,
        within: Within,
    ) -> Result<Option<Asked>, AcquireError> {
        let session = self.session();
        match answer {
            Ok(Answer::Acquired(Acquired::Granted(token))) => {
                Ok(Some(self.answered(Known::Granted(token))))
            }
            Ok(Answer::Acquired(Acquired::Queued)) => Ok(Some(self.answered(Known::Queued))),
            Ok(Answer::Acquired(Acquired::Held)) => {
                self.settled = Some(self.place.asked_in);
                Ok(Some(Asked::Held))
            }
            Ok(Answer::Acquired(Acquired::Ended)) => Err(AcquireError::Ended),
            Ok(answer) => unreachable!("an acquire was answered with {answer:?}"),
            // A server that refuses a call of this record for ever does not know it.
            Err(AskError::Refused(..)) => {
                session.life.end(LossReason::SessionLost);
                Ok(None)
            }
            Err(error) => {
                let failed = session.shared.not_acquired(error, within.after);
                if matches!(failed, AcquireError::Overloaded { .. }) {
                    self.settled = Some(self.place.asked_in);
                }
                Err(failed)
            }
        }
    }

    fn answered(self, answer: Known) -> Asked {
        let places = &self.session().places;
        match places.answered(self.place.acquired, answer) {
            Known::Granted(token) => Asked::Granted(self, token),
            Known::Queued => Asked::Queued(self),
        }
    }

    fn session(&self) -> &Session {
        &self.handle.session
    }

    /// Waits until the lock is granted, or lost before.
    ///
    /// # Cancel safety
    ///
    /// Safe: the place is kept.
    pub(in crate::clerk) async fn turn(&self) -> Result<Token, LossReason> {
        tokio::select! {
            biased;
            reason = self.session().life.lost() => Err(reason),
            token = self.place.granted() => token,
        }
    }

    pub(in crate::clerk) fn session_number(&self) -> RecordNumber {
        self.session().record.number
    }

    /// Until when it is certainly held, unless it is lost.
    pub(in crate::clerk) fn safe_until(&self) -> Instant {
        self.session().life.safe_until()
    }

    pub(in crate::clerk) fn state(&self) -> GuardState {
        if self.place.loss().is_some() {
            return GuardState::Lost;
        }
        self.session().life.guard_state()
    }

    /// Why it is not held any more, if it is not.
    pub(in crate::clerk) fn loss(&self) -> Option<LossReason> {
        self.place.loss().or_else(|| self.session().life.loss())
    }

    /// Waits until it is not held any more.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(in crate::clerk) async fn lost(&self) -> LossReason {
        tokio::select! {
            biased;
            reason = self.place.lost() => reason,
            reason = self.session().life.lost() => reason,
        }
    }

    /// Gives it back: true when the lock was held.
    ///
    /// # Cancel safety
    ///
    /// Safe: it is given up.
    pub(in crate::clerk) async fn release(mut self) -> Result<bool, ReleaseError> {
        if let Some(reason) = self.loss() {
            return Err(ReleaseError::Lost(reason));
        }
        let (session, acquired) = (self.session(), self.place.acquired);
        let within = Within::new(session.shared.timeout());
        let asked_in = session.places.leave(acquired);
        let was_held = session.release(acquired, within).await?;
        self.settled = Some(asked_in);
        Ok(was_held)
    }

    /// Lets the lock stay held for a time, whatever becomes of the session: true when it is held.
    ///
    /// # Cancel safety
    ///
    /// Safe, but it can be carried out or not.
    pub(in crate::clerk) async fn retain(
        &self,
        retention: Retention,
    ) -> Result<bool, ReleaseError> {
        if let Some(reason) = self.loss() {
            return Err(ReleaseError::Lost(reason));
        }
        let session = self.session();
        let within = Within::new(session.shared.timeout());
        session.retain(self.place.acquired, retention, within).await
    }

    /// It goes to a guard.
    pub(in crate::clerk) fn hold(&mut self, mode: Mode) {
        self.is_held = true;
        self.session().shared.own.acquired(&self.place.name, mode);
    }

    /// What others may see of it.
    pub(in crate::clerk) fn view(&self) -> GuardView {
        GuardView {
            session: self.handle.session.clone(),
            place: self.place.clone(),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_held {
            self.place.end();
            self.session().shared.own.released(&self.place.name);
        }
        let (session, acquired) = (&self.handle.session, self.place.acquired);
        match self.settled {
            _ if session.life.loss().is_some() => session.places.remove(acquired),
            Some(asked_in) => session.places.settle(acquired, asked_in),
            None => session.places.give_up(acquired),
        }
    }
}

/// What can be seen of a guard by others. It keeps neither the lock nor the session.
#[derive(Debug)]
pub(in crate::clerk) struct GuardView {
    session: Arc<Session>,
    place: Arc<Place>,
}

impl GuardView {
    pub(in crate::clerk) fn name(&self) -> &LockName {
        &self.place.name
    }

    pub(in crate::clerk) fn state(&self) -> GuardState {
        if self.place.loss().is_some() || self.place.is_over() {
            return GuardState::Lost;
        }
        self.session.life.guard_state()
    }

    /// Waits until the guard is lost or gone: none if it is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(in crate::clerk) async fn lost(&self) -> Option<LossReason> {
        tokio::select! {
            biased;
            reason = self.place.lost_or_over() => reason,
            reason = self.session.life.lost() => Some(reason),
        }
    }
}
