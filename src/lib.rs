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
//! A pair and a client, in this process. Over TCP only the addresses differ, and `network` is not
//! set.
//!
//! ```
//! use std::future::pending;
//! use std::sync::Arc;
//!
//! use lockservice::{Clerk, MemoryNetwork, Server, Servers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Arc::new(MemoryNetwork::new());
//! let servers = Servers::new("memory:a", "memory:b")?;
//!
//! for me in servers.ids() {
//!     let server = Server::builder(servers.clone(), me).network(network.clone());
//!     tokio::spawn(server.bind().await?.run(pending()));
//! }
//!
//! let clerk = Clerk::builder(servers).network(network).connect().await?;
//! let guard = clerk.acquire("jobs/nightly").await?; // waits for its turn
//! println!("ours, with fencing token {}", guard.token());
//! guard.release().await?;
//!
//! assert!(clerk.lock("jobs/backup").await?); // unowned: it was free, and is now held
//! assert!(!clerk.lock("jobs/backup").await?); // it is held already; does not wait
//! assert!(clerk.unlock("jobs/backup").await?); // it was held, and is now free
//! clerk.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! | module | what it holds |
//! |---|---|
//! | [`clerk`] | the client, its errors, the status of the servers |
//! | [`inspect`] | pure functions on listings of locks: the wait-for graph, changes |
//! | [`fencing`] | gates that refuse a late writer by its fencing token |
//! | [`transport`] | addresses and networks: TCP, Unix sockets, in memory |
//! | [`types`] | identifiers and numbers |
#![cfg_attr(
    feature = "blocking",
    doc = "| [`blocking`] | the client for threads without a runtime |"
)]
#![cfg_attr(feature = "server", doc = "| [`server`] | a server: bind, run, stop |")]
#![cfg_attr(
    feature = "testkit",
    doc = "| [`testkit`] | a pair inside a test, with failures on command |"
)]
//!
//! `docs/` has a page on each subject: leases and fencing, recipes, testing, the programs `lockd`
//! and `lockc`, operations, the protocol. `ARCHITECTURE.md` maps the code.
//!
//! # Features
//!
//! None is on by default; without any, the crate is the async client.
//!
//! - `blocking`: the module `blocking`, a client for threads.
//! - `server`: a server in the caller's process.
//! - `testkit`: the module `testkit`, and `server`.
//! - `internals`: no public API. The programs and the tests of this repository use it.

// Only the programs and tests of this repository see all of the modules that are no public API.
#![cfg_attr(
    not(feature = "internals"),
    allow(
        dead_code,
        unnameable_types,
        unreachable_pub,
        unused_imports,
        clippy::struct_field_names
    )
)]

#[cfg(feature = "blocking")]
pub mod blocking;
pub mod clerk;
pub mod fencing;
pub mod inspect;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;
pub mod types;

// No public API: what carries it out.
#[cfg(all(feature = "testkit", not(feature = "internals")))]
mod checker;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod checker;
#[cfg(not(feature = "internals"))]
mod config;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod config;
#[cfg(all(feature = "server", not(feature = "internals")))]
mod engine;
#[cfg(all(feature = "server", feature = "internals"))]
#[doc(hidden)]
pub mod engine;
#[cfg(all(feature = "server", not(feature = "internals")))]
mod machine;
#[cfg(all(feature = "server", feature = "internals"))]
#[doc(hidden)]
pub mod machine;
#[cfg(not(feature = "internals"))]
mod rpc;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod rpc;
#[cfg(not(feature = "internals"))]
mod service;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod service;
#[cfg(feature = "server")]
mod throttle;

// The client.
#[doc(no_inline)]
pub use clerk::{
    AcquireError, AllRequest, BreakOutcome, CallError, Clerk, ClerkBuilder, ConnectError, Error,
    GuardState, GuardWatcher, InspectError, LockGuard, LockGuards, LockRequest, LossReason,
    ReleaseError, TryAcquired, Watch, WithLockError,
};
// What it sees.
#[doc(no_inline)]
pub use inspect::{LockChange, LockEvent, LockInfo, LockMode, QueueEntryInfo, WaitGraph};
// The server.
#[cfg(feature = "server")]
#[doc(no_inline)]
pub use server::{BindError, Limits, ServeError, Server, ServerBuilder, Timing};
// The checking side of fencing tokens.
#[doc(no_inline)]
pub use fencing::{FileGate, MemoryGate};
// Addresses and networks.
#[doc(no_inline)]
pub use transport::{Addr, AddrError, MemoryNetwork, Network, Servers, SystemNetwork};
// Identifiers.
#[doc(no_inline)]
pub use types::{LockName, NameError, ServerId, SessionId, SessionName, Token};
// What clients ask of a server.
#[cfg(all(feature = "server", feature = "internals"))]
#[doc(hidden)]
pub use server::ServerConfig;
#[doc(inline)]
pub use service::LockService;

/// Compiles the examples of the README and of the pages in `docs/`.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/leases.md")]
    struct Leases;
    #[cfg(feature = "blocking")]
    #[doc = include_str!("../docs/library.md")]
    struct Library;
    #[doc = include_str!("../docs/recipes.md")]
    struct Recipes;
    #[doc = include_str!("../docs/testing.md")]
    struct Testing;
}
