//! A replicated lock service: two servers, and an async client that survives the loss of either.
//!
//! Two servers, a primary and a backup, keep one table of named locks in memory. A [`Clerk`] is the
//! client. There are two kinds of lock:
//!
//! - **Owned**: [`Clerk::acquire`] waits for its turn and returns a [`LockGuard`] with a fencing
//!   [`Token`]. The lock belongs to the clerk's session, which has a lease. It is released when its
//!   holder releases it, or is gone. One session holds it, or as many as all holders agree to
//!   ([`LockRequest::permits`], [`LockRequest::shared`]).
//! - **Unowned**: [`Clerk::lock`] takes a lock if it is free and returns whether it did;
//!   [`Clerk::unlock`] frees it if it is held and returns whether it did. It belongs to nobody: it
//!   stays held when its locker ends, and any client can unlock it.
//!
//! # Promises
//!
//! - An acknowledged operation is on both servers. Either can be lost; the other continues with it.
//! - Each operation executes at most once. Retries return the original result, also when it is
//!   `false`.
//! - Operations are linearizable: each takes effect at one moment between its call and its return.
//! - An error says whether the operation may have happened.
//! - Waiters are served first come, first served, also across failovers. Each grant has a higher
//!   token than all earlier grants of that lock, also when both servers were lost, unless their
//!   clocks were set back meanwhile.
//! - A holder learns that it lost its lock, by its own clock, before the servers grant it to
//!   another, also when no server answers.
//! - A server that hung and wakes never answers from its old state.
//! - A lost server that is started again rejoins by itself while clients continue.
//!
//! # What it does not promise
//!
//! - **A network cut between the two servers is not tolerated.** Two servers cannot tell a cut from
//!   a crash, so both may go on, and both may grant the same lock. Their tokens differ: a resource
//!   that checks them refuses the holder of the lower one once the other has written. When the cut
//!   has healed, a guard that the servers did not keep is lost ([`LossReason::Diverged`]).
//! - Nothing is on disk. When both servers are lost, or the second one before the pair is whole
//!   again, the locks are gone, and a new pair starts with none held.
//! - A lease does not stop a process. A holder that pauses for longer than its lease may write
//!   late; a fencing token lets the resource refuse that write ([`fencing`]).
//! - There is no authentication and no encryption: anyone who reaches the port can lock and unlock.
//!
//! # Example
//!
//! A pair and a client, in this process. Over TCP nothing changes but the addresses, and `network`
//! need not be set.
//!
//! ```
//! use std::future::pending;
//! use std::sync::Arc;
//!
//! use lockservice::{Clerk, MemoryNetwork, Server, ServerConfig, Servers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Arc::new(MemoryNetwork::new());
//! let servers = Servers::new("memory:a", "memory:b")?;
//!
//! for me in servers.ids() {
//!     let mut config = ServerConfig::new(servers.clone(), me);
//!     config.network = network.clone();
//!     let server = Server::bind(config).await?;
//!     tokio::spawn(server.run(pending()));
//! }
//!
//! let clerk = Clerk::builder(servers).network(network).connect().await?;
//! let guard = clerk.acquire("jobs/nightly").await?; // waits for its turn
//! println!("ours, by token {}", guard.token());
//! guard.release().await?;
//!
//! assert!(clerk.lock("jobs/backup").await?); // a plain lock: it was free, and is now held
//! assert!(!clerk.lock("jobs/backup").await?); // it is held, and not waited for
//! assert!(clerk.unlock("jobs/backup").await?); // it was held, and is now free
//! clerk.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | module | what is in it |
//! |---|---|
//! | [`clerk`] | the client, its errors, and how to ask for the status of a pair |
//! | [`inspect`] | the wait-for graph, deadlocks and changes of locks: pure |
//! | [`fencing`] | gates that refuse a late writer by its fencing token |
//! | [`transport`] | addresses and transports: TCP, Unix sockets, in memory |
//! | [`rpc`] | the preface of a connection, its framing and encoding |
//! | [`service`] | what crosses the wire |
//! | [`config`] | every limit and timeout, with its default and the reason |
//! | [`types`] | the words: names, ids, numbers |
#![cfg_attr(
    feature = "server",
    doc = "| [`server`] | a server: bind, run, stop |
| [`engine`] | orders commands, and decides when an answer is safe |
| [`machine`] | the lock table and the sessions: pure, deterministic |"
)]
#![cfg_attr(
    feature = "testkit",
    doc = "| [`testkit`] | a whole pair inside a test, with failures on command |"
)]
//!
//! `docs/` has a page on each subject: leases and fencing, recipes, testing, the programs `lockd`
//! and `lockc`, operations, the protocol. `ARCHITECTURE.md` tells how the parts fit.
//!
//! # Features
//!
//! None is on by default: what there is then is the client.
//!
//! - `server`: a server in the caller's process.
//! - `testkit`: the module `testkit`, and `server`.
//! - `internals`: no public API. The programs use it.

#[cfg(any(feature = "internals", feature = "testkit"))]
#[doc(hidden)]
pub mod checker;
pub mod clerk;
pub mod config;
#[cfg(feature = "server")]
pub mod engine;
pub mod fencing;
pub mod inspect;
#[cfg(feature = "server")]
pub mod machine;
pub mod rpc;
#[cfg(feature = "server")]
pub mod server;
pub mod service;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(feature = "server")]
mod throttle;
pub mod transport;
pub mod types;

// The client.
#[doc(no_inline)]
pub use clerk::{
    AcquireError, AllRequest, BreakOutcome, GuardState, LockGuard, LockGuards, LockRequest,
    LossReason, TryAcquired,
};
#[doc(no_inline)]
pub use clerk::{
    CallError, Clerk, ClerkBuilder, ConnectError, Error, GuardWatcher, InspectError, ReleaseError,
    Watch, WithLockError,
};
// What it sees.
#[doc(no_inline)]
pub use inspect::{LockChange, LockEvent, WaitGraph};
#[doc(no_inline)]
pub use service::{LockInfo, QueueEntryInfo};
// The server.
#[cfg(feature = "server")]
#[doc(no_inline)]
pub use config::{Limits, Timing};
#[cfg(feature = "server")]
#[doc(no_inline)]
pub use server::{BindError, ServeError, Server, ServerConfig};
// The other side of a fencing token.
#[doc(no_inline)]
pub use fencing::{FileGate, MemoryGate};
// Addresses, and what carries the bytes.
#[doc(no_inline)]
pub use transport::{Addr, AddrError, MemoryNetwork, Network, Servers, SystemNetwork};
// Words.
#[doc(no_inline)]
pub use types::{LockName, NameError, ServerId, SessionId, SessionName, Token};

/// Compiles the examples of the README and of the pages in `docs/`.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/leases.md")]
    struct Leases;
    #[doc = include_str!("../docs/library.md")]
    struct Library;
    #[doc = include_str!("../docs/recipes.md")]
    struct Recipes;
    #[doc = include_str!("../docs/testing.md")]
    struct Testing;
}
