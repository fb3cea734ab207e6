//! The client of a lock pair.
//!
//! A [`Clerk`] is a handle: clones share one record at the servers and one connection to each of them,
//! and any number of calls may be in flight. It sticks to the server that answers, and goes to the other
//! one when that fails, with the same ids, so that an operation is carried out once however often it is
//! asked for.
//!
//! A clerk that is dropped says goodbye to the servers in the background; [`Clerk::close`] waits for it.
//! Locks stay held: they belong to nobody, and any clerk can unlock them.

mod both;
mod call;
mod connection;
mod error;
mod failover;
mod keeper;
mod record;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod trail;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::error::{CallError, ConnectError, Tried, TriedServer, TryError};
pub use self::status::{ServerReport, is_whole, status, status_of};

use self::both::Both;
use self::call::{AskError, Pair};
use self::connection::Connection;
use self::keeper::Close;
use self::session::Session;
use crate::config::{CALL_TIMEOUT, PATIENCE};
use crate::net::{Network, Servers, SystemNetwork};
use crate::service::Verb;
use crate::types::LockName;

/// A client of a lock pair. Clones are the same client.
///
/// It can be used from any task. It needs the Tokio runtime in which it was connected: that runs the
/// task that keeps its record.
#[derive(Clone)]
#[must_use = "a clerk that is dropped leaves the servers"]
pub struct Clerk {
    session: Arc<Session>,
    keeper: mpsc::Sender<Close>,
}

impl Clerk {
    /// Connects to a pair, with the default timeouts.
    ///
    /// A pair that is not up yet is waited for.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when no server took the client on in time.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::clerk::Clerk;
    /// # use lockservice::net::Servers;
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let clerk = Clerk::connect(Servers::new("10.0.0.1:5100", "10.0.0.2:5100")?).await?;
    /// if clerk.lock("jobs/nightly").await? {
    ///     // It was free, and is now held.
    ///     clerk.unlock("jobs/nightly").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(servers: Servers) -> Result<Self, ConnectError> {
        Self::builder(servers).connect().await
    }

    /// Begins to describe a clerk with other timeouts, or on another network.
    pub fn builder(servers: Servers) -> ClerkBuilder {
        ClerkBuilder {
            servers,
            timeout: CALL_TIMEOUT,
            patience: PATIENCE,
            network: Arc::new(SystemNetwork),
        }
    }

    /// Locks `name`: true when it was free and is now held, false when it was held.
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation can have happened.
    ///
    /// # Cancel safety
    ///
    /// Safe: the operation has happened entirely or not at all, or does so a little later; the clerk
    /// stays usable.
    pub async fn lock(&self, name: &str) -> Result<bool, CallError> {
        self.session.call(Verb::Lock, LockName::new(name)?).await
    }

    /// Unlocks `name`: true when it was held and is now free, false when it was free.
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation can have happened.
    ///
    /// # Cancel safety
    ///
    /// Safe: the operation has happened entirely or not at all, or does so a little later; the clerk
    /// stays usable.
    pub async fn unlock(&self, name: &str) -> Result<bool, CallError> {
        self.session.call(Verb::Unlock, LockName::new(name)?).await
    }

    /// Closes the clerk's record at the servers, waiting a second for them at the most. Calls on other
    /// clones fail from now on.
    ///
    /// # Cancel safety
    ///
    /// Safe: the clerk is closed in the background.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.keeper.send(done).await.is_ok() {
            // The keeper answers, or is gone with its runtime.
            let _ = closed.await;
        }
    }
}

impl fmt::Debug for Clerk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clerk")
            .field("client", &self.session.client)
            .finish_non_exhaustive()
    }
}

/// A description of a [`Clerk`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `connect`"]
pub struct ClerkBuilder {
    servers: Servers,
    timeout: Duration,
    patience: Duration,
    network: Arc<dyn Network>,
}

impl ClerkBuilder {
    /// How long connecting, and each call, is tried before it fails. See
    /// [`CALL_TIMEOUT`], the default.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one server may be silent before the other one is asked as well. See [`PATIENCE`], the
    /// default.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
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
    /// [`ConnectError`] when no server took the client on in time.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn connect(self) -> Result<Clerk, ConnectError> {
        let connections = Both::of(|server| {
            Connection::new(self.network.clone(), self.servers.address(server).clone())
        });
        let pair = Pair::new(connections, clamp(self.patience));
        let session = Arc::new(Session::new(pair, clamp(self.timeout)));
        match session.open().await {
            Ok(record) => session.publish(record),
            Err(error) => return Err(not_connected(&session, error)),
        }
        let (keeper, clerk) = mpsc::channel(1);
        tokio::spawn(keeper::keep(session.clone(), clerk));
        Ok(Clerk { session, keeper })
    }
}

fn not_connected(session: &Session, error: AskError) -> ConnectError {
    let after = session.timeout();
    let (AskError::TimedOut(trail) | AskError::Refused(_, trail)) = error;
    match trail.overload() {
        Some(resource) => ConnectError::Overloaded { after, resource },
        None => ConnectError::TimedOut {
            after,
            tried: trail.told(&session.pair),
        },
    }
}

/// A clock has an end, and a sum with [`Duration::MAX`] would be beyond it. A year is as good.
fn clamp(duration: Duration) -> Duration {
    duration.min(Duration::from_hours(365 * 24))
}
