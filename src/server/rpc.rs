//! Implements the service for clients: parse, submit, wait.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rustix::time::{ClockId, clock_gettime};
use tarpc::context::Context;

use super::Shared;
use crate::service::{
    AcquireOptions, Acquired, Answer, CallId, Cursor, Holdings, InView, LockInfo, LockService,
    Notifications, Opened, Page, Refusal, Request, Revision, ServerStatus, SessionTerms, Verb,
};
use crate::types::{
    ClientAddress, ClientId, LockName, ProcessId, Retention, Seq, SessionId, Token, View,
};

/// Implements [`LockService`] on the engine.
#[derive(Debug, Clone)]
pub(super) struct LockRpc {
    shared: Arc<Shared>,
    /// The client's address.
    address: ClientAddress,
}

impl LockRpc {
    pub(super) const fn new(shared: Arc<Shared>, address: ClientAddress) -> Self {
        Self { shared, address }
    }

    fn submit(&self, request: Request) -> impl Future<Output = Result<Answer, Refusal>> + Send {
        self.shared.engine.submit(request)
    }

    fn call(
        &self,
        id: CallId,
        verb: Verb,
        name: LockName,
    ) -> impl Future<Output = Result<bool, Refusal>> + Send {
        let answer = self.submit(Request::Call { id, verb, name });
        answer.map(|answer| match answer? {
            Answer::Call(answer) => Ok(answer),
            _ => Err(Refusal::Internal),
        })
    }
}

impl LockService for LockRpc {
    async fn open_session(
        self,
        _: Context,
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) -> Result<Opened, Refusal> {
        let session = session.map(|terms| {
            let address = Some(self.address.clone());
            let terms = Arc::unwrap_or_clone(terms);
            Arc::new(SessionTerms { address, ..terms })
        });
        match self
            .submit(Request::OpenSession {
                client,
                terms: session,
            })
            .await?
        {
            Answer::Opened(opened) => Ok(opened),
            _ => Err(Refusal::Internal),
        }
    }

    async fn lock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(id, Verb::Lock, LockName::new(name)?).await
    }

    async fn unlock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(id, Verb::Unlock, LockName::new(name)?).await
    }

    async fn acquire(
        self,
        _: Context,
        id: CallId,
        name: String,
        options: AcquireOptions,
    ) -> Result<Acquired, Refusal> {
        let name = LockName::new(name)?;
        match self.submit(Request::Acquire { id, name, options }).await? {
            Answer::Acquired(acquired) => Ok(acquired),
            _ => Err(Refusal::Internal),
        }
    }

    async fn release(self, _: Context, id: CallId, acquired: Seq) -> Result<bool, Refusal> {
        match self.submit(Request::Release { id, acquired }).await? {
            Answer::Call(was_held) => Ok(was_held),
            _ => Err(Refusal::Internal),
        }
    }

    async fn retain(
        self,
        _: Context,
        id: CallId,
        acquired: Seq,
        retention: Retention,
    ) -> Result<bool, Refusal> {
        let request = Request::Retain {
            id,
            acquired,
            retention,
        };
        match self.submit(request).await? {
            Answer::Call(is_held) => Ok(is_held),
            _ => Err(Refusal::Internal),
        }
    }

    async fn break_lock(
        self,
        _: Context,
        id: CallId,
        name: String,
        token: Token,
        reason: String,
    ) -> Result<bool, Refusal> {
        let name = LockName::new(name)?;
        let request = Request::Break {
            id,
            name,
            token,
            reason,
            address: Some(self.address.clone()),
        };
        match self.submit(request).await? {
            Answer::Call(was_held) => Ok(was_held),
            _ => Err(Refusal::Internal),
        }
    }

    async fn show(self, _: Context, name: String) -> Result<Box<LockInfo>, Refusal> {
        let name = LockName::new(name)?;
        match self.submit(Request::Show { name }).await? {
            Answer::Lock(lock) => Ok(lock),
            _ => Err(Refusal::Internal),
        }
    }

    async fn list(self, _: Context, prefix: String, from: Cursor) -> Result<Box<Page>, Refusal> {
        match self.submit(Request::List { prefix, from }).await? {
            Answer::Page(page) => Ok(page),
            _ => Err(Refusal::Internal),
        }
    }

    async fn poll(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
        since: Revision,
        view: View,
    ) -> Result<Box<InView<Notifications>>, Refusal> {
        let poll = Request::Poll {
            client,
            session,
            since,
            view,
        };
        match self.submit(poll).await? {
            Answer::Notifications(notifications) => Ok(notifications),
            _ => Err(Refusal::Internal),
        }
    }

    async fn holdings(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
        from: Seq,
    ) -> Result<Box<InView<Holdings>>, Refusal> {
        let request = Request::Holdings {
            client,
            session,
            from,
        };
        match self.submit(request).await? {
            Answer::Holdings(holdings) => Ok(holdings),
            _ => Err(Refusal::Internal),
        }
    }

    async fn keep_alive(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
    ) -> Result<(), Refusal> {
        let answer = self.submit(Request::KeepAlive { client, session }).await;
        answer.map(|_| ())
    }

    async fn close_session(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
    ) -> Result<(), Refusal> {
        let answer = self.submit(Request::CloseSession { client, session }).await;
        answer.map(|_| ())
    }

    async fn status(self, _: Context) -> Box<ServerStatus> {
        let status = self.shared.engine.status().await;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let limits = self.shared.config.limits;
        let (server, uptime) = (self.shared.config.me, self.shared.started.elapsed());
        Box::new(ServerStatus {
            server,
            cluster: status.cluster,
            role: status.role,
            view: status.view,
            op: status.op,
            digest: status.digest,
            acked: status.acked,
            in_sync: status.in_sync,
            obstacle: status.obstacle,
            clients: status.clients,
            locks: status.locks,
            waiters: status.waiters,
            state_bytes: status.state_bytes,
            state_limit: limits.memory.map(|_| limits.lock_bytes()),
            memory_limit: limits.memory,
            uptime,
            process: ProcessId::of_this_process(),
            cpu_time: cpu_time(),
            busy_poll: self.shared.busy_poll.current(),
            version,
        })
    }
}

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}
