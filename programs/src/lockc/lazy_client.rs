//! Who asks the servers, for the commands that ask a few things.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::session_name::own_session_name;
use crate::exit::Exit;
use lockservice::clerk::{
    AcquireError, AttemptError, AttemptReport, CallError, Clerk, ConnectError, InspectError,
    ReleaseError, ServerAttempts, Watch,
};
use lockservice::inspect::LockChange;
use lockservice::rpc::DialError;
use lockservice::service::Verb;
use lockservice::transport::Servers;
use lockservice::types::LockName;

/// How much later than asked for the program gives up by itself: the clerk, which can say more,
/// comes first unless connecting has taken time already.
const GRACE: Duration = Duration::from_millis(100);

/// A clerk, connected when it is first needed.
pub(super) struct LazyClient {
    pub(super) servers: Servers,
    pub(super) timeout: Duration,
    clerk: Option<Clerk>,
}

/// Why there is no answer to what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}{hint}", hint = hint(.0))]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("no answer within {}; the operation may have happened", humantime::format_duration(*.0))]
    Unanswered(Duration),
    #[error("no answer within {}; nothing was changed", humantime::format_duration(*.0))]
    NotSeen(Duration),
}

/// What to do when no server runs at all.
pub(super) const NOBODY_LISTENS: &str =
    "no server runs there: try `lockd dev`, or name others with --servers";

fn hint(error: &ConnectError) -> String {
    match error {
        ConnectError::Unanswered { tried, .. } if nobody_listens(tried) => {
            format!("; {NOBODY_LISTENS}")
        }
        _ => String::new(),
    }
}

fn nobody_listens(tried: &AttemptReport) -> bool {
    let last = |server: &ServerAttempts| server.last.as_ref().is_some_and(is_refused);
    tried.servers().iter().all(last)
}

/// Whether the try found that nobody listens.
pub(super) fn is_refused(error: &AttemptError) -> bool {
    matches!(error, AttemptError::Dial(error) if matches!(**error, DialError::Refused(_)))
}

impl Failure {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Call(CallError::InvalidName(_) | CallError::MixedClusters { .. })
            | Self::Inspect(InspectError::InvalidName(_) | InspectError::MixedClusters(_))
            | Self::Acquire(
                AcquireError::InvalidName(_)
                | AcquireError::NoPermits
                | AcquireError::MixedClusters(_),
            )
            | Self::Connect(
                ConnectError::InvalidLease(_)
                | ConnectError::InvalidName(_)
                | ConnectError::MixedClusters(_),
            ) => Exit::Usage,
            Self::Call(CallError::Owned { .. }) => Exit::No,
            Self::Call(CallError::Closed)
            | Self::Inspect(InspectError::Closed)
            | Self::Acquire(AcquireError::Closed) => Exit::Internal,
            Self::Connect(_)
            | Self::Call(_)
            | Self::Inspect(_)
            | Self::Acquire(_)
            | Self::Release(_)
            | Self::Unanswered(_)
            | Self::NotSeen(_) => Exit::Unavailable,
        }
    }
}

impl LazyClient {
    pub(super) const fn new(servers: Servers, timeout: Duration) -> Self {
        Self {
            servers,
            timeout,
            clerk: None,
        }
    }

    /// Locks or unlocks, within the timeout in all.
    pub(super) async fn call(&mut self, verb: Verb, name: &LockName) -> Result<bool, Failure> {
        let name = name.as_str();
        self.ask(async |clerk| match verb {
            Verb::Lock => clerk.lock(name).await,
            Verb::Unlock => clerk.unlock(name).await,
        })
        .await
    }

    /// Looks something up, within the timeout in all.
    pub(super) async fn inspect<T>(
        &mut self,
        question: impl AsyncFnOnce(&Clerk) -> Result<T, InspectError>,
    ) -> Result<T, Failure> {
        match self.ask(question).await {
            Err(Failure::Unanswered(after)) => Err(Failure::NotSeen(after)),
            answer => answer,
        }
    }

    /// Begins to watch, and tells what is held, within the timeout in all.
    pub(super) async fn watch(
        &mut self,
        prefix: &str,
        every: Duration,
    ) -> Result<(Watch, Vec<LockChange>), Failure> {
        self.inspect(async |clerk| {
            let mut watch = clerk.watch(prefix).every(every);
            let held = watch.changes_now().await?;
            Ok((watch, held))
        })
        .await
    }

    /// Asks the servers to do something, within the timeout in all.
    pub(super) async fn ask<T, E>(
        &mut self,
        question: impl AsyncFnOnce(&Clerk) -> Result<T, E>,
    ) -> Result<T, Failure>
    where
        Failure: From<E>,
    {
        let deadline = Instant::now() + self.timeout + GRACE;
        let clerk = self.clerk().await?;
        match timeout_at(deadline, question(&clerk)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Unanswered(self.timeout)),
        }
    }

    async fn clerk(&mut self) -> Result<Clerk, ConnectError> {
        if let Some(clerk) = &self.clerk {
            return Ok(clerk.clone());
        }
        let builder = Clerk::builder(self.servers.clone())
            .timeout(self.timeout)
            .name(own_session_name());
        let clerk = builder.connect().await?;
        Ok(self.clerk.insert(clerk).clone())
    }

    pub(super) async fn close(self) {
        if let Some(clerk) = self.clerk {
            clerk.close().await;
        }
    }
}
