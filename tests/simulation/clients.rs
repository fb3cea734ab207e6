//! Clients: a few clerks with many calls under way, on a few locks.

use std::time::Duration;

use futures::future::join_all;
use lockservice::clerk::{CallError, Clerk};
use lockservice::testkit::RecordedClerk;
use tokio::time::timeout;

use super::dice::Dice;
use super::net::client_host;
use super::stage::{Stage, pass};

/// What the clients want, and how hard.
#[derive(Debug, Clone)]
pub(crate) struct Appetite {
    pub(crate) locks: u64,
    /// Calls under way for each clerk.
    pub(crate) calls: u64,
    /// One call in so many is dropped half-way.
    pub(crate) dropped: u64,
    /// The longest pause between two calls, in milliseconds.
    pub(crate) pause: u64,
    pub(crate) patience: Duration,
    /// Records live shorter than a connection that leads nowhere is believed in.
    pub(crate) may_lose_records: bool,
}

/// Runs one client until the stage closes. It leaves now and then, and comes back as another.
pub(crate) async fn run(
    stage: Stage,
    number: usize,
    appetite: Appetite,
    mut dice: Dice,
) -> turmoil::Result {
    let me = client_host(number);
    while !stage.is_over() {
        let builder = Clerk::builder(stage.servers())
            .network(stage.network(&me))
            .patience(appetite.patience);
        let clerk = match builder.connect().await {
            Ok(clerk) => clerk,
            Err(error) => {
                stage.complain(format!("client {number} cannot connect: {error}"));
                break;
            }
        };
        let recorded = record(&stage, number, &clerk);
        let calls = if dice.one_in(3) {
            dice.within(5..40)
        } else {
            u64::MAX
        };
        let workers = (0..appetite.calls).map(|_| {
            let worker = Worker {
                stage: stage.clone(),
                number,
                clerk: recorded.clone(),
                appetite: appetite.clone(),
                dice: dice.fork(),
            };
            worker.work(calls)
        });
        join_all(workers).await;
        drop(recorded);
        if dice.one_in(2) {
            clerk.close().await;
        }
    }
    stage.note_gone(number);
    Ok(())
}

fn record(stage: &Stage, number: usize, clerk: &Clerk) -> RecordedClerk {
    let number = u32::try_from(number).expect("a few clients");
    stage.recorder().client(number, clerk.clone())
}

struct Worker {
    stage: Stage,
    number: usize,
    clerk: RecordedClerk,
    appetite: Appetite,
    dice: Dice,
}

impl Worker {
    async fn work(mut self, calls: u64) {
        for _ in 0..calls {
            if self.stage.is_over() {
                return;
            }
            self.call().await;
            pass(self.dice.millis(0..self.appetite.pause)).await;
        }
    }

    async fn call(&mut self) {
        let name = format!("lock-{}", self.dice.within(0..self.appetite.locks));
        let lock = self.dice.within(0..100) < 55;
        let patience = if self.dice.one_in(self.appetite.dropped) {
            self.dice.millis(0..200)
        } else {
            Duration::from_mins(10)
        };
        let call = async {
            if lock {
                self.clerk.lock(&name).await
            } else {
                self.clerk.unlock(&name).await
            }
        };
        match timeout(patience, call).await {
            Ok(Ok(_)) => self.stage.note_answer(self.number),
            Ok(Err(CallError::RecordLost)) if self.appetite.may_lose_records => {}
            Ok(Err(error)) => self.complain(&error),
            // It was dropped: nobody knows what became of it.
            Err(_) => {}
        }
    }

    /// There is always a server that can answer, so every call that is waited for is answered.
    fn complain(&self, error: &CallError) {
        let number = self.number;
        self.stage
            .complain(format!("a call of client {number} failed: {error}"));
    }
}
