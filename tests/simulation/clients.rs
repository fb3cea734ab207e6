//! Clients: a few clerks with many calls under way, on a few locks.

use std::time::Duration;

use futures::future::join_all;
use lockservice::clerk::{CallError, Clerk};
use lockservice::testkit::RecordedClerk;
use tokio::time::timeout;

use super::context::{Context, pass};
use super::network::client_host;
use super::rng::Rng;

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
    pub(crate) hedge_delay: Duration,
    /// Records live shorter than a connection that leads nowhere is believed in.
    pub(crate) may_lose_records: bool,
}

/// Runs one client until the stage closes. It leaves now and then, and comes back as another.
pub(crate) async fn run(
    context: Context,
    number: usize,
    appetite: Appetite,
    mut rng: Rng,
) -> turmoil::Result {
    let me = client_host(number);
    while !context.is_over() {
        let builder = Clerk::builder(context.servers())
            .network(context.network(&me))
            .hedge_delay(appetite.hedge_delay);
        let clerk = match builder.connect().await {
            Ok(clerk) => clerk,
            Err(error) => {
                context.complain(format!("client {number} cannot connect: {error}"));
                break;
            }
        };
        let recorded = record(&context, number, &clerk);
        let calls = if rng.one_in(3) {
            rng.within(5..40)
        } else {
            u64::MAX
        };
        let workers = (0..appetite.calls).map(|_| {
            let worker = Worker {
                context: context.clone(),
                number,
                clerk: recorded.clone(),
                appetite: appetite.clone(),
                rng: rng.fork(),
            };
            worker.work(calls)
        });
        join_all(workers).await;
        drop(recorded);
        if rng.one_in(2) {
            clerk.close().await;
        }
    }
    context.note_gone(number);
    Ok(())
}

fn record(context: &Context, number: usize, clerk: &Clerk) -> RecordedClerk {
    let number = u32::try_from(number).expect("a few clients");
    context.recorder().client(number, clerk.clone())
}

struct Worker {
    context: Context,
    number: usize,
    clerk: RecordedClerk,
    appetite: Appetite,
    rng: Rng,
}

impl Worker {
    async fn work(mut self, calls: u64) {
        for _ in 0..calls {
            if self.context.is_over() {
                return;
            }
            self.call().await;
            pass(self.rng.millis(0..self.appetite.pause)).await;
        }
    }

    async fn call(&mut self) {
        let name = format!("lock-{}", self.rng.within(0..self.appetite.locks));
        let lock = self.rng.within(0..100) < 55;
        let hedge_delay = if self.rng.one_in(self.appetite.dropped) {
            self.rng.millis(0..200)
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
        match timeout(hedge_delay, call).await {
            Ok(Ok(_)) => self.context.note_answer(self.number),
            Ok(Err(CallError::RecordLost)) if self.appetite.may_lose_records => {}
            Ok(Err(error)) => self.complain(&error),
            // It was dropped: nobody knows what became of it.
            Err(_) => {}
        }
    }

    /// There is always a server that can answer, so every call that is waited for is answered.
    fn complain(&self, error: &CallError) {
        let number = self.number;
        self.context
            .complain(format!("a call of client {number} failed: {error}"));
    }
}
