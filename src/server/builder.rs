//! The builder of a server.

use std::sync::Arc;
use std::time::Duration;

use super::{BindError, Server, ServerConfig};
use crate::config::{Limits, Timing};
use crate::transport::{Addr, Network, Servers};
use crate::types::ServerId;

impl Server {
    /// Begins to describe server `me` of `servers`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::future::pending;
    /// # use lockservice::{Limits, Server, ServerId, Servers};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let servers = Servers::new("10.0.0.1:5100", "10.0.0.2:5100")?;
    /// let mut limits = Limits::default();
    /// limits.locks = 10_000;
    /// let server = Server::builder(servers, ServerId::A).limits(limits).bind().await?;
    /// server.run(pending()).await?; // until the future completes, so never
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(servers: Servers, me: ServerId) -> ServerBuilder {
        ServerBuilder {
            config: ServerConfig::new(servers, me),
        }
    }
}

/// Configures a [`Server`]. [`Server::builder`] makes it.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `bind`"]
pub struct ServerBuilder {
    config: ServerConfig,
}

impl ServerBuilder {
    /// The address to bind: `0.0.0.0:5100`, or a private one behind a proxy. Default: the address
    /// of this server in the list.
    pub fn listen(mut self, addr: Addr) -> Self {
        self.config.listen = Some(addr);
        self
    }

    /// Where this server reaches its peer: a tunnel, or a proxy between the two. Default: the
    /// address of the peer in the list.
    pub fn peer_addr(mut self, addr: Addr) -> Self {
        self.config.peer_addr = Some(addr);
        self
    }

    /// Whether to serve without a peer if none answers. Default: no.
    ///
    /// It is for the first start of a server whose peer is gone for good. While a peer runs that
    /// cannot be reached, both serve, and both grant the same locks.
    pub const fn alone(mut self, alone: bool) -> Self {
        self.config.alone = alone;
        self
    }

    /// How long the peer may be silent before it counts as dead. Default: 1 s. See
    /// [`Timing::peer_timeout`].
    pub const fn peer_timeout(mut self, peer_timeout: Duration) -> Self {
        self.config.timing.peer_timeout = peer_timeout;
        self
    }

    /// All timeouts, [`peer_timeout`](Self::peer_timeout) among them.
    pub const fn timing(mut self, timing: Timing) -> Self {
        self.config.timing = timing;
        self
    }

    /// What the server accepts at most.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// How clients and the peer are reached. Default: a
    /// [`SystemNetwork`](crate::transport::SystemNetwork).
    pub fn network(mut self, network: Arc<dyn Network>) -> Self {
        self.config.network = network;
        self
    }

    /// Binds the address. From then on clients can connect; they are served once the server
    /// [runs](Server::run).
    ///
    /// # Errors
    ///
    /// [`BindError`] when the address is in use or is not this machine's.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Safe: the address is free again.
    pub async fn bind(self) -> Result<Server, BindError> {
        Server::bind(self.config).await
    }
}
