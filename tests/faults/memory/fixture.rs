//! A pair of processes, each in a control group of its own.

use std::fs::{self, File};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lockservice::clerk::{self, ServerReport};
use lockservice::testkit::wait_until;
use lockservice::transport::{Network, SystemNetwork};
use lockservice::{Clerk, ServerId, Servers};
use tempfile::TempDir;
use tokio::process::Child;

use crate::group::Group;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Fixture {
    servers: Servers,
    options: Vec<String>,
    running: [Option<Child>; 2],
    directory: TempDir,
    groups: [Group; 2],
}

impl Fixture {
    /// Starts both servers, each with `bytes` of memory and with these options.
    pub(crate) async fn new(bytes: u64, options: &[&str]) -> Result<Self, String> {
        let groups = [Group::new(bytes)?, Group::new(bytes)?];
        let directory = tempfile::tempdir().expect("a directory for sockets");
        let path = directory.path().display();
        let addr = |server| format!("unix:{path}/{server}");
        let mut fixture = Self {
            servers: Servers::new(addr("a"), addr("b")).expect("two addresses"),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            running: [None, None],
            directory,
            groups,
        };
        for server in ServerId::BOTH {
            fixture.start(server);
        }
        fixture.until_whole().await;
        Ok(fixture)
    }

    pub(crate) fn start(&mut self, server: ServerId) {
        let command = ["primary", "backup"][server.index()];
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(server));
        let mut lockd = self.groups[server.index()].command(env!("CARGO_BIN_EXE_lockd"));
        let child = lockd
            .args([command, "--servers", &self.servers.to_string()])
            .args(&self.options)
            .stdin(Stdio::null())
            .stderr(log.expect("a file for the log"))
            .kill_on_drop(true)
            .spawn();
        self.running[server.index()] = Some(child.expect("it starts"));
    }

    pub(crate) async fn kill(&mut self, server: ServerId) {
        if let Some(mut child) = self.running[server.index()].take() {
            child.kill().await.expect("it can be killed");
        }
    }

    fn log_path(&self, server: ServerId) -> std::path::PathBuf {
        self.directory.path().join(format!("{server}.log"))
    }

    pub(crate) fn log(&self, server: ServerId) -> String {
        fs::read_to_string(self.log_path(server)).expect("the log is text")
    }

    pub(crate) async fn clerk(&self) -> Clerk {
        Clerk::connect(self.servers.clone())
            .await
            .expect("a server answers")
    }

    pub(crate) async fn status(&self) -> Vec<ServerReport> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        clerk::status(&network, &self.servers, Duration::from_secs(5)).await
    }

    pub(crate) async fn until_whole(&mut self) {
        let started = tokio::time::Instant::now();
        loop {
            self.assert_alive();
            let reports = self.status().await;
            if clerk::is_whole(&reports) {
                return;
            }
            let waited = started.elapsed();
            assert!(
                waited < PATIENCE,
                "the pair is not whole after {waited:?}: {reports:?}"
            );
        }
    }

    /// Waits until this server serves alone.
    pub(crate) async fn until_alone(&self, server: ServerId) {
        wait_until("it is alone", PATIENCE, async || {
            let reports = self.status().await;
            let status = reports[server.index()].status.as_ref();
            status.is_ok_and(|status| status.role == lockservice::service::RoleName::Standalone)
        })
        .await;
    }

    /// Both servers that were started, and not killed, still run.
    pub(crate) fn assert_alive(&mut self) {
        for server in ServerId::BOTH {
            let Some(child) = &mut self.running[server.index()] else {
                continue;
            };
            let ended = child.try_wait().expect("it can be asked");
            assert!(
                ended.is_none(),
                "{server} has ended: {ended:?}\n{}",
                self.log(server)
            );
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Before their groups are removed.
        for child in self.running.iter_mut().flatten() {
            let _ = child.start_kill();
        }
    }
}
