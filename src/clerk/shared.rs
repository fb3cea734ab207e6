//! What the clones of a clerk share: the pair, and the record that their calls are numbered in.
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

use super::call::{AskError, Overload, Pair};
use super::error::{
    AcquireError, CallError, LookError, ReleaseError, Tried, TriedServer, TryError,
};
use super::expect_runtime;
use super::joint::Joint;
use super::own::OwnLocks;
use super::record::{Numbered, Record};
use super::trail::Trail;
use crate::config::GOODBYE_TIMEOUT;
use crate::service::{Answer, CallId, Opened, Refusal, Request, Resource, SessionTerms, Verb};
use crate::types::{ClientId, LockName, RecordNumber, ServerId, Token};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: ClientId,
    pub(super) pair: Pair,
    timeout: Duration,
    /// What its sessions are opened with.
    pub(super) terms: Arc<SessionTerms>,
    pub(super) own: OwnLocks,
    record: watch::Sender<Current>,
    /// The work of opening the first record.
    opening: Joint<Record, AskError>,
}

/// The record that calls are numbered in.
#[derive(Debug, Clone)]
enum Current {
    /// No call has needed one yet.
    Unopened,
    Open(Arc<Record>),
    /// The clerk is closed.
    Closed,
}

impl Shared {
    /// Creates it without a record. [`record`](Self::record) opens the first one.
    pub(super) fn new(pair: Pair, timeout: Duration, terms: SessionTerms) -> Self {
        Self {
            client: ClientId::random(),
            pair,
            timeout,
            terms: Arc::new(terms),
            own: OwnLocks::default(),
            record: watch::Sender::new(Current::Unopened),
            opening: Joint::default(),
        }
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.record.borrow(), Current::Closed)
    }

    /// Returns the current record, and opens the first one. None when the clerk is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: a record that nobody waits for any more expires.
    pub(super) async fn record(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Option<Arc<Record>>, AskError> {
        loop {
            match &*self.record.borrow() {
                Current::Open(record) => return Ok(Some(record.clone())),
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
                Err(_) => return Err(AskError::Unanswered(Trail::default())),
            }
        }
    }

    /// Waits for the first record; for ever if the clerk is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn opened(&self) -> Arc<Record> {
        let mut changes = self.record.subscribe();
        loop {
            if let Current::Open(record) = &*changes.borrow_and_update() {
                return record.clone();
            }
            // Its sender is `self`.
            let _ = changes.changed().await;
        }
    }

    /// Opens the first record, if the servers are members of one cluster.
    async fn open_first(self: Arc<Self>, deadline: Instant) -> Result<Arc<Record>, AskError> {
        // The server that is asked first says of which cluster it is; the other one has to be
        // asked.
        let other = self.pair.clusters.check_server(ServerId::B);
        let opened = join(self.open(None, Instant::now(), deadline), other).await;
        let opened = match opened {
            (Ok(opened), Ok(())) => opened,
            (Ok(opened), Err(clusters)) => {
                self.say_goodbye(opened.record).await;
                let may_have_happened = false;
                return Err(AskError::Mixed {
                    clusters,
                    may_have_happened,
                });
            }
            (Err(error), _) => return Err(error.before_the_call()),
        };
        let record = Arc::new(Record::new(&opened));
        if !self.publish(&record) {
            self.say_goodbye(record.number).await;
        }
        Ok(record)
    }

    /// Opens a record at the servers: that of a session, or none. `now` is when it begins.
    pub(super) async fn open(
        &self,
        session: Option<Arc<SessionTerms>>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Opened, AskError> {
        let client = self.client;
        let request = Request::Open { client, session };
        match self.pair.ask(&request, now, deadline).await? {
            Answer::Opened(opened) => Ok(opened),
            answer => unreachable!("open was answered with {answer:?}"),
        }
    }

    /// Makes `record` the one that calls are numbered in; false if the clerk is closed.
    pub(super) fn publish(&self, record: &Arc<Record>) -> bool {
        self.record.send_if_modified(|current| {
            let is_closed = matches!(current, Current::Closed);
            if !is_closed {
                *current = Current::Open(record.clone());
            }
            !is_closed
        })
    }

    /// Closes a record at the servers, or lets it expire if they do not hear of it.
    pub(super) async fn say_goodbye(&self, record: RecordNumber) {
        let client = self.client;
        let request = Request::Goodbye { client, record };
        let now = Instant::now();
        let asked = self.pair.ask(&request, now, now + GOODBYE_TIMEOUT);
        if let Err(error) = asked.await {
            tracing::debug!(%record, ?error, "nobody heard the goodbye; the record will expire");
        }
    }

    /// Lets no more calls begin, and gives the record that they used.
    pub(super) fn close(&self) -> Option<Arc<Record>> {
        match self.record.send_replace(Current::Closed) {
            Current::Open(record) => Some(record),
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

    /// Takes a lock from whoever holds it by `token`.
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
            match self.pair.ask(&request, now, deadline).await {
                Ok(Answer::Call(done)) => return Ok(done),
                Ok(answer) => unreachable!("a call was answered with {answer:?}"),
                Err(AskError::Refused(Refusal::UnknownRecord, trail)) => {
                    let refused = call.record.refused.subscribe();
                    call.record.lost.notify_one();
                    if trail.may_have_happened {
                        return Err(CallError::RecordLost);
                    }
                    self.renewed(&call, refused, trail, deadline).await?;
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
    pub(super) async fn look(self: &Arc<Self>, request: &Request) -> Result<Answer, LookError> {
        expect_runtime();
        let begun = Instant::now();
        let deadline = begun + self.timeout;
        let record = self.record(deadline).await;
        if record.map_err(|error| self.not_seen(error))?.is_none() {
            return Err(LookError::Closed);
        }
        let answer = self.pair.ask(request, Instant::now(), deadline).await;
        answer.map_err(|error| self.not_seen(error))
    }

    /// Gives a call its number in the current record.
    async fn number(self: &Arc<Self>, deadline: Instant) -> Result<Numbered, CallError> {
        let record = self.record(deadline).await;
        let record = record.map_err(|error| self.failed(error))?;
        let record = record.ok_or(CallError::Closed)?;
        let after = self.timeout;
        let resource = Resource::Calls;
        record
            .number_by(deadline)
            .await
            .map_err(|_| CallError::Overloaded { after, resource })
    }

    /// Waits until there is another record than the one of `call`, or the clerk is closed. Fails
    /// when the servers have `refused` to open one.
    async fn renewed(
        &self,
        call: &Numbered,
        mut refused: watch::Receiver<Option<Overload>>,
        trail: Trail,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let mut current = self.record.subscribe();
        let lost = call.record.number;
        let is_other = |it: &Current| !matches!(it, Current::Open(record) if record.number == lost);
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
            Err(_) => Err(self.unanswered(trail)),
        }
    }

    fn failed(&self, error: AskError) -> CallError {
        match error {
            AskError::Refused(Refusal::InvalidName(error), _) => CallError::InvalidName(error),
            AskError::Refused(Refusal::Owned, trail) => CallError::Owned {
                may_have_happened: trail.may_have_happened,
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
            AskError::Unanswered(trail) => self.unanswered(trail),
        }
    }

    fn unanswered(&self, trail: Trail) -> CallError {
        CallError::Unanswered {
            after: self.timeout,
            may_have_happened: trail.may_have_happened,
            tried: trail.told(&self.pair),
        }
    }

    fn not_seen(&self, error: AskError) -> LookError {
        let after = self.timeout;
        match error {
            AskError::Refused(Refusal::InvalidName(error), _) => error.into(),
            AskError::Overloaded(Overload { resource, after }) => {
                LookError::Overloaded { after, resource }
            }
            AskError::Mixed { clusters, .. } => LookError::MixedClusters(clusters),
            AskError::Refused(_, trail) | AskError::Unanswered(trail) => LookError::Unanswered {
                after,
                tried: trail.told(&self.pair),
            },
        }
    }

    /// Why a request for an owned lock has come to nothing.
    pub(super) fn not_acquired(&self, error: AskError, after: Duration) -> AcquireError {
        match error {
            AskError::Overloaded(Overload { resource, after }) => {
                AcquireError::Overloaded { after, resource }
            }
            AskError::Mixed { clusters, .. } => AcquireError::MixedClusters(clusters),
            AskError::Refused(_, trail) | AskError::Unanswered(trail) => AcquireError::Unanswered {
                after,
                tried: trail.told(&self.pair),
            },
        }
    }

    /// Why a request that waited for what another one was asking has come to nothing.
    pub(super) fn not_opened(&self, after: Duration) -> AcquireError {
        let tried = Tried::new(|server| TriedServer {
            server,
            address: self.pair.connections[server].addr().clone(),
            tries: 0,
            last: Some(TryError::NoAnswer),
            refused: None,
        });
        AcquireError::Unanswered { after, tried }
    }

    pub(super) fn not_released(&self, trail: Trail, after: Duration) -> ReleaseError {
        ReleaseError::Unanswered {
            after,
            may_have_happened: trail.may_have_happened,
            tried: trail.told(&self.pair),
        }
    }
}
