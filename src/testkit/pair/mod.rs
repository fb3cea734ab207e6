//! Two servers on this machine, with a proxy on every way between them and to them.
//!
//! ```text
//! clients --> front of A --> A --> link to B --> B
//! clients --> front of B --> B --> link to A --> A
//! ```
//! The list of servers names the fronts, so clients and servers are configured as in production.
//! The same scenario runs on processes and on threads of the test's process; a fault means the same
//! on both.

mod faults;
mod host;
mod inspect;
mod options;
mod task;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tempfile::TempDir;

use self::host::{Host, Hosting};
pub use self::options::PairOptions;
use super::{Proxy, Reserved};
use crate::clerk::Clerk;
use crate::transport::{Addr, Servers};
use crate::types::ServerId;

/// How long the kit waits for a condition. Ten times what a loaded machine needs.
const SOON: Duration = Duration::from_secs(30);

/// A pair of servers, with failures on command. Dropping it kills them.
///
/// A fault is in force when its method returns; wait for its consequences.
///
/// # Examples
///
/// ```
/// use lockservice::testkit::{Pair, PairOptions};
/// use lockservice::types::ServerId;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut pair = Pair::start(PairOptions::threads()).await;
/// let clerk = pair.clerk().await;
/// assert!(clerk.lock("jobs/nightly").await?);
/// pair.kill(ServerId::A);
/// assert!(clerk.unlock("jobs/nightly").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the servers are killed once this is dropped"]
pub struct Pair {
    options: PairOptions,
    servers: Servers,
    /// The addresses behind the fronts.
    behind: Servers,
    /// In the order of the servers.
    sides: Vec<Side>,
    directory: TempDir,
}

/// A server and the ways to it.
#[derive(Debug)]
struct Side {
    host: Option<Host>,
    listen: Reserved,
    /// The way from clients.
    front: Proxy,
    /// The way from the other server.
    link: Proxy,
    deaf: bool,
}

impl Side {
    async fn new(listen: Reserved) -> std::io::Result<Self> {
        Ok(Self {
            host: None,
            front: Proxy::start(listen.addr().clone()).await?,
            link: Proxy::start(listen.addr().clone()).await?,
            listen,
            deaf: false,
        })
    }
}

impl Pair {
    /// Starts both servers and waits until the pair is whole.
    ///
    /// # Panics
    ///
    /// When it cannot be started, or is not whole within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Safe: the servers are killed.
    pub async fn start(options: PairOptions) -> Self {
        let mut pair = Self::prepare(options).await;
        for server in pair.servers.ids() {
            pair.run(server);
        }
        pair.wait_whole().await;
        pair
    }

    /// Sets everything up but starts no server.
    ///
    /// # Panics
    ///
    /// When this machine has no ports or no space left.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn prepare(options: PairOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory for sockets and logs");
        let mut sides = Vec::new();
        for server in ServerId::BOTH {
            let listen = options.listen(server, directory.path());
            let listen = listen.expect("an address for the server");
            sides.push(Side::new(listen).await.expect("addresses for its proxies"));
        }
        Self {
            servers: list(sides.iter().map(|side| side.front.addr())),
            behind: list(sides.iter().map(|side| side.listen.addr())),
            options,
            sides,
            directory,
        }
    }

    /// The pair as clients know it.
    #[must_use]
    pub const fn servers(&self) -> &Servers {
        &self.servers
    }

    /// A new client of the pair.
    ///
    /// # Panics
    ///
    /// When no server takes it on in time.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn clerk(&self) -> Clerk {
        Clerk::connect(self.servers.clone())
            .await
            .expect("a server of the pair answers")
    }

    /// The way from clients to a server.
    #[must_use]
    pub fn front(&self, server: ServerId) -> &Proxy {
        &self.side(server).front
    }

    /// The way from the other server to this one.
    #[must_use]
    pub fn link_to(&self, server: ServerId) -> &Proxy {
        &self.side(server).link
    }

    fn side(&self, server: ServerId) -> &Side {
        &self.sides[server.index()]
    }

    fn side_mut(&mut self, server: ServerId) -> &mut Side {
        &mut self.sides[server.index()]
    }
}

fn list<'a>(addresses: impl Iterator<Item = &'a Addr>) -> Servers {
    Servers::of(addresses.cloned()).expect("each has an address of its own")
}
