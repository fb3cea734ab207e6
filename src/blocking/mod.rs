//! A clerk for threads: the calls block, and need no async runtime (feature `blocking`).
//!
//! A [`Clerk`] here wraps an async [`clerk::Clerk`]. It has a thread of its own, which its clones
//! share, and which keeps its session alive and releases dropped guards in the background.
//!
//! ```no_run
//! use lockservice::Servers;
//! use lockservice::blocking::Clerk;
//!
//! fn main() -> Result<(), lockservice::Error> {
//!     let clerk = Clerk::connect(Servers::default())?;
//!     let guard = clerk.acquire("jobs/nightly")?; // waits for its turn
//!     println!("ours, with fencing token {}", guard.token());
//!     guard.release()?;
//!     clerk.close();
//!     Ok(())
//! }
//! ```
//!
//! # In an async runtime
//!
//! A call blocks its thread, which a task of an async runtime must not do. **In a task of Tokio,
//! each blocking call panics** with "Cannot start a runtime from within a runtime". Use the async
//! [`Clerk`](crate::Clerk) there, or `tokio::task::spawn_blocking`, inside which these calls work.

mod guard;
mod request;
mod runtime;

use std::sync::Arc;

pub use self::guard::LockGuard;
pub use self::request::LockRequest;

use self::runtime::RuntimeThread;
use crate::clerk::{
    self, AcquireError, BreakOutcome, CallError, ClerkBuilder, ConnectError, InspectError,
    TryAcquired, WithLockError,
};
use crate::inspect::WaitGraph;
use crate::service::LockInfo;
use crate::transport::Servers;
use crate::types::{ClientId, LockName, NameError, Token};

/// A client whose calls block. Clones are the same client.
///
/// Any thread can use it. It needs no runtime: see the [module](self) for what happens inside one.
/// A child that is forked does not have its thread: connect after forking.
///
/// When the last clone and the last guard are dropped, it leaves the servers in the background,
/// which takes its thread at most a second. [`close`](Self::close) waits for that.
#[derive(Debug, Clone)]
#[must_use = "a clerk that is dropped leaves the servers"]
pub struct Clerk {
    // Dropped before the thread that it needs.
    clerk: clerk::Clerk,
    runtime: Arc<RuntimeThread>,
}

impl Clerk {
    /// Connects to the servers, with the default timeouts. Waits for servers that are not up yet.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when no server took the client on in time.
    ///
    /// # Panics
    ///
    /// In a task of Tokio, and when the system starts no thread.
    pub fn connect(servers: Servers) -> Result<Self, ConnectError> {
        Self::connect_with(clerk::Clerk::builder(servers))
    }

    /// Connects as `builder` describes, which is that of the async clerk.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], as [`ClerkBuilder::connect`].
    ///
    /// # Panics
    ///
    /// In a task of Tokio, and when the system starts no thread.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use lockservice::{Servers, blocking};
    /// # fn main() -> Result<(), lockservice::Error> {
    /// let builder = lockservice::Clerk::builder(Servers::default());
    /// let clerk = blocking::Clerk::connect_with(builder.lease(Duration::from_secs(30)))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_with(builder: ClerkBuilder) -> Result<Self, ConnectError> {
        let runtime = RuntimeThread::start();
        let clerk = runtime.block_on(builder.connect())?;
        Ok(Self { clerk, runtime })
    }

    /// Locks `name` if it is free, without waiting, and returns whether it did. See
    /// [`clerk::Clerk::lock`].
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation may have happened.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn lock(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<bool, CallError> {
        self.block_on(self.clerk.lock(name))
    }

    /// Unlocks `name` if it is held, and returns whether it did. See [`clerk::Clerk::unlock`].
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation may have happened.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn unlock(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<bool, CallError> {
        self.block_on(self.clerk.unlock(name))
    }

    /// Acquires `name` as its only owner; waits for its turn. See [`clerk::Clerk::acquire`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn acquire(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<LockGuard, AcquireError> {
        self.request(name).acquire()
    }

    /// Acquires `name` as its only owner if nobody holds it or waits for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn try_acquire(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<TryAcquired<LockGuard>, AcquireError> {
        self.request(name).try_acquire()
    }

    /// Acquires all of `names`, each as its only owner: all or none. The guards come in the order
    /// of the names. See [`clerk::Clerk::acquire_all`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; nothing stays behind.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    #[must_use = "a guard that is dropped gives its lock back"]
    pub fn acquire_all<N>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<LockGuard>, AcquireError>
    where
        N: TryInto<LockName, Error: Into<NameError>>,
    {
        let guards = self.block_on(self.clerk.acquire_all(names))?;
        let guards = guards.into_iter();
        Ok(guards.map(|guard| self.guard(guard)).collect())
    }

    /// Begins to describe how `name` is to be acquired: shared, with permits, or within a time.
    pub fn request(&self, name: impl TryInto<LockName, Error: Into<NameError>>) -> LockRequest {
        LockRequest::new(self.clerk.request(name), self.runtime.clone())
    }

    /// Acquires `name` as its only owner, runs `work` while the lock is held, and releases it.
    ///
    /// Nothing stops `work` when the lock is lost: it can look at its guard's
    /// [`state`](LockGuard::state) meanwhile.
    ///
    /// # Errors
    ///
    /// [`WithLockError`]. When the lock was lost before `work` returned, its output is dropped.
    ///
    /// # Panics
    ///
    /// In a task of Tokio, and when `work` panics; then the lock is released in the background.
    pub fn with_lock<T>(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
        work: impl FnOnce(&LockGuard) -> T,
    ) -> Result<T, WithLockError> {
        let guard = self.acquire(name)?;
        let output = work(&guard);
        guard.release_after_work()?;
        Ok(output)
    }

    /// Tells who holds the lock `name`, and who waits for it.
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing was changed.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn show(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<LockInfo, InspectError> {
        self.block_on(self.clerk.show(name))
    }

    /// Lists the held locks whose names begin with `prefix`, by name. See [`clerk::Clerk::list`].
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing was changed.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn list(&self, prefix: &str) -> Result<Vec<LockInfo>, InspectError> {
        self.block_on(self.clerk.list(prefix))
    }

    /// Tells who waits for whom, from the holders of the lock `name` on. See
    /// [`clerk::Clerk::wait_graph`].
    ///
    /// # Errors
    ///
    /// [`InspectError`]; nothing was changed.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn wait_graph(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
    ) -> Result<WaitGraph, InspectError> {
        self.block_on(self.clerk.wait_graph(name))
    }

    /// Takes the lock `name` from the holder that has it by `token`, and returns whether there was
    /// one. See [`clerk::Clerk::break_lock`].
    ///
    /// # Errors
    ///
    /// [`CallError`], which says whether the operation may have happened.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn break_lock(
        &self,
        name: impl TryInto<LockName, Error: Into<NameError>>,
        token: Token,
        reason: &str,
    ) -> Result<BreakOutcome, CallError> {
        self.block_on(self.clerk.break_lock(name, token, reason))
    }

    /// The id by which the servers know this client.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.clerk.client()
    }

    /// Closes the clerk at the servers; waits for them for at most a second. Calls on other clones
    /// fail from now on, and their guards are lost.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn close(self) {
        self.runtime.block_on(self.clerk.close());
    }

    /// Whether [`close`](Self::close) was called on a clone. Then every call fails.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.clerk.is_closed()
    }

    /// The async clerk inside, for what this type has no method for. Its futures run in
    /// [`block_on`](Self::block_on).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use lockservice::blocking::Clerk;
    /// # fn example(clerk: &Clerk) -> Result<(), lockservice::Error> {
    /// let mut watch = clerk.as_async().watch("jobs/");
    /// loop {
    ///     let change = clerk.block_on(watch.next())?;
    ///     println!("{}: {:?}", change.name, change.event);
    /// }
    /// # }
    /// ```
    pub const fn as_async(&self) -> &clerk::Clerk {
        &self.clerk
    }

    /// Runs `future` on this thread until it is done. Tasks that it spawns run on the clerk's.
    ///
    /// # Panics
    ///
    /// In a task of Tokio.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    fn guard(&self, guard: clerk::LockGuard) -> LockGuard {
        LockGuard::new(guard, self.runtime.clone())
    }
}
