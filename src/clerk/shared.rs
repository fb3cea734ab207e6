//! What the clones of a clerk share: the servers, and the record that their calls are numbered in.
//!
//! A record can be lost: it expired while the clerk was cut off, or the pair lost its state. A call
//! that certainly was not carried out under the lost record goes on under a new one; a call that
//! may have been carried out must not, or it could be carried out twice. The keeper opens the new
//! record, once for all.
//!
//! A clerk that was created without a connection has no record until its first call opens one.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::attempt_log::AttemptLog;
use super::call::{AskError, Overload, ServerList};
use super::error::{
    AcquireError, AttemptError, AttemptReport, CallError, InspectError, ReleaseError,
    ServerAttempts,
};
use super::expect_runtime;
use super::open_session::{NumberedCall, OpenSession};
use super::own::OwnLocks;
use super::single_flight::SingleFlight;
use crate::config::CLOSE_SESSION_TIMEOUT;
use crate::service::{Answer, CallId, Opened, Refusal, Request, Resource, SessionTerms, Verb};
use crate::types::{ClientId, LockName, SessionId, Token};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: ClientId,
    pub(super) servers: ServerList,
    timeout: Duration,
    /// What its sessions are opened with.
    pub(super) terms: Arc<SessionTerms>,
    pub(super) own: OwnLocks,
    session: watch::Sender<Current>,
    /// The work of opening the first record.
    opening: SingleFlight<OpenSession, AskError>,
}

/// The record that calls are numbered in.
#[derive(Debug, Clone)]
enum Current {
    /// No call has needed one yet.
    Unopened,
    Open(Arc<OpenSession>),
    /// The clerk is closed.
    Closed,
}

impl Shared {
    /// Creates it without a record. [`record`](Self::record) opens the first one.
    pub(super) fn new(servers: ServerList, timeout: Duration, terms: SessionTerms) -> Self {
        Self {
            client: ClientId::random(),
            servers,
            timeout,
            terms: Arc::new(terms),
            own: OwnLocks::default(),
            session: watch::Sender::new(Current::Unopened),
            opening: SingleFlight::default(),
        }
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.session.borrow(), Current::Closed)
    }

    /// Returns the current record, and opens the first one. None when the clerk is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: a record that nobody waits for any more expires.
    pub(super) async fn session(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Option<Arc<OpenSession>>, AskError> {
        loop {
            match &*self.session.borrow() {
                Current::Open(session) => return Ok(Some(session.clone())),
                Current::Closed => return Ok(None),
                Current::Unopened => {}
            }
            let mut is_own = false;
            let open = || {
                is_own = true;
                self.clone().open_first(deadline).boxed()
            };
            let opened = timeout_at(deadline, self.opening.get(|_| true, open)).await;
            match opened {
                // It was another call's, with an earlier deadline.
                Ok(Err(AskError::Unanswered(_))) if !is_own && Instant::now() < deadline => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) => {}
                Err(_) => return Err(AskError::Unanswered(AttemptLog::new(self.servers.ids()))),
            }
        }
    }

    /// Waits for the first record; for ever if the clerk is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn opened(&self) -> Arc<OpenSession> {
        let mut changes = self.session.subscribe();
        loop {
            if let Current::Open(session) = &*changes.borrow_and_update() {
                return session.clone();
            }
            // Its sender is `self`.
            let _ = changes.changed().await;
        }
    }

    /// Opens the first record, if the servers are members of one cluster.
    async fn open_first(self: Arc<Self>, deadline: Instant) -> Result<Arc<OpenSession>, AskError> {
        // The server that is asked first names its cluster; the others have to be asked.
        let others = self.servers.clusters.check_others(self.servers.preferred());
        let opened = join(self.open(None, Instant::now(), deadline), others).await;
        let opened = match opened {
            (Ok(opened), Ok(())) => opened,
            (Ok(opened), Err(clusters)) => {
                self.close_session(opened.session).await;
                let may_have_happened = false;
                return Err(AskError::Mixed {
                    clusters,
                    may_have_happened,
                });
            }
            (Err(error), _) => return Err(error.before_the_call()),
        };
        let session = Arc::new(OpenSession::new(&opened));
        if !self.publish(&session) {
            self.close_session(session.id).await;
        }
        Ok(session)
    }

    /// Opens a record at the servers: that of a session, or none. `now` is when it begins.
    pub(super) async fn open(
        &self,
        session: Option<Arc<SessionTerms>>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Opened, AskError> {
        let client = self.client;
        let request = Request::OpenSession {
            client,
            terms: session,
        };
        match self.servers.ask(&request, now, deadline).await? {
            Answer::Opened(opened) => Ok(opened),
            answer => unreachable!("open was answered with {answer:?}"),
        }
    }

    /// Makes `record` the one that calls are numbered in; false if the clerk is closed.
    pub(super) fn publish(&self, session: &Arc<OpenSession>) -> bool {
        self.session.send_if_modified(|current| {
            let is_closed = matches!(current, Current::Closed);
            if !is_closed {
                *current = Current::Open(session.clone());
            }
            !is_closed
        })
    }

    /// Closes a record at the servers, or lets it expire if they do not hear of it.
    pub(super) async fn close_session(&self, session: SessionId) {
        let client = self.client;
        let request = Request::CloseSession { client, session };
        let now = Instant::now();
        let asked = self.servers.ask(&request, now, now + CLOSE_SESSION_TIMEOUT);
        if let Err(error) = asked.await {
            tracing::debug!(%session, ?error, "nobody heard the goodbye; the record will expire");
        }
    }

    /// Lets no more calls begin, and gives the record that they used.
    pub(super) fn close(&self) -> Option<Arc<OpenSession>> {
        match self.session.send_replace(Current::Closed) {
            Current::Open(session) => Some(session),
            Current::Unopened | Current::Closed => None,
        }
    }

    /// Carries out one operation.
    ///
    /// # Cancel safety
    ///
    /// Safe: the call counts as given up.
    pub(super) async fn call(
        self: &Arc<Self>,
        verb: Verb,
        name: LockName,
    ) -> Result<bool, CallError> {
        let request = |id| Request::Call {
            id,
            verb,
            name: name.clone(),
        };
        let done = self.carry_out(request).await?;
        match verb {
            Verb::Lock if done => self.own.locked(&name),
            Verb::Lock => {}
            Verb::Unlock => self.own.unlocked(&name),
        }
        Ok(done)
    }

    /// Takes a lock from the session that holds it by `token`.
    ///
    /// # Cancel safety
    ///
    /// Safe: the call counts as given up.
    pub(super) async fn break_lock(
        self: &Arc<Self>,
        name: LockName,
        token: Token,
        reason: &str,
    ) -> Result<bool, CallError> {
        let request = |id| Request::Break {
            id,
            name: name.clone(),
            token,
            reason: reason.to_owned(),
            address: None,
        };
        let was_held = self.carry_out(request).await?;
        self.own.unlocked(&name);
        Ok(was_held)
    }

    /// Carries out one operation.
    async fn carry_out(
        self: &Arc<Self>,
        request: impl Fn(CallId) -> Request,
    ) -> Result<bool, CallError> {
        expect_runtime();
        let mut now = Instant::now();
        let deadline = now + self.timeout;
        loop {
            let call = self.number(deadline).await?;
            let request = request(call.id(self.client));
            match self.servers.ask(&request, now, deadline).await {
                Ok(Answer::Call(done)) => return Ok(done),
                Ok(answer) => unreachable!("a call was answered with {answer:?}"),
                Err(AskError::Refused(Refusal::UnknownSession, log)) => {
                    let refused = call.session.refused.subscribe();
                    call.session.lost.notify_one();
                    if log.may_have_happened {
                        return Err(CallError::RecordLost);
                    }
                    self.renewed(&call, refused, log, deadline).await?;
                    now = Instant::now();
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Looks something up.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn inspect(
        self: &Arc<Self>,
        request: &Request,
    ) -> Result<Answer, InspectError> {
        expect_runtime();
        let begun = Instant::now();
        let deadline = begun + self.timeout;
        let session = self.session(deadline).await;
        if session.map_err(|error| self.not_seen(error))?.is_none() {
            return Err(InspectError::Closed);
        }
        let answer = self.servers.ask(request, Instant::now(), deadline).await;
        answer.map_err(|error| self.not_seen(error))
    }

    /// Gives a call its number in the current record.
    async fn number(self: &Arc<Self>, deadline: Instant) -> Result<NumberedCall, CallError> {
        let session = self.session(deadline).await;
        let session = session.map_err(|error| self.failed(error))?;
        let session = session.ok_or(CallError::Closed)?;
        let after = self.timeout;
        let resource = Resource::Calls;
        session
            .number_by(deadline)
            .await
            .map_err(|_| CallError::Overloaded { after, resource })
    }

    /// Waits until there is another record than the one of `call`, or the clerk is closed. Fails
    /// when the servers have `refused` to open one.
    async fn renewed(
        &self,
        call: &NumberedCall,
        mut refused: watch::Receiver<Option<Overload>>,
        log: AttemptLog,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let mut current = self.session.subscribe();
        let lost = call.session.id;
        let is_other = |it: &Current| !matches!(it, Current::Open(session) if session.id == lost);
        let other = current.wait_for(is_other);
        let settled = async {
            tokio::select! {
                biased;
                _ = other => None,
                // Its sender is in the record.
                _ = refused.changed() => *refused.borrow(),
            }
        };
        match timeout_at(deadline, settled).await {
            Ok(None) => Ok(()),
            Ok(Some(Overload { resource, after })) => {
                Err(CallError::Overloaded { after, resource })
            }
            Err(_) => Err(self.unanswered(log)),
        }
    }

    fn failed(&self, error: AskError) -> CallError {
        match error {
            AskError::Refused(Refusal::InvalidName(error), _) => CallError::InvalidName(error),
            AskError::Refused(Refusal::Owned, log) => CallError::Owned {
                may_have_happened: log.may_have_happened,
            },
            // A server that has forgotten the outcome had it once.
            AskError::Refused(..) => CallError::RecordLost,
            AskError::Overloaded(Overload { resource, after }) => {
                CallError::Overloaded { after, resource }
            }
            AskError::Mixed {
                clusters,
                may_have_happened,
            } => CallError::MixedClusters {
                clusters,
                may_have_happened,
            },
            AskError::Unanswered(log) => self.unanswered(log),
        }
    }

    fn unanswered(&self, log: AttemptLog) -> CallError {
        CallError::Unanswered {
            after: self.timeout,
            may_have_happened: log.may_have_happened,
            tried: log.into_report(&self.servers.connections),
        }
    }

    fn not_seen(&self, error: AskError) -> InspectError {
        let after = self.timeout;
        match error {
            AskError::Refused(Refusal::InvalidName(error), _) => error.into(),
            AskError::Overloaded(Overload { resource, after }) => {
                InspectError::Overloaded { after, resource }
            }
            AskError::Mixed { clusters, .. } => InspectError::MixedClusters(clusters),
            AskError::Refused(_, log) | AskError::Unanswered(log) => InspectError::Unanswered {
                after,
                tried: log.into_report(&self.servers.connections),
            },
        }
    }

    /// The error of a request for an owned lock.
    pub(super) fn not_acquired(&self, error: AskError, after: Duration) -> AcquireError {
        match error {
            AskError::Overloaded(Overload { resource, after }) => {
                AcquireError::Overloaded { after, resource }
            }
            AskError::Mixed { clusters, .. } => AcquireError::MixedClusters(clusters),
            AskError::Refused(_, log) | AskError::Unanswered(log) => AcquireError::Unanswered {
                after,
                tried: log.into_report(&self.servers.connections),
            },
        }
    }

    /// The error of a request that waited for another one's answer.
    pub(super) fn not_opened(&self, after: Duration) -> AcquireError {
        let attempts = |server| ServerAttempts {
            server,
            address: self.servers.connections[server].addr().clone(),
            attempts: 0,
            last: Some(AttemptError::NoAnswer),
            refused: None,
        };
        AcquireError::Unanswered {
            after,
            tried: AttemptReport::new(self.servers.ids().map(attempts)),
        }
    }

    pub(super) fn not_released(&self, log: AttemptLog, after: Duration) -> ReleaseError {
        ReleaseError::Unanswered {
            after,
            may_have_happened: log.may_have_happened,
            tried: log.into_report(&self.servers.connections),
        }
    }
}
