//! What the clones of a clerk share: the pair, and the record that their calls are numbered in.
//!
//! A record can be lost: it expired while the clerk was cut off, or the pair lost its state. A call that
//! certainly was not carried out under the lost record goes on under a new one; a call that may have been
//! carried out must not, or it could be carried out twice. The keeper opens the new record, once for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::call::{AskError, Pair};
use super::error::CallError;
use super::record::{Numbered, Record};
use super::trail::Trail;
use crate::service::{Answer, CallId, Refusal, Request, Resource, Verb};
use crate::types::{ClientId, LockName};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: ClientId,
    pub(super) pair: Pair,
    timeout: Duration,
    /// The current record; none when the clerk is closed.
    record: watch::Sender<Option<Arc<Record>>>,
}

impl Session {
    /// A session without a record. [`publish`](Self::publish) gives it one.
    pub(super) fn new(pair: Pair, timeout: Duration) -> Self {
        Self {
            client: ClientId::random(),
            pair,
            timeout,
            record: watch::Sender::new(None),
        }
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn record(&self) -> Option<Arc<Record>> {
        self.record.borrow().clone()
    }

    /// Opens a record at the servers.
    pub(super) async fn open(&self) -> Result<Record, AskError> {
        let request = Request::Open {
            client: self.client,
            lease: None,
        };
        let now = Instant::now();
        match self.pair.ask(&request, now, now + self.timeout).await? {
            Answer::Opened(opened) => Ok(Record::new(opened)),
            answer => unreachable!("open was answered with {answer:?}"),
        }
    }

    /// Makes `record` the one that calls are numbered in.
    pub(super) fn publish(&self, record: Record) {
        self.record.send_replace(Some(Arc::new(record)));
    }

    /// Lets no more calls begin, and gives the record that they used.
    pub(super) fn close(&self) -> Option<Arc<Record>> {
        self.record.send_replace(None)
    }

    /// Carries out one operation.
    ///
    /// # Cancel safety
    ///
    /// Safe: the call counts as given up.
    pub(super) async fn call(&self, verb: Verb, name: LockName) -> Result<bool, CallError> {
        let mut now = Instant::now();
        let deadline = now + self.timeout;
        loop {
            let call = self.number(deadline).await?;
            let request = self.request(&call, verb, name.clone());
            match self.pair.ask(&request, now, deadline).await {
                Ok(Answer::Call(done)) => return Ok(done),
                Ok(answer) => unreachable!("a call was answered with {answer:?}"),
                Err(AskError::Refused(Refusal::UnknownRecord, trail)) => {
                    call.record.lost.notify_one();
                    if trail.may_have_happened {
                        return Err(CallError::RecordLost);
                    }
                    self.renewed(&call, trail, deadline).await?;
                    now = Instant::now();
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Gives a call its number in the current record.
    async fn number(&self, deadline: Instant) -> Result<Numbered, CallError> {
        let record = self.record().ok_or(CallError::Closed)?;
        if let Some(call) = record.clone().try_number() {
            return Ok(call);
        }
        let after = self.timeout;
        let resource = Resource::Calls;
        timeout_at(deadline, record.number())
            .await
            .map_err(|_| CallError::Overloaded { after, resource })
    }

    fn request(&self, call: &Numbered, verb: Verb, name: LockName) -> Request {
        let id = CallId {
            client: self.client,
            record: call.record.number,
            seq: call.seq,
            done_below: call.done_below,
        };
        Request::Call { id, verb, name }
    }

    /// Waits until there is another record than the one of `call`, or the clerk is closed.
    async fn renewed(
        &self,
        call: &Numbered,
        trail: Trail,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let mut current = self.record.subscribe();
        let lost = call.record.number;
        let other = current.wait_for(|record| record.as_ref().is_none_or(|it| it.number != lost));
        match timeout_at(deadline, other).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.timed_out(trail)),
        }
    }

    fn failed(&self, error: AskError) -> CallError {
        match error {
            AskError::Refused(Refusal::InvalidName(error), _) => CallError::InvalidName(error),
            // A server that has forgotten the outcome had it once.
            AskError::Refused(..) => CallError::RecordLost,
            AskError::TimedOut(trail) => self.timed_out(trail),
        }
    }

    fn timed_out(&self, trail: Trail) -> CallError {
        let after = self.timeout;
        match trail.overload() {
            Some(resource) => CallError::Overloaded { after, resource },
            None => CallError::TimedOut {
                after,
                may_have_happened: trail.may_have_happened,
                tried: trail.told(&self.pair),
            },
        }
    }
}
