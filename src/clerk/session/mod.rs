//! A clerk's session: the record in which its owned locks are acquired, kept alive by renewing its
//! lease.
//!
//! It is opened with the first request for such a lock, so a clerk that makes none does not pay for
//! it. One task renews it and gives back what is dropped. The clerk and every
//! [`PendingAcquisition`] hold a [`SessionHandle`]; when the last one is gone the task says
//! goodbye, which gives back all that is left.

mod acquisitions;
mod current;
mod life;
mod pending_acquisition;
mod renewal;
mod standby;
mod task;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use self::life::{GuardState, LossReason};

pub(super) use self::current::{CurrentSession, Within};
pub(super) use self::pending_acquisition::{AcquireAnswer, GuardView, PendingAcquisition};

use self::acquisitions::Acquisitions;
use self::life::Life;
use super::call::{AskError, Asked, Overload};
use super::error::{AcquireError, ReleaseError};
use super::keepalive::Close;
use super::open_session::OpenSession;
use super::shared::Shared;
use crate::service::{Answer, CallId, Opened, Request, Resource};
use crate::types::{Retention, Seq, SessionId};

/// What a session's task and its claims share.
#[derive(Debug)]
pub(super) struct LeasedSession {
    shared: Arc<Shared>,
    opened: Arc<OpenSession>,
    life: Life,
    acquisitions: Acquisitions,
    /// How many polls the clerk's own runtime has begun.
    polls: watch::Sender<u64>,
    /// The sessions that it runs inside, the nearest first.
    inside: Vec<SessionId>,
}

/// Keeps the session alive while it is held.
#[derive(Debug)]
pub(super) struct SessionHandle {
    session: Arc<LeasedSession>,
    task: mpsc::Sender<Close>,
}

impl SessionHandle {
    /// Opens a session at the servers.
    fn open(shared: Arc<Shared>) -> BoxFuture<'static, Result<Arc<Self>, AcquireError>> {
        let opening = async move {
            let begun = Instant::now();
            let (terms, deadline) = (shared.terms.clone(), begun + shared.timeout());
            match shared.open(Some(terms), begun, deadline).await {
                Ok(opened) => Ok(Self::new(shared, opened, begun)),
                Err(error) => Err(shared.not_acquired(error, shared.timeout())),
            }
        };
        opening.boxed()
    }

    fn new(shared: Arc<Shared>, opened: Opened, begun: Instant) -> Arc<Self> {
        let lease = shared.terms.lease.duration().min(opened.time_to_live);
        let session = Arc::new(LeasedSession {
            shared,
            opened: Arc::new(OpenSession::new(&opened)),
            life: Life::new(lease, begun),
            acquisitions: Acquisitions::new(opened.view),
            polls: watch::Sender::default(),
            inside: opened.inside,
        });
        let (task, handles) = mpsc::channel(1);
        tokio::spawn(task::run(session.clone(), handles));
        Arc::new(Self { session, task })
    }

    /// Ends the session; waits until the servers know, or for a second.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.task.send(done).await.is_ok() {
            // The task answers, or is over with its session.
            let _ = closed.await;
        }
    }

    fn is_of_use(&self) -> bool {
        self.session.life.loss().is_none() && !self.task.is_closed()
    }
}

impl LeasedSession {
    /// Gives back what the call `acquired` holds: true when it was held. Or takes it out of the
    /// queue.
    ///
    /// # Cancel safety
    ///
    /// Safe, but it can be carried out or not. It may be repeated.
    pub(super) async fn release(
        &self,
        acquired: Seq,
        within: Within,
    ) -> Result<bool, ReleaseError> {
        let request = |id| Request::Release { id, acquired };
        self.change(request, within).await
    }

    /// Lets what the call `acquired` holds stay held for a time: true when it is held.
    ///
    /// # Cancel safety
    ///
    /// Safe, but it can be carried out or not. It may be repeated.
    pub(super) async fn retain(
        &self,
        acquired: Seq,
        retention: Retention,
        within: Within,
    ) -> Result<bool, ReleaseError> {
        let request = |id| Request::Retain {
            id,
            acquired,
            retention,
        };
        self.change(request, within).await
    }

    /// Changes something about a lock that is held; says whether it was.
    async fn change(
        &self,
        request: impl FnOnce(CallId) -> Request,
        within: Within,
    ) -> Result<bool, ReleaseError> {
        let Within { after, deadline } = within;
        let numbered = self.opened.clone().number_by(deadline).await;
        let call = numbered.map_err(|_| ReleaseError::Overloaded {
            after,
            resource: Resource::Calls,
        })?;
        let request = request(call.id(self.shared.client));
        let servers = &self.shared.servers;
        let (timeouts, now, lost) = (servers.timeouts(), Instant::now(), self.life.lost());
        let asked = servers.ask_unless(timeouts, &request, now, deadline, lost);
        let answer = match asked.await {
            Asked::Ended(answer) => answer,
            Asked::Interrupted(reason) => return Err(ReleaseError::Lost(reason)),
        };
        match answer {
            Ok(Answer::Call(is_held)) => Ok(is_held),
            Ok(answer) => unreachable!("a session's call was answered with {answer:?}"),
            Err(AskError::Unanswered(log)) => Err(self.shared.not_released(log, after)),
            Err(AskError::Overloaded(Overload { resource, after })) => {
                Err(ReleaseError::Overloaded { after, resource })
            }
            Err(AskError::Mixed { clusters, .. }) => Err(ReleaseError::MixedClusters(clusters)),
            // A server that refuses a call of this record for ever does not know it.
            Err(AskError::Refused(..)) => {
                Err(ReleaseError::Lost(self.life.end(LossReason::SessionLost)))
            }
        }
    }
}
