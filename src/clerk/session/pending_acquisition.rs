//! A place at the servers that is given up when it is dropped: in the queue, or as the holder.

use std::sync::Arc;

use tokio::time::Instant;

use super::acquisitions::{Acquisition, Known};
use super::{
    AcquireError, GuardState, LeasedSession, LossReason, ReleaseError, SessionHandle, Within,
};
use crate::clerk::call::{AskError, Asked};
use crate::clerk::open_session::NumberedCall;
use crate::service::{AcquireOptions, Acquired, Answer, LockMode, Request, Resource};
use crate::types::{LockName, Retention, SessionId, Token, View};

/// A place in a session, from before it is asked for until it is dropped.
#[derive(Debug)]
pub(in crate::clerk) struct PendingAcquisition {
    handle: Arc<SessionHandle>,
    pub(in crate::clerk) acquisition: Arc<Acquisition>,
    /// The servers have nothing for it, by an answer to what was asked after that view was met.
    settled: Option<View>,
    /// A guard has it.
    is_held: bool,
}

/// What came of asking for a lock.
#[derive(Debug)]
pub(in crate::clerk) enum AcquireAnswer {
    /// It is granted.
    Granted(PendingAcquisition, Token),
    /// It is waited for.
    Queued(PendingAcquisition),
    /// It is not to be had, and not waited for.
    Held,
}

impl PendingAcquisition {
    /// Asks for a lock; no answer when the session or the place was lost before there was one.
    ///
    /// # Cancel safety
    ///
    /// Safe: a lock or queue entry that it has is released in the background.
    pub(in crate::clerk) async fn ask(
        handle: Arc<SessionHandle>,
        name: &LockName,
        options: AcquireOptions,
        within: Within,
    ) -> Result<Option<AcquireAnswer>, AcquireError> {
        let session = handle.session.clone();
        let numbered = session.opened.clone().number_by(within.deadline).await;
        let call = numbered.map_err(|_| AcquireError::Overloaded {
            after: within.after,
            resource: Resource::Calls,
        })?;
        let acquisition = Self::enter(handle, &call, name);
        let request = Request::Acquire {
            id: call.id(session.shared.client),
            name: name.clone(),
            options,
        };
        let servers = &session.shared.servers;
        let decided = acquisition.turn();
        let (timeouts, now) = (servers.timeouts(), Instant::now());
        let asked = servers.ask_unless(timeouts, &request, now, within.deadline, decided);
        let asked = asked.await;
        let is_lost = session.life.loss().is_some();
        match asked {
            Asked::Ended(_) | Asked::Interrupted(Err(_)) if is_lost => Ok(None),
            Asked::Ended(answer) => acquisition.judge(answer, within),
            Asked::Interrupted(Ok(token)) => Ok(Some(AcquireAnswer::Granted(acquisition, token))),
            Asked::Interrupted(Err(LossReason::Diverged)) => Ok(None),
            Asked::Interrupted(Err(reason)) => Err(reason.into()),
        }
    }

    fn enter(handle: Arc<SessionHandle>, call: &NumberedCall, name: &LockName) -> Self {
        let acquisition = handle.session.acquisitions.enter(call.seq, name.clone());
        Self {
            handle,
            acquisition,
            settled: None,
            is_held: false,
        }
    }

    fn judge(
        mut self,
        answer: Result<Answer, AskError>,
        within: Within,
    ) -> Result<Option<AcquireAnswer>, AcquireError> {
        let session = self.session();
        match answer {
            Ok(Answer::Acquired(Acquired::Granted(token))) => {
                Ok(Some(self.answered(Known::Granted(token))))
            }
            Ok(Answer::Acquired(Acquired::Queued)) => Ok(Some(self.answered(Known::Queued))),
            Ok(Answer::Acquired(Acquired::Held)) => {
                self.settled = Some(self.acquisition.asked_in);
                Ok(Some(AcquireAnswer::Held))
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
                    self.settled = Some(self.acquisition.asked_in);
                }
                Err(failed)
            }
        }
    }

    fn answered(self, answer: Known) -> AcquireAnswer {
        let places = &self.session().acquisitions;
        match places.answered(self.acquisition.acquired, answer) {
            Known::Granted(token) => AcquireAnswer::Granted(self, token),
            Known::Queued => AcquireAnswer::Queued(self),
        }
    }

    fn session(&self) -> &LeasedSession {
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
            token = self.acquisition.granted() => token,
        }
    }

    pub(in crate::clerk) fn session_number(&self) -> SessionId {
        self.session().opened.id
    }

    /// Until when it is certainly held, unless it is lost.
    pub(in crate::clerk) fn safe_until(&self) -> Instant {
        self.session().life.safe_until()
    }

    pub(in crate::clerk) fn state(&self) -> GuardState {
        if self.acquisition.loss().is_some() {
            return GuardState::Lost;
        }
        self.session().life.guard_state()
    }

    /// Why it is not held any more, if it is not.
    pub(in crate::clerk) fn loss(&self) -> Option<LossReason> {
        self.acquisition
            .loss()
            .or_else(|| self.session().life.loss())
    }

    /// Waits until it is not held any more.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(in crate::clerk) async fn lost(&self) -> LossReason {
        tokio::select! {
            biased;
            reason = self.acquisition.lost() => reason,
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
        let (session, acquired) = (self.session(), self.acquisition.acquired);
        let within = Within::new(session.shared.timeout());
        let asked_in = session.acquisitions.leave(acquired);
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
        session
            .retain(self.acquisition.acquired, retention, within)
            .await
    }

    /// It goes to a guard.
    pub(in crate::clerk) fn attach_guard(&mut self, mode: LockMode) {
        self.is_held = true;
        self.session()
            .shared
            .own
            .acquired(&self.acquisition.name, mode);
    }

    /// What others may see of it.
    pub(in crate::clerk) fn view(&self) -> GuardView {
        GuardView {
            session: self.handle.session.clone(),
            acquisition: self.acquisition.clone(),
        }
    }
}

impl Drop for PendingAcquisition {
    fn drop(&mut self) {
        if self.is_held {
            self.acquisition.end();
            self.session().shared.own.released(&self.acquisition.name);
        }
        let (session, acquired) = (&self.handle.session, self.acquisition.acquired);
        match self.settled {
            _ if session.life.loss().is_some() => session.acquisitions.remove(acquired),
            Some(asked_in) => session.acquisitions.settle(acquired, asked_in),
            None => session.acquisitions.give_up(acquired),
        }
    }
}

/// What can be seen of a guard by others. It keeps neither the lock nor the session.
#[derive(Debug)]
pub(in crate::clerk) struct GuardView {
    session: Arc<LeasedSession>,
    acquisition: Arc<Acquisition>,
}

impl GuardView {
    pub(in crate::clerk) fn name(&self) -> &LockName {
        &self.acquisition.name
    }

    pub(in crate::clerk) fn state(&self) -> GuardState {
        if self.acquisition.loss().is_some() || self.acquisition.is_over() {
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
            reason = self.acquisition.lost_or_over() => reason,
            reason = self.session.life.lost() => Some(reason),
        }
    }
}
