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

/// What an engine is told when it starts.
#[derive(Debug, Clone)]
pub(crate) struct EngineConfig {
    /// The cluster, in the one order that all servers and clients use.
    pub(crate) servers: Servers,
    /// Which of them this server is.
    pub(crate) me: ServerId,
    /// Tells this run of the server from all others.
    pub(crate) run: RunId,
    /// Where the peer is reached, when it is not the address in `servers`.
    pub(crate) peer_addr: Option<Addr>,
    /// Serve without a peer if none answers.
    pub(crate) alone: bool,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    pub(crate) network: Arc<dyn Network>,
    /// What has been told of what can be told again and again.
    pub(crate) warnings: Arc<Warnings>,
}

/// A connection that a server accepted. Numbered in the order in which they were accepted.
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
    /// Starts an engine, and returns the tasks that it consists of. It stops when they are dropped.
    pub(crate) fn start(config: &EngineConfig) -> (Self, JoinSet<Infallible>) {
        let (pair, driver, locator) = PairHandle::new(config);
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        tasks.spawn(locator);
        (Self::Pair(pair), tasks)
    }

    /// Submits the request of a client, which is on its way when this returns; the future waits
    /// until its answer is safe.
    ///
    /// # Cancel safety
    ///
    /// Safe: the request has then been executed whole, or not at all, and its record tells which.
    pub(crate) fn submit(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send {
        match self {
            Self::Pair(pair) => pair.submit(Via::Client, request),
        }
    }

    /// How the server stands: like one that is starting, once it is stopping.
    pub(crate) async fn status(&self) -> EngineStatus {
        match self {
            Self::Pair(pair) => pair.status().await,
        }
    }

    /// How much the engine does.
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

    /// Serves a connection from another server until it ends, or until `stopping` and all that was
    /// asked on it is answered.
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

    /// Hands over to the other server: takes no new request, waits until what was taken is
    /// answered, gives the role up, and returns when the other one knows.
    ///
    /// # Cancel safety
    ///
    /// Safe: the engine goes on with it.
    pub(crate) async fn hand_over(&self) {
        match self {
            Self::Pair(pair) => pair.hand_over().await,
        }
    }
}
