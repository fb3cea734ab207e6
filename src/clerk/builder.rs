//! The builder of a clerk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::call::{AskError, Overload, ServerList};
use super::error::ConnectError;
use super::shared::Shared;
use super::{Clerk, clamp, expect_runtime, keepalive};
use crate::config::{CALL_TIMEOUT, LEASE, PATIENCE};
use crate::service::SessionTerms;
use crate::transport::{Network, Servers, SystemNetwork};
use crate::types::{Lease, SessionId, SessionName};

/// A description of a [`Clerk`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `connect` or `connect_lazily`"]
pub struct ClerkBuilder {
    servers: Servers,
    timeout: Duration,
    hedge_delay: Duration,
    lease: Duration,
    name: Option<Arc<str>>,
    inside: Option<SessionId>,
    network: Arc<dyn Network>,
}

impl ClerkBuilder {
    pub(super) fn new(servers: Servers) -> Self {
        Self {
            servers,
            timeout: CALL_TIMEOUT,
            hedge_delay: PATIENCE,
            lease: LEASE,
            name: None,
            inside: None,
            network: Arc::new(SystemNetwork::default()),
        }
    }

    /// How long to try to connect, and each call, before it fails. Default: 10 s. It does not limit
    /// the wait for a lock's turn.
    ///
    /// Too low, and calls fail during a failover; too high, and a caller learns late that no server
    /// is there.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one server may be silent before the other one is asked as well. Default: 300 ms.
    ///
    /// Too low, and a slow answer costs two calls; too high, and a call waits that long when a
    /// server hangs.
    pub const fn hedge_delay(mut self, hedge_delay: Duration) -> Self {
        self.hedge_delay = hedge_delay;
        self
    }

    /// How long the locks that the clerk owns stay held when the servers hear nothing of it: 100
    /// milliseconds to an hour. Default: 10 s.
    ///
    /// Too low, and a holder that is slow, or cut off during a failover, loses its locks; too high,
    /// and the locks of a crashed holder stay held for that long.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// What people are told of who holds the clerk's locks and waits for them, for instance
    /// "deploy@web-3, pid 4711": at most 256 bytes, any characters. The default is no name, and so
    /// is an empty one.
    ///
    /// The servers keep it with the clerk's session. It identifies nothing: clerks may share a
    /// name.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Says that the clerk works inside the session `outer`, which keeps its locks until this clerk
    /// has finished, as a command does that runs under a lock.
    ///
    /// So [`Clerk::wait_graph`] sees when a lock that the clerk waits for is held, directly or in a
    /// cycle, by a session that waits for the clerk. [`LockGuard::session`] is the id of a guard's
    /// session. Default: none.
    ///
    /// [`LockGuard::session`]: super::LockGuard::session
    pub const fn inside(mut self, outer: SessionId) -> Self {
        self.inside = Some(outer);
        self
    }

    /// How the servers are reached. The default is [`SystemNetwork`].
    pub fn network(mut self, network: Arc<dyn Network>) -> Self {
        self.network = network;
        self
    }

    /// Connects to the pair. A pair that is not up yet is waited for.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the lease is too short or too long, the name is too long, or no server
    /// took the client on in time.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn connect(self) -> Result<Clerk, ConnectError> {
        let clerk = self.connect_lazily()?;
        let deadline = Instant::now() + clerk.shared.timeout();
        match clerk.shared.session(deadline).await {
            Ok(_) => Ok(clerk),
            Err(error) => Err(not_connected(&clerk.shared, error)),
        }
    }

    /// Creates a clerk without connecting, and returns at once.
    ///
    /// The first call connects, within its own timeout, and fails with its own errors. If that
    /// fails, the next call connects.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the lease is too short or too long, or the name is too long.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::{Clerk, Servers};
    /// # async fn example() -> Result<(), lockservice::Error> {
    /// let clerk = Clerk::builder(Servers::default()).connect_lazily()?;
    /// let is_locked = clerk.lock("jobs/nightly").await?; // connects
    /// # assert!(is_locked);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn connect_lazily(self) -> Result<Clerk, ConnectError> {
        expect_runtime();
        let servers = ServerList::new(&self.network, &self.servers, clamp(self.hedge_delay));
        let terms = SessionTerms {
            lease: Lease::new(self.lease)?,
            name: self.name.map(SessionName::new).transpose()?,
            inside: self.inside,
            address: None,
        };
        let shared = Arc::new(Shared::new(servers, clamp(self.timeout), terms));
        let (keeper, clerk) = mpsc::channel(1);
        tokio::spawn(keepalive::run(shared.clone(), clerk));
        Ok(Clerk {
            shared,
            keeper,
            sessions: Arc::default(),
        })
    }
}

fn not_connected(shared: &Shared, error: AskError) -> ConnectError {
    let after = shared.timeout();
    match error {
        AskError::Overloaded(Overload { resource, after }) => {
            ConnectError::Overloaded { after, resource }
        }
        AskError::Mixed { clusters, .. } => clusters.into(),
        AskError::Unanswered(log) | AskError::Refused(_, log) => ConnectError::Unanswered {
            after,
            tried: log.into_report(&shared.servers.connections),
        },
    }
}
