//! What clients ask: parse, submit, wait.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tarpc::context::Context;

use super::Shared;
use crate::engine::pair::core::Via;
use crate::service::{Answer, CallId, LockService, Opened, Refusal, Request, ServerStatus, Verb};
use crate::types::{ClientId, LockName, RecordNumber};

/// Implements [`LockService`] on the engine.
#[derive(Debug, Clone)]
pub(super) struct LockRpc {
    shared: Arc<Shared>,
}

impl LockRpc {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn submit(&self, request: Request) -> Result<Answer, Refusal> {
        self.shared.pair.submit(Via::Client, request).await
    }

    async fn call(&self, id: CallId, verb: Verb, name: String) -> Result<bool, Refusal> {
        let name = LockName::new(name)?;
        match self.submit(Request::Call { id, verb, name }).await? {
            Answer::Call(answer) => Ok(answer),
            Answer::Opened(_) | Answer::Done => Err(Refusal::Internal),
        }
    }
}

impl LockService for LockRpc {
    async fn open(self, _: Context, client: ClientId) -> Result<Opened, Refusal> {
        match self.submit(Request::Open { client }).await? {
            Answer::Opened(opened) => Ok(opened),
            Answer::Call(_) | Answer::Done => Err(Refusal::Internal),
        }
    }

    async fn lock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(id, Verb::Lock, name).await
    }

    async fn unlock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(id, Verb::Unlock, name).await
    }

    async fn keep_alive(
        self,
        _: Context,
        client: ClientId,
        record: RecordNumber,
    ) -> Result<(), Refusal> {
        let answer = self.submit(Request::KeepAlive { client, record }).await;
        answer.map(|_| ())
    }

    async fn goodbye(
        self,
        _: Context,
        client: ClientId,
        record: RecordNumber,
    ) -> Result<(), Refusal> {
        let answer = self.submit(Request::Goodbye { client, record }).await;
        answer.map(|_| ())
    }

    async fn status(self, _: Context) -> ServerStatus {
        let overview = self.shared.pair.overview().await;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let (server, uptime) = (self.shared.config.me, self.shared.started.elapsed());
        ServerStatus {
            server,
            role: overview.role,
            view: overview.view,
            op: overview.op,
            digest: overview.digest,
            acked: overview.acked,
            in_sync: overview.in_sync,
            clients: overview.clients,
            locks: overview.locks,
            uptime,
            cpu_time: cpu_time(),
            version,
        }
    }
}

/// How much processor time this process has used.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}
