//! A server of the pair: accepts connections, and passes their requests to its engine.
//!
//! [`ServerBuilder::bind`] binds the address, [`Server::run`] serves until it is stopped. The
//! server owns its tasks: dropping the future of `run` ends them, and every connection.

mod accept;
mod builder;
mod busy_poll;
mod connection;
mod greeting;
mod rpc;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::builder::ServerBuilder;
#[doc(inline)]
pub use crate::config::{Limits, Timing};

use self::accept::Acceptor;
use self::busy_poll::{Window, busy_poll};
use crate::engine::{Engine, EngineConfig};
use crate::rpc::RunId;
use crate::rpc::serve::AdmissionControl;
use crate::throttle::Warnings;
use crate::transport::{Addr, Listener, Network, Servers, SystemNetwork};
use crate::types::ServerId;

/// What a [`ServerBuilder`] describes, as the programs and the tests read and change it.
#[derive(Debug, Clone)]
#[doc(hidden)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The pair, in the one order that all servers and clients use.
    pub servers: Servers,
    /// This server's place in the list.
    pub me: ServerId,
    /// The address to bind, if it is not the one in `servers`: `0.0.0.0:5100`, or a private one
    /// behind a proxy.
    pub listen: Option<Addr>,
    /// The address at which this server reaches its peer, if it is not the one in `servers`: a
    /// tunnel, or a proxy between the two.
    pub peer_addr: Option<Addr>,
    /// Whether to serve without a peer if none answers. Only for a server whose peer is gone for
    /// good: if the peer runs and cannot be reached, both serve.
    pub alone: bool,
    /// Timeouts.
    pub timing: Timing,
    /// Limits.
    pub limits: Limits,
    /// The network. Default: [`SystemNetwork`].
    pub network: Arc<dyn Network>,
}

impl ServerConfig {
    /// Returns the defaults for the server `me` of `servers`.
    #[must_use]
    pub fn new(servers: Servers, me: ServerId) -> Self {
        Self {
            servers,
            me,
            listen: None,
            peer_addr: None,
            alone: false,
            timing: Timing::default(),
            limits: Limits::default(),
            network: Arc::new(SystemNetwork::default()),
        }
    }

    fn engine(&self, run: RunId, warnings: &Arc<Warnings>) -> EngineConfig {
        EngineConfig {
            servers: self.servers.clone(),
            me: self.me,
            run,
            peer_addr: self.peer_addr.clone(),
            alone: self.alone,
            timing: self.timing,
            limits: self.limits,
            network: self.network.clone(),
            warnings: warnings.clone(),
        }
    }

    fn listen_addr(&self) -> &Addr {
        let own = || self.servers.address(self.me);
        self.listen.as_ref().unwrap_or_else(own)
    }
}

/// Why [`Server::bind`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}: {source}")]
    Address {
        /// The address.
        addr: Addr,
        /// The error of the system.
        source: io::Error,
    },
    /// The list does not name the two servers of a pair, with this server among them.
    #[error("a pair has two servers, and the list names {}: {servers}", .servers.ids().len())]
    NotAPair {
        /// The list.
        servers: Servers,
    },
}

/// The server could not continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The task that owns the state panicked: a bug. The peer takes over.
    #[error("the task that owns the state has failed; this server stops, lest it answer wrongly")]
    Engine,
}

/// A server that has bound its address. [`Server::builder`] makes it, [`run`](Self::run) serves.
#[must_use = "a server does nothing until it is run"]
pub struct Server {
    config: ServerConfig,
    listener: Listener,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("me", &self.config.me)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Binds as `config` says. See [`ServerBuilder::bind`].
    ///
    /// # Errors
    ///
    /// [`BindError`] if the address is in use or is not this machine's, or if the list of servers
    /// is not that of a pair.
    ///
    /// # Cancel safety
    ///
    /// Safe: the address is free again.
    #[doc(hidden)]
    pub async fn bind(config: ServerConfig) -> Result<Self, BindError> {
        if !config.servers.ids().eq(ServerId::BOTH) {
            let servers = config.servers;
            return Err(BindError::NotAPair { servers });
        }
        let limits = config.limits.within_memory();
        let config = ServerConfig { limits, ..config };
        let addr = config.listen_addr().clone();
        match config.network.listen(&addr).await {
            Ok(listener) => Ok(Self { config, listener }),
            Err(source) => Err(BindError::Address { addr, source }),
        }
    }

    /// The address that it listens on, with the real port if it was bound to port 0.
    #[must_use]
    pub fn local_addr(&self) -> Addr {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes; then hands over to the peer, answers the requests in flight,
    /// and stops accepting.
    ///
    /// Clients go to the peer at once, also those whose polls wait here. Stopping takes at most
    /// [`Timing::stop_timeout`].
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the server cannot continue.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the server at once, as a crash would: nothing acknowledged is lost
    /// while the peer has it.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { config, listener } = self;
        let stop_timeout = config.timing.stop_timeout;
        let (run, warnings) = (RunId::random(), Arc::default());
        let (engine, mut tasks) = Engine::start(&config.engine(run, &warnings));
        let window = Window::default();
        tasks.spawn(busy_poll(
            engine.load().clone(),
            config.timing.busy_poll,
            window.clone(),
        ));
        let stopping = CancellationToken::new();
        let shared = Shared::new(
            config,
            run,
            warnings,
            engine.clone(),
            window,
            stopping.clone(),
        );
        let mut acceptor = Acceptor::new(listener, Arc::new(shared));
        tokio::select! {
            biased;
            _ = tasks.join_next() => return Err(ServeError::Engine),
            () = stop => {}
            () = acceptor.run() => {}
        }
        tracing::info!("stopping: handing over, and answering what is in flight");
        let stop = async {
            acceptor.accept_until(engine.hand_over()).await;
            stopping.cancel();
            acceptor.drain().await;
        };
        if timeout(stop_timeout, stop).await.is_err() {
            tracing::warn!("stopped with calls unanswered; their clients ask the peer");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The context of every connection.
#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    /// Tells this run of the server from all others.
    run: RunId,
    engine: Engine,
    admission: AdmissionControl,
    busy_poll: Window,
    warnings: Arc<Warnings>,
    stopping: CancellationToken,
    started: Instant,
}

impl Shared {
    fn new(
        config: ServerConfig,
        run: RunId,
        warnings: Arc<Warnings>,
        engine: Engine,
        busy_poll: Window,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            run,
            engine,
            admission: AdmissionControl::new(config.limits.calls),
            config,
            busy_poll,
            warnings,
            stopping,
            started: Instant::now(),
        }
    }
}
