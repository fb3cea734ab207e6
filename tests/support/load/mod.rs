//! Clients that lock and unlock the same few locks while something happens to their pair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockservice::clerk::{CallError, Clerk};
use lockservice::testkit::{
    History, Pair, PairOptions, RecordedClerk, Recorder, invariants, wait_until,
};
use lockservice::types::ServerId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What all clients want.
const NAMES: [&str; 3] = ["x", "y", "z"];

/// Servers as processes of the real program.
pub(crate) fn processes() -> PairOptions {
    PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))
}

/// Clients at work. They may fail at nothing: a pair that is never without a server that can answer
/// has no error to tell them.
pub(crate) struct Load {
    /// What they see. A test may add its own clients.
    pub(crate) recorder: Recorder,
    clients: Vec<Client>,
    stop: CancellationToken,
}

struct Client {
    answers: Arc<AtomicU64>,
    running: JoinHandle<Result<(), CallError>>,
}

impl Load {
    /// Puts `clients` to work, and waits until all have been answered.
    pub(crate) async fn start(pair: &Pair, clients: u32) -> Self {
        let mut load = Self {
            recorder: Recorder::new(),
            clients: Vec::new(),
            stop: CancellationToken::new(),
        };
        for _ in 0..clients {
            load.add(pair.clerk().await);
        }
        load.advance(20).await;
        load
    }

    fn add(&mut self, clerk: Clerk) {
        let number = u32::try_from(self.clients.len()).expect("a few clients");
        let clerk = self.recorder.client(number, clerk);
        let answers = Arc::<AtomicU64>::default();
        let running = tokio::spawn(work(clerk, answers.clone(), self.stop.clone()));
        self.clients.push(Client { answers, running });
    }

    /// Waits until each client has had `calls` more answers.
    pub(crate) async fn advance(&self, calls: u64) {
        let answers = |client: &Client| client.answers.load(Ordering::Relaxed);
        let goals: Vec<_> = self
            .clients
            .iter()
            .map(|client| answers(client) + calls)
            .collect();
        wait_until("answers to each client", PATIENCE, async || {
            let mut clients = self.clients.iter().zip(&goals);
            // One that has failed is told about at the end.
            clients.all(|(client, &goal)| client.running.is_finished() || answers(client) >= goal)
        })
        .await;
    }

    /// Lets the clients finish their calls, and gives what they saw.
    async fn end(self) -> History {
        self.stop.cancel();
        for client in self.clients {
            let result = client.running.await.expect("clients do not panic");
            result.expect("no call fails");
        }
        self.recorder.history()
    }

    /// Lets the clients finish, and holds what they saw, and the pair as it is then, to all that is
    /// promised.
    pub(crate) async fn judge(self, pair: &Pair) -> History {
        let history = self.end().await;
        let end = pair.final_state(&history).await;
        invariants::check_all(&history, &end).unwrap_or_else(|violation| panic!("{violation}"));
        for server in ServerId::BOTH {
            // What a backup says that finds its state to be another one than its primary's.
            assert!(!pair.log(server).contains("state differs"));
        }
        history
    }
}

async fn work(
    clerk: RecordedClerk,
    answers: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Result<(), CallError> {
    for name in NAMES.into_iter().cycle() {
        clerk.lock(name).await?;
        clerk.unlock(name).await?;
        answers.fetch_add(2, Ordering::Relaxed);
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(())
}
