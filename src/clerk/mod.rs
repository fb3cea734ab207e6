//! The client of a lock pair.
//!
//! A [`Clerk`] is a handle: clones share one record at the servers and one connection to each of
//! them, and any number of calls may be in flight. It sticks to the server that answers, and goes
//! to the other one when that fails, with the same ids, so that an operation is carried out once
//! however often it is asked for.
//!
//! There are two kinds of locks. One that is acquired ([`Clerk::acquire`], which waits for its
//! turn) belongs to its [`LockGuard`], and is free again when that is dropped, or when nothing is
//! heard of the clerk for a lease. One that is locked ([`Clerk::lock`], which does not wait)
//! belongs to nobody, stays held when its locker ends, and any clerk can unlock it. The two exclude
//! each other.
//!
//! A clerk that is dropped says goodbye to the servers in the background, when its guards are gone
//! as well; [`Clerk::close`] waits for it.

mod acquired;
mod all;
mod attempt_log;
mod builder;
mod call;
mod clusters;
mod connection;
mod election;
mod error;
mod failover;
mod guard;
mod inspect;
mod keepalive;
mod open_session;
mod own;
mod per_server;
mod request;
mod session;
mod shared;
mod single_flight;
mod status;
#[cfg(test)]
mod tests;
mod timed_request;
mod wait_graph;
mod watch;
mod watcher;
mod with_lock;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use tokio::sync::{mpsc, oneshot};

pub use self::acquired::{BreakOutcome, LockGuards, TryAcquired};
pub use self::all::AllRequest;
pub use self::builder::ClerkBuilder;
pub use self::clusters::MixedClusters;
pub use self::error::{
    AcquireError, AttemptError, AttemptReport, CallError, ConnectError, Error, InspectError,
    ReleaseError, ServerAttempts,
};
pub use self::guard::LockGuard;
pub use self::request::LockRequest;
pub use self::session::{GuardState, LossReason};
pub use self::status::{ServerReport, is_whole, mix, status, status_of};
pub use self::watch::Watch;
pub use self::watcher::GuardWatcher;
pub use self::with_lock::WithLockError;
#[doc(inline)]
pub use crate::rpc::{DialError, Rejection};
#[doc(inline)]
pub use crate::service::{Obstacle, Refusal, Resource, RoleName, ServerStatus};

use self::keepalive::Close;
use self::session::CurrentSession;
use self::shared::Shared;
use crate::service::Verb;
use crate::transport::Servers;
use crate::types::{ClientId, LockName, NameError};

/// A client of the lock servers. Clones are the same client.
///
/// Any task can use it. It needs the Tokio runtime in which it was created, which runs the tasks
/// that keep its sessions alive. When a task blocks the threads of that runtime, a thread of the
/// library, one for all clerks of the process, renews the leases meanwhile, if
/// [the network](crate::Network::is_reached_from_any_runtime) allows it; the system's does. A
/// forked child has neither the runtime nor that thread: connect after forking.
#[derive(Clone)]
#[must_use = "a clerk that is dropped leaves the servers"]
pub struct Clerk {
    shared: Arc<Shared>,
    keeper: mpsc::Sender<Close>,
    sessions: Arc<CurrentSession>,
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
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::clerk::Clerk;
    /// # use lockservice::transport::Servers;
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let clerk = Clerk::connect(Servers::new("10.0.0.1:5100", "10.0.0.2:5100")?).await?;
    /// let guard = clerk.acquire("jobs/nightly").await?; // waits for its turn
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(servers: Servers) -> Result<Self, ConnectError> {
        Self::builder(servers).connect().await
    }

    /// Begins to describe a clerk with other timeouts, or on another network.
    pub fn builder(servers: Servers) -> ClerkBuilder {
        ClerkBuilder::new(servers)
    }

    /// Locks `name` if it is free, without waiting; look at the answer: it is false when the lock
    /// is held already.
    ///
    /// True says that it was free and is now held. It then belongs to nobody: it stays held when
    /// its locker ends, until somebody [`unlock`](Self::unlock)s it. To wait for a lock, and to
    /// have it released with its holder, is what [`acquire`](Self::acquire) is for.
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation can have happened.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the operation has happened entirely or not at all, or does so a little later; the
    /// clerk stays usable.
    pub async fn lock(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<bool, CallError> {
        self.shared.call(Verb::Lock, checked(name)?).await
    }

    /// Unlocks `name`: true when it was held and is now free, false when it was free. It waits
    /// for the servers' answer alone.
    ///
    /// Any clerk can unlock it, so look at the answer: false says that another one has done so
    /// already.
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation can have happened.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the operation has happened entirely or not at all, or does so a little later; the
    /// clerk stays usable.
    pub async fn unlock(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<bool, CallError> {
        self.shared.call(Verb::Unlock, checked(name)?).await
    }

    /// Acquires `name` as its only owner; waits for its turn, first come first served.
    ///
    /// The lock is held until the [`LockGuard`] is released or dropped, or is lost.
    ///
    /// It waits as long as it takes; [`request`](Self::request) sets a limit. It waits for ever for
    /// a lock that was [`lock`](Self::lock)ed and that nobody unlocks, and for one that its own
    /// task holds already. The latter, and what this clerk has locked itself, it tells by a warning
    /// at once (`tracing`), and not by an error: another task may release the lock.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: its place in the queue, or the lock if it has just been granted, is given back in the
    /// background.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::Clerk;
    /// # async fn work(token: u64) {}
    /// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
    /// let guard = clerk.acquire("jobs/nightly").await?;
    /// tokio::select! {
    ///     () = work(guard.token().0) => guard.release().await?,
    ///     reason = guard.lost() => eprintln!("stopped: {reason}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<LockGuard, AcquireError> {
        self.request(name).acquire().await
    }

    /// Acquires `name` as its only owner if that is possible at once, and not when others hold it
    /// or wait for it.
    ///
    /// It waits for the servers' answer alone, at most for [`ClerkBuilder::timeout`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the lock, if it was granted, is given back in the background.
    pub async fn try_acquire(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<TryAcquired, AcquireError> {
        self.request(name).try_acquire().await
    }

    /// Acquires all of `names`, each as its only owner, and waits for them: all or none. A name
    /// that comes twice counts once; the guards come in the order of their names.
    ///
    /// It waits as long as it takes, as [`acquire`](Self::acquire) does;
    /// [`request_all`](Self::request_all) sets a limit.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: a lock or queue entry that it has is released in the background.
    pub async fn acquire_all<N>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<LockGuards, AcquireError>
    where
        N: TryInto<LockName, Error: Into<NameError>>,
    {
        self.request_all(names).acquire().await
    }

    /// Begins to describe how `name` is to be acquired: shared, by a few at once, or within a time.
    pub fn request(&self, name: impl TryInto<LockName, Error: Into<NameError>>) -> LockRequest {
        LockRequest::new(self.clone(), checked(name))
    }

    /// Begins to describe how all of `names` are to be acquired: shared, or within a time.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use lockservice::Clerk;
    /// # async fn example(clerk: Clerk) -> Result<(), Box<dyn std::error::Error>> {
    /// let accounts = clerk.request_all(["account/7", "account/3"]);
    /// let guards = accounts.timeout(Duration::from_secs(5)).acquire().await?;
    /// assert_eq!(guards[0].name().as_str(), "account/3");
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_all<N>(&self, names: impl IntoIterator<Item = N>) -> AllRequest
    where
        N: TryInto<LockName, Error: Into<NameError>>,
    {
        AllRequest::new(self.clone(), names.into_iter().map(checked).collect())
    }

    /// The id by which the servers know this client. [`show`](Self::show) tells whose each place
    /// is.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.shared.client
    }

    /// Closes the clerk at the servers, waiting for at most a second. Calls on other
    /// clones fail from now on, and guards that are still there are lost, with
    /// [`LossReason::Closed`]: their locks are free when this returns, or when their lease is over.
    ///
    /// A clerk that is merely dropped leaves its guards alone.
    ///
    /// # Cancel safety
    ///
    /// Safe: the clerk is closed in the background.
    pub async fn close(self) {
        let session = self.sessions.close();
        let end_session = async {
            if let Some(session) = session {
                session.close().await;
            }
        };
        join(self.close_session(), end_session).await;
    }

    /// Whether [`close`](Self::close) was called on a clone. Then every call fails.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    async fn close_session(&self) {
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
            .field("client", &self.shared.client)
            .finish_non_exhaustive()
    }
}

/// Tokio would panic without saying who needs a runtime, and what for.
#[track_caller]
fn expect_runtime() {
    assert!(
        tokio::runtime::Handle::try_current().is_ok(),
        "a Clerk is used outside a Tokio runtime: call it from #[tokio::main], from a task, or in Runtime::block_on"
    );
}

/// Checks a name as a caller gives it.
fn checked(name: impl TryInto<LockName, Error: Into<NameError>>) -> Result<LockName, NameError> {
    name.try_into().map_err(Into::into)
}

/// A clock has an end, and a sum with [`Duration::MAX`] would be beyond it. A year is as good.
fn clamp(duration: Duration) -> Duration {
    duration.min(Duration::from_hours(365 * 24))
}
