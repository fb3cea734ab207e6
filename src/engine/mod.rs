//! Engines: submit a request, get its answer once it is safe.
//!
//! An engine gives commands their one order, applies them to the [lock machine](crate::machine),
//! and answers when no single failure can take the answer back. There is one, the [`pair`]. The
//! server knows `Engine` alone.

pub mod leader;
mod load_counter;
mod now;
pub mod pair;
mod status;

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::load_counter::LoadCounter;
pub use self::now::Now;
use self::pair::PairHandle;
pub use self::status::EngineStatus;
use crate::config::{Limits, Timing};
use crate::rpc::RunId;
use crate::service::{Answer, Refusal, Request};
use crate::throttle::Warnings;
use crate::transport::{Addr, Network, Servers, Stream};
use crate::types::{ClusterId, ServerId};

/// The configuration of an engine.
#[derive(Debug, Clone)]
pub(crate) struct EngineConfig {
    /// The cluster, in the one order that all servers and clients use.
    pub(crate) servers: Servers,
    /// This server's place in the list.
    pub(crate) me: ServerId,
    /// Tells this run of the server from all others.
    pub(crate) run: RunId,
    /// The peer's address, if it is not the one in `servers`.
    pub(crate) peer_addr: Option<Addr>,
    /// Serve without a peer if none answers.
    pub(crate) alone: bool,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    pub(crate) network: Arc<dyn Network>,
    /// Throttles warnings that repeat.
    pub(crate) warnings: Arc<Warnings>,
}

/// The number of a connection, in the order in which they were accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConnectionNumber(pub(crate) u64);

impl ConnectionNumber {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How a request reached this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// From the client.
    Client,
    /// From the peer, which relayed it.
    Peer,
}

/// A handle to the engine of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// Two servers that keep the same state in memory.
    Pair(PairHandle),
}

impl Engine {
    /// Starts an engine, and returns its tasks. It stops when they are dropped.
    pub(crate) fn start(config: &EngineConfig) -> (Self, JoinSet<Infallible>) {
        let (pair, driver, locator) = PairHandle::new(config);
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        tasks.spawn(locator);
        (Self::Pair(pair), tasks)
    }

    /// Submits a client's request before it returns; the future waits until the answer is safe.
    ///
    /// # Cancel safety
    ///
    /// Safe: the request is executed entirely or not at all, and a retry finds out which.
    pub(crate) fn submit(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send {
        match self {
            Self::Pair(pair) => pair.submit(Via::Client, request),
        }
    }

    /// Returns the server's status: that of a starting one, once it is stopping.
    pub(crate) async fn status(&self) -> EngineStatus {
        match self {
            Self::Pair(pair) => pair.status().await,
        }
    }

    /// The engine's load.
    pub(crate) const fn load(&self) -> &Arc<LoadCounter> {
        match self {
            Self::Pair(pair) => pair.load(),
        }
    }

    /// The cluster that this server is a member of, as it changes.
    pub(crate) fn cluster(&self) -> watch::Receiver<Option<ClusterId>> {
        match self {
            Self::Pair(pair) => pair.cluster(),
        }
    }

    /// Serves a connection from another server until it ends, or until `stopping` is cancelled and
    /// all its requests are answered.
    pub(crate) async fn serve_peer(
        &self,
        number: ConnectionNumber,
        stream: Stream,
        stopping: &CancellationToken,
    ) {
        match self {
            Self::Pair(pair) => pair.serve_peer(number, stream, stopping).await,
        }
    }

    /// Hands over to another server: takes no new request, waits until all others are answered,
    /// gives the role up, and returns when the other server knows.
    ///
    /// # Cancel safety
    ///
    /// Safe: the engine continues to hand over.
    pub(crate) async fn hand_over(&self) {
        match self {
            Self::Pair(pair) => pair.hand_over().await,
        }
    }
}
