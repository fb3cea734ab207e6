//! A pair whose clients are watched.

use std::time::Duration;

use lockservice::clerk::Clerk;
use lockservice::config::PATIENCE;
use lockservice::service::Verb;
use lockservice::testkit::{Pair, PairOptions, RecordedClerk, Recorder, invariants};
use lockservice::types::ServerId;

/// The server that is primary in the beginning.
pub(crate) const A: ServerId = ServerId::A;
/// Its backup.
pub(crate) const B: ServerId = ServerId::B;

/// A whole pair, and what its clients were told.
pub(crate) struct Fixture {
    pub(crate) pair: Pair,
    pub(crate) recorder: Recorder,
    clients: u32,
}

impl Fixture {
    pub(crate) async fn start(options: PairOptions) -> Self {
        let pair = Pair::start(options).await;
        assert_eq!(pair.primary().await, Some(A));
        Self {
            pair,
            recorder: Recorder::new(),
            clients: 0,
        }
    }

    pub(crate) async fn client(&mut self) -> RecordedClerk {
        self.client_with_hedge_delay(PATIENCE).await
    }

    pub(crate) async fn client_with_hedge_delay(&mut self, patience: Duration) -> RecordedClerk {
        let clerk = Clerk::builder(self.pair.servers().clone())
            .hedge_delay(patience)
            .connect()
            .await
            .expect("a server of the pair answers");
        self.clients += 1;
        self.recorder.client(self.clients, clerk)
    }

    /// Runs the server that was killed, waits until the pair is whole, and checks everything.
    pub(crate) async fn end_after_a_kill_of(mut self, server: ServerId) {
        self.pair.run(server);
        self.pair.wait_whole().await;
        assert_eq!(self.pair.primary().await, Some(server.peer()));
        self.end().await;
    }

    /// Checks what the clients were told, and that both servers end in the state that follows from
    /// it.
    pub(crate) async fn end(self) {
        let history = self.recorder.history();
        let end = self.pair.final_state(&history).await;
        assert_eq!(end.servers.len(), 2);
        invariants::check_all(&history, &end).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

/// Locks `name`, and tells the answer.
pub(crate) async fn lock(client: &RecordedClerk, name: &str) -> bool {
    client.lock(name).await.expect("an answer")
}

/// Unlocks `name`, and tells the answer.
pub(crate) async fn unlock(client: &RecordedClerk, name: &str) -> bool {
    client.unlock(name).await.expect("an answer")
}

/// Locks or unlocks `name`, and tells the answer.
pub(crate) async fn ask(client: &RecordedClerk, verb: Verb, name: &str) -> bool {
    match verb {
        Verb::Lock => lock(client, name).await,
        Verb::Unlock => unlock(client, name).await,
    }
}
