//! Servers and clerks on a runtime with several threads, as an application may run them: everything
//! that concurrent tasks can do to each other they do for real here, and every answer is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockservice::clerk::{Clerk, status};
use lockservice::service::{RoleName, ServerStatus};
use lockservice::testkit::invariants::{self, FinalState};
use lockservice::testkit::{RecordedClerk, Recorder, wait_until};
use lockservice::types::ServerId;
use lockservice::{MemoryNetwork, Network, Server, ServerConfig, Servers};
use tokio::task::{JoinHandle, JoinSet};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

const CLERKS: u32 = 8;
const CALLS_IN_FLIGHT: usize = 8;
const CALLS: usize = 20_000;

/// What all clerks want.
const NAMES: [&str; 3] = ["x", "y", "z"];

struct Pair {
    network: Arc<dyn Network>,
    servers: Servers,
    running: Vec<JoinHandle<()>>,
}

impl Pair {
    async fn start() -> Self {
        let network: Arc<dyn Network> = Arc::new(MemoryNetwork::new());
        let servers = Servers::new("memory:a", "memory:b").expect("two addresses");
        let mut running = Vec::new();
        for me in ServerId::BOTH {
            let mut config = ServerConfig::new(servers.clone(), me);
            config.network = network.clone();
            let server = Server::bind(config).await.expect("a name of its own");
            running.push(tokio::spawn(async move {
                let ended = server.run(std::future::pending()).await;
                ended.expect("it serves until it is killed");
            }));
        }
        Self {
            network,
            servers,
            running,
        }
    }

    async fn clerk(&self) -> Clerk {
        let builder = Clerk::builder(self.servers.clone()).network(self.network.clone());
        builder.connect().await.expect("a server answers")
    }

    /// What the servers that run say, once they stand at the same op.
    async fn at_rest(&self) -> Vec<ServerStatus> {
        let mut said = Vec::new();
        wait_until("servers at rest", PATIENCE, async || {
            let reports = status(&self.network, &self.servers, PATIENCE).await;
            let answers = reports.into_iter().filter_map(|report| report.status.ok());
            said = answers.collect();
            said.windows(2).all(|pair| pair[0].op == pair[1].op)
        })
        .await;
        said
    }
}

/// Calls of all clerks at once, on the same few locks; tells how many are over.
fn work(clerks: &[RecordedClerk], over: &Arc<AtomicUsize>) -> JoinSet<()> {
    let mut work = JoinSet::new();
    for (number, clerk) in clerks.iter().enumerate() {
        for lane in 0..CALLS_IN_FLIGHT {
            let (clerk, over) = (clerk.clone(), over.clone());
            work.spawn(async move {
                for call in 0..CALLS / clerk_lanes() {
                    let name = NAMES[(number + lane + call) % NAMES.len()];
                    let answer = if (lane + call / NAMES.len()).is_multiple_of(2) {
                        clerk.lock(name).await
                    } else {
                        clerk.unlock(name).await
                    };
                    answer.expect("there is always a server");
                    over.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    work
}

const fn clerk_lanes() -> usize {
    CLERKS as usize * CALLS_IN_FLIGHT
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousands_of_calls_on_several_threads_follow_from_one_order() {
    let pair = Pair::start().await;
    let recorder = Recorder::new();
    let mut clerks = Vec::new();
    for number in 0..CLERKS {
        clerks.push(recorder.client(number, pair.clerk().await));
    }

    // On a whole pair; both servers then have the same state.
    work(&clerks, &Arc::default()).join_all().await;
    let servers = pair.at_rest().await;
    assert_eq!(servers.len(), 2);
    let end = FinalState {
        servers,
        ..FinalState::default()
    };
    invariants::check_all(&recorder.history(), &end).unwrap_or_else(|wrong| panic!("{wrong}"));

    // And again, with the primary gone in the middle: what it answered holds on the backup.
    let over = Arc::<AtomicUsize>::default();
    let working = work(&clerks, &over);
    wait_until("half of the calls", PATIENCE, async || {
        over.load(Ordering::Relaxed) >= CALLS / 2
    })
    .await;
    pair.running[ServerId::A.index()].abort();
    working.join_all().await;
    let servers = pair.at_rest().await;
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].role, RoleName::Standalone);
    let history = recorder.history();
    let end = FinalState {
        servers,
        ..FinalState::default()
    };
    invariants::check_all(&history, &end).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(history.operations().len() >= 2 * (CALLS - clerk_lanes()));
}
