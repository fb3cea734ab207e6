//! Two real servers to do one's worst to, with nothing between them and whoever connects; and an
//! honest client whose calls are counted meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockservice::clerk::{CallError, Clerk, ServerReport, is_whole, status};
use lockservice::service::{Resource, RoleName, ServerStatus};
use lockservice::testkit::{Process, wait_until};
use lockservice::transport::{Addr, Network, Servers, SystemNetwork};
use lockservice::types::ServerId;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The most memory that a server may ever have in use, in KiB, whatever is done to it here.
const MOST_MEMORY: u64 = 256 * 1024;

/// How much more than before it may keep for the next time, in KiB.
const KEPT_MEMORY: u64 = 24 * 1024;

/// The servers, as processes, on Unix sockets: whoever connects leaves no port behind that is not
/// free for a minute.
pub(crate) struct Target {
    pub(crate) servers: Servers,
    processes: [Process; 2],
    _directory: TempDir,
}

impl Target {
    /// Starts both with more arguments, below a limit of descriptors if there is one.
    pub(crate) async fn start(args: &[&str], descriptors: Option<u32>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let socket = |name| Addr::Unix(path(name));
        let servers = Servers::new(socket("a"), socket("b")).expect("two addresses");
        let list = servers.to_string();
        let run = |place: &str| {
            let limit = descriptors.map(|most| format!("ulimit -n {most} && "));
            let script = limit.unwrap_or_default() + r#"exec "$0" "$@""#;
            let lockd = env!("CARGO_BIN_EXE_lockd");
            let own = ["-c", &script, lockd, place, "--servers", &list];
            let args = own.iter().chain(args);
            Process::start(place, Path::new("sh"), args, path(place)).expect("lockd starts")
        };
        let target = Self {
            processes: [run("primary"), run("backup")],
            servers,
            _directory: directory,
        };
        target.wait_whole().await;
        target
    }

    pub(crate) fn address(&self, server: ServerId) -> &Addr {
        self.servers.address(server)
    }

    async fn reports(&self) -> Vec<ServerReport> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        status(&network, &self.servers, Duration::from_secs(1)).await
    }

    pub(crate) async fn statuses(&self) -> Vec<Option<ServerStatus>> {
        let reports = self.reports().await.into_iter();
        reports.map(|report| report.status.ok()).collect()
    }

    pub(crate) async fn wait_whole(&self) {
        wait_until("a whole pair", PATIENCE, async || {
            is_whole(&self.reports().await)
        })
        .await;
    }

    /// The server that is primary.
    pub(crate) async fn primary(&self) -> Option<ServerId> {
        let statuses = self.statuses().await.into_iter().flatten();
        let mut primaries = statuses.filter(|status| status.role == RoleName::Primary);
        primaries.next().map(|status| status.server)
    }

    pub(crate) async fn clerk(&self) -> Clerk {
        let clerk = Clerk::connect(self.servers.clone()).await;
        clerk.expect("a server takes it on")
    }

    /// The state of the primary is what it was, both servers run, and neither has panicked.
    pub(crate) async fn is_used_as_if_nothing_had_happened(&mut self) {
        self.wait_whole().await;
        let clerk = self.clerk().await;
        assert!(clerk.lock("afterwards").await.expect("an answer"));
        assert!(!clerk.lock("afterwards").await.expect("an answer"));
        assert!(clerk.unlock("afterwards").await.expect("an answer"));
        clerk.close().await;
        for server in &mut self.processes {
            assert_eq!(server.status(), None, "it runs");
            let log = server.log();
            assert!(!log.contains("panicked"), "{log}");
        }
    }

    /// What a server has logged.
    pub(crate) fn log(&self, server: ServerId) -> String {
        self.process(server).log()
    }

    /// The numbers that the system knows the servers by.
    pub(crate) fn ids(&self) -> [u32; 2] {
        ServerId::BOTH.map(|server| self.process(server).id())
    }

    fn process(&self, server: ServerId) -> &Process {
        &self.processes[server.index()]
    }

    /// The memory that the primary has in use, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.memory_line("VmRSS:")
    }

    /// How many descriptors the primary has open.
    pub(crate) fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.processes[0].id()));
        open.expect("the process runs").count()
    }

    /// The primary has closed what was opened since.
    pub(crate) async fn has_its_descriptors_back(&self, before: usize) {
        wait_until("connections to be closed", PATIENCE, async || {
            self.descriptors() <= before
        })
        .await;
    }

    /// The primary never had more memory in use than it may have, and soon has not much more than
    /// `before`, both in KiB.
    pub(crate) async fn has_its_memory_back(&self, before: u64) {
        let most = self.memory_line("VmHWM:");
        println!("memory: {before} KiB before, {most} at the most");
        assert!(most < MOST_MEMORY, "{most} KiB at the most");
        wait_until("memory to be given back", PATIENCE, async || {
            self.memory() < before + KEPT_MEMORY
        })
        .await;
        println!("memory: {} KiB after", self.memory());
    }

    fn memory_line(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.processes[0].id()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.expect("its memory").parse().expect("a number")
    }
}

/// An honest client at work.
pub(crate) struct Honest {
    answered: Arc<AtomicU64>,
    stop: CancellationToken,
    working: JoinHandle<Calls>,
}

/// How many answers make an honest client sure that it is served.
const SOME: u64 = 20;

/// What went wrong with an honest client's calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    failed: u64,
    /// How often there was no room for its lock.
    refused: u64,
    slowest: Duration,
}

impl Honest {
    /// Locks and unlocks one name of its own, one call after the other.
    pub(crate) async fn start(target: &Target) -> Self {
        let clerk = target.clerk().await;
        let stop = CancellationToken::new();
        let answered = Arc::<AtomicU64>::default();
        let working = tokio::spawn(work(clerk, answered.clone(), stop.clone()));
        Self {
            answered,
            stop,
            working,
        }
    }

    /// Waits until it has had some more answers.
    pub(crate) async fn advance(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + SOME;
        wait_until("answers to an honest client", PATIENCE, async || {
            self.answered.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Ends its work. It has had its answers, but for one in a thousand.
    pub(crate) async fn has_been_served(self) {
        self.stop.cancel();
        let calls = self.working.await.expect("it does not panic");
        let answered = self.answered.load(Ordering::Relaxed);
        println!("an honest client: {answered} answers, {calls:?}");
        assert!(
            answered > 0 && calls.failed * 1_000 <= answered,
            "{answered} answers, {calls:?}"
        );
    }
}

async fn work(clerk: Clerk, answered: Arc<AtomicU64>, stop: CancellationToken) -> Calls {
    let mut calls = Calls::default();
    let mut held = false;
    while !stop.is_cancelled() {
        let begun = tokio::time::Instant::now();
        let answer = if held {
            clerk.unlock("honest").await
        } else {
            clerk.lock("honest").await
        };
        calls.slowest = calls.slowest.max(begun.elapsed());
        match answer {
            Ok(done) => {
                assert!(done, "nobody else uses this lock");
                answered.fetch_add(1, Ordering::Relaxed);
                held = !held;
            }
            Err(CallError::Overloaded {
                resource: Resource::Locks,
                ..
            }) => calls.refused += 1,
            Err(error) => {
                println!("an honest call failed: {error}");
                calls.failed += 1;
            }
        }
    }
    clerk.close().await;
    calls
}
