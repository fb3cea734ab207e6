//! How a pair of the test kit is set up.

use std::io;
use std::path::{Path, PathBuf};

use super::Hosting;
use crate::config::{Limits, Timing};
use crate::server::ServerConfig;
use crate::testkit::Reserved;
use crate::transport::Servers;
use crate::types::ServerId;

/// How a [`Pair`](super::Pair) is run: as processes or on threads, on which sockets, with which
/// timing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lockservice::testkit::PairOptions;
///
/// // In an integration test: env!("CARGO_BIN_EXE_lockd")
/// let options = PairOptions::processes("target/debug/lockd")
///     .unix()
///     .peer_timeout(Duration::from_millis(300));
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens before the pair is started"]
pub struct PairOptions {
    pub(super) hosting: Hosting,
    unix: bool,
    timing: Timing,
    limits: Limits,
}

impl PairOptions {
    /// Each server on a thread of its own in this process.
    pub fn threads() -> Self {
        Self::new(Hosting::Threads)
    }

    /// Each server as a process of `program`, which is `lockd`.
    pub fn processes(program: impl Into<PathBuf>) -> Self {
        Self::new(Hosting::Processes {
            program: program.into(),
            args: Vec::new(),
        })
    }

    fn new(hosting: Hosting) -> Self {
        Self {
            hosting,
            unix: false,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }

    /// Uses Unix sockets in a directory of the pair's own, instead of TCP on the loopback address.
    pub const fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// See [`Timing::peer_timeout`].
    pub const fn peer_timeout(mut self, peer_timeout: std::time::Duration) -> Self {
        self.timing.peer_timeout = peer_timeout;
        self
    }

    /// Timeouts for servers on threads. Processes take only `peer_timeout` from it; set the others
    /// by [`Self::args`].
    pub const fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Limits for servers on threads.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// More arguments for servers that are processes.
    pub fn args<A: Into<String>>(mut self, more: impl IntoIterator<Item = A>) -> Self {
        if let Hosting::Processes { args, .. } = &mut self.hosting {
            args.extend(more.into_iter().map(Into::into));
        }
        self
    }

    pub(super) fn listen(&self, server: ServerId, directory: &Path) -> io::Result<Reserved> {
        if self.unix {
            Ok(Reserved::unix(directory.join(server.to_string())))
        } else {
            Reserved::tcp()
        }
    }

    pub(super) fn config(&self, servers: Servers, server: ServerId) -> ServerConfig {
        let mut config = ServerConfig::new(servers, server);
        config.timing = self.timing;
        config.limits = self.limits;
        config
    }
}
