//! A pair whose servers are processes of their own, with nothing between them and their clients.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use lockservice::clerk::{self, Clerk, ClerkBuilder, ServerReport};
use lockservice::service::ServerStatus;
use lockservice::testkit::{Process, Reserved, wait_until};
use lockservice::transport::{Network, Servers, SystemNetwork};
use lockservice::types::ServerId;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::usage;

const PATIENCE: Duration = Duration::from_mins(1);

/// On which sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sockets {
    Tcp,
    Unix,
}

impl Sockets {
    /// An address that nobody else is given; `name` is a file in `directory`.
    pub(crate) fn reserve(self, directory: &Path, name: &str) -> Reserved {
        match self {
            Self::Tcp => Reserved::tcp().expect("a free port"),
            Self::Unix => Reserved::unix(directory.join(name)),
        }
    }
}

/// The pair.
pub(crate) struct Stage {
    pub(crate) servers: Servers,
    processes: [Process; 2],
    _addresses: [Reserved; 2],
    directory: TempDir,
}

impl Stage {
    /// Starts both servers and waits until the pair is whole.
    pub(crate) async fn set(sockets: Sockets) -> Self {
        let directory = TempDir::new().expect("a directory");
        let addresses = ["a", "b"].map(|name| sockets.reserve(directory.path(), name));
        let [a, b] = [&addresses[0], &addresses[1]].map(|reserved| reserved.addr().clone());
        let servers = Servers::new(a, b).expect("two addresses");
        let start = |server| start(server, &servers, directory.path());
        let stage = Self {
            processes: ServerId::BOTH.map(start),
            servers,
            _addresses: addresses,
            directory,
        };
        stage.wait_whole().await;
        stage
    }

    pub(crate) fn process(&mut self, server: ServerId) -> &mut Process {
        &mut self.processes[server.index()]
    }

    /// Starts a server that has ended.
    pub(crate) fn restart(&mut self, server: ServerId) {
        self.processes[server.index()] = start(server, &self.servers, self.directory.path());
    }

    pub(crate) async fn clerk(&self) -> Clerk {
        Clerk::connect(self.servers.clone()).await.expect("a pair")
    }

    /// Describes a clerk that calls `server` as long as it answers.
    pub(crate) fn clerk_through(&self, server: ServerId) -> ClerkBuilder {
        let [first, second] = [server, server.peer()].map(|it| self.servers.address(it).clone());
        Clerk::builder(Servers::new(first, second).expect("two addresses"))
    }

    async fn reports(&self) -> Vec<ServerReport> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        clerk::status(&network, &self.servers, PATIENCE).await
    }

    /// What each server says of itself, if it answers.
    pub(crate) async fn statuses(&self) -> Vec<Option<ServerStatus>> {
        let reports = self.reports().await.into_iter();
        reports.map(|report| report.status.ok()).collect()
    }

    pub(crate) async fn is_whole(&self) -> bool {
        clerk::is_whole(&self.reports().await)
    }

    pub(crate) async fn wait_whole(&self) {
        wait_until("the pair is whole", PATIENCE, async || {
            self.is_whole().await
        })
        .await;
    }

    /// The server that its peer follows.
    pub(crate) async fn primary(&self) -> ServerId {
        let statuses = self.statuses().await.into_iter().flatten();
        let views = statuses.filter_map(|status| status.view);
        views.max().expect("a server with a view").primary
    }

    /// How much processor time both servers have used.
    pub(crate) async fn cpu_time(&self) -> Duration {
        let statuses = self.statuses().await;
        let times = statuses.iter().flatten().map(|status| status.cpu_time);
        times.sum()
    }

    /// How much memory a server has, in bytes.
    pub(crate) fn memory_bytes(&self, server: ServerId) -> f64 {
        usage::memory_bytes(self.processes[server.index()].id())
    }
}

fn start(server: ServerId, servers: &Servers, directory: &Path) -> Process {
    let role = ["primary", "backup"][server.index()];
    let list = servers.to_string();
    let lockd = Path::new(env!("CARGO_BIN_EXE_lockd"));
    let log = directory.join(format!("{role}.log"));
    Process::start(role, lockd, [role, "--servers", &list], log).expect("lockd starts")
}
