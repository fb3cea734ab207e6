//! Two servers on this machine, every way between them and to them through a proxy.
//!
//! ```text
//! clients --> front of A --> A --> link to B --> B
//! clients --> front of B --> B --> link to A --> A
//! ```
//! The addresses that the pair is known by are those of the fronts, so clients and servers are told
//! nothing that they would not be told in production. The same scenario runs on real processes and on
//! threads of the test's own process; a fault means the same on both.

mod host;
mod options;
mod task;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use self::host::{Host, Hosting};
pub use self::options::PairOptions;
use super::invariants::FinalState;
use super::{History, Proxy, Reserved, wait_until};
use crate::clerk::{Clerk, ServerReport, status};
use crate::net::{Addr, Network, Servers, SystemNetwork};
use crate::server::ServerConfig;
use crate::service::{RoleName, ServerStatus};
use crate::types::ServerId;

/// How long the kit waits for what must come soon. Ten times what a loaded machine needs.
const SOON: Duration = Duration::from_secs(30);

/// How long a server may take to say how it is, before it counts as one that does not answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// A pair of servers, with failures on command. Dropping it kills them.
///
/// Faults are in force when the method returns; what follows from them has to be waited for.
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
    a: Side,
    b: Side,
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
        for server in ServerId::BOTH {
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
        let side = async |server| {
            let listen = options.listen(server, directory.path())?;
            Side::new(listen).await
        };
        let a = side(ServerId::A).await.expect("an address for server A");
        let b = side(ServerId::B).await.expect("an address for server B");
        let fronts = [a.front.addr(), b.front.addr()].map(Addr::clone);
        let [front_a, front_b] = fronts;
        Self {
            servers: Servers::new(front_a, front_b).expect("two addresses make a pair"),
            options,
            a,
            b,
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
    pub const fn front(&self, server: ServerId) -> &Proxy {
        &self.side(server).front
    }

    /// The way from the other server to this one.
    #[must_use]
    pub const fn link_to(&self, server: ServerId) -> &Proxy {
        &self.side(server).link
    }

    const fn side(&self, server: ServerId) -> &Side {
        match server {
            ServerId::A => &self.a,
            ServerId::B => &self.b,
        }
    }

    const fn side_mut(&mut self, server: ServerId) -> &mut Side {
        match server {
            ServerId::A => &mut self.a,
            ServerId::B => &mut self.b,
        }
    }
}

/// What can happen to a server.
impl Pair {
    /// Runs a server that does not run; a deafened one hears again. Does not wait for anything.
    ///
    /// # Panics
    ///
    /// When it runs already, or cannot be started.
    pub fn run(&mut self, server: ServerId) {
        assert!(self.side(server).host.is_none(), "server {server} runs");
        self.undeafen(server);
        let config = self.config(server);
        let host = self.options.hosting.run(config, self.directory.path());
        self.side_mut(server).host = Some(host.expect("the server can be started"));
    }

    /// Ends a server without a word, as `kill -9` does. It is gone when this returns.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&mut self, server: ServerId) {
        self.host(server).kill();
        self.side_mut(server).host = None;
    }

    /// Kills a server, if it runs, and runs it again with the same command line.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart(&mut self, server: ServerId) {
        if self.side(server).host.is_some() {
            self.kill(server);
        }
        self.run(server);
    }

    /// Makes a server hang, as `kill -STOP` does: its connections stay open, and it does nothing. A
    /// server on a thread hangs by not giving its thread back.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn stop(&mut self, server: ServerId) {
        self.host(server).stop();
    }

    /// Lets a server go on that was stopped.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn wake(&mut self, server: ServerId) {
        self.host(server).wake();
    }

    /// Asks a server to end, as `kill -TERM` does, and waits until it has.
    ///
    /// # Panics
    ///
    /// When it does not run, does not end within half a minute, or ends otherwise than well.
    ///
    /// # Cancel safety
    ///
    /// The server ends all the same, and counts as running here.
    pub async fn terminate(&mut self, server: ServerId) {
        self.host(server).terminate(SOON).await;
        self.side_mut(server).host = None;
    }

    /// Makes a server carry out what reaches it and lose its replies to clients. Nobody can connect to it
    /// any more, neither clients nor its peer; what is connected between the servers stays.
    pub fn deafen(&mut self, server: ServerId) {
        let side = self.side_mut(server);
        side.front.drop_replies();
        side.front.refuse_new();
        side.link.refuse_new();
        side.deaf = true;
    }

    /// Ends what [`Self::deafen`] began. Client connections that have lost replies are reset.
    pub fn undeafen(&mut self, server: ServerId) {
        let side = self.side_mut(server);
        if std::mem::take(&mut side.deaf) {
            side.front.pass();
            side.link.mend();
        }
    }

    fn host(&mut self, server: ServerId) -> &mut Host {
        let host = self.side_mut(server).host.as_mut();
        host.unwrap_or_else(|| panic!("server {server} does not run"))
    }

    fn config(&self, server: ServerId) -> ServerConfig {
        let mut config = self.options.config(self.servers.clone(), server);
        config.listen = Some(self.side(server).listen.addr().clone());
        config.peer_addr = Some(self.link_to(server.peer()).addr().clone());
        config
    }
}

/// What can happen to the ways between them.
impl Pair {
    /// Cuts the servers off from each other, both ways, until [`Self::mend_link`]. A pair does not
    /// survive this as one.
    pub fn cut_link(&self) {
        self.a.link.cut();
        self.b.link.cut();
    }

    /// Joins what [`Self::cut_link`] cut.
    pub fn mend_link(&self) {
        self.a.link.mend();
        self.b.link.mend();
    }

    /// Resets the connections between the servers once.
    pub fn reset_link(&self) {
        self.a.link.reset();
        self.b.link.reset();
    }

    /// Cuts all clients off from a server until [`Self::mend_client`].
    pub fn cut_client(&self, server: ServerId) {
        self.front(server).cut();
    }

    /// Joins what [`Self::cut_client`] cut.
    pub fn mend_client(&self, server: ServerId) {
        self.front(server).mend();
    }
}

/// How the pair is, asked past all proxies.
impl Pair {
    /// Asks both servers how they are. One that hangs costs a second.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn reports(&self) -> [ServerReport; 2] {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork);
        let [a, b] = [&self.a, &self.b].map(|side| side.listen.addr().clone());
        let servers = Servers::new(a, b).expect("two addresses make a pair");
        status(&network, &servers, STATUS_TIMEOUT).await
    }

    /// What a server says of itself; None when it does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn status(&self, server: ServerId) -> Option<ServerStatus> {
        let [a, b] = self.reports().await;
        match server {
            ServerId::A => a.status.ok(),
            ServerId::B => b.status.ok(),
        }
    }

    /// The server that is primary, if one says so: the one of the higher view, if both do.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn primary(&self) -> Option<ServerId> {
        let reports = self.reports().await.into_iter();
        reports
            .filter_map(|report| report.status.ok())
            .filter(|status| matches!(status.role, RoleName::Primary | RoleName::Alone))
            .max_by_key(|status| status.view)
            .map(|status| status.server)
    }

    /// Waits until the pair is whole: a primary and its backup, neither in doubt.
    ///
    /// # Panics
    ///
    /// When it is not within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait_whole(&self) {
        wait_until("a whole pair", SOON, async || {
            is_whole(&self.reports().await)
        })
        .await;
    }

    /// Waits until a server has a role.
    ///
    /// # Panics
    ///
    /// When it has not within half a minute.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait_role(&self, server: ServerId, role: RoleName) {
        let what = format!("server {server} to be {role}");
        wait_until(&what, SOON, async || {
            self.status(server)
                .await
                .is_some_and(|status| status.role == role)
        })
        .await;
    }

    /// Looks where things stand when all calls of `history` are over, for the
    /// [invariants](super::invariants). It takes and releases each free lock to see that it is free.
    ///
    /// # Panics
    ///
    /// When no server answers, or the servers that run do not come to rest within half a minute.
    ///
    /// # Cancel safety
    ///
    /// A lock may stay held.
    pub async fn final_state(&self, history: &History) -> FinalState {
        let clerk = self.clerk().await;
        let mut end = FinalState::default();
        for name in history.by_name().into_keys() {
            let free = clerk.lock(name.as_str()).await.expect("a server answers");
            if free {
                clerk.unlock(name.as_str()).await.expect("a server answers");
            }
            end.held.insert(name.clone(), !free);
        }
        clerk.close().await;
        wait_until("servers at rest", SOON, async || {
            let reports = self.reports().await.into_iter();
            end.servers = reports.filter_map(|report| report.status.ok()).collect();
            are_level(&end.servers)
        })
        .await;
        end
    }
}

fn is_whole([a, b]: &[ServerReport; 2]) -> bool {
    let (Ok(a), Ok(b)) = (&a.status, &b.status) else {
        return false;
    };
    let roles = matches!(
        (a.role, b.role),
        (RoleName::Primary, RoleName::Backup) | (RoleName::Backup, RoleName::Primary)
    );
    roles && a.view == b.view && a.in_sync && b.in_sync
}

/// Whether there is a server, and all that there are stand at the same op.
fn are_level(servers: &[ServerStatus]) -> bool {
    !servers.is_empty() && servers.windows(2).all(|pair| pair[0].op == pair[1].op)
}
