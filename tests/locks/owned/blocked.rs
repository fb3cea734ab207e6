//! What a task holds that blocks a thread of its runtime, or all of them.

use std::cell::Cell;
use std::io;
use std::mem::forget;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use lockservice::clerk::{Clerk, GuardState, LossReason};
use lockservice::testkit::{Pair, PairOptions, wait_until};
use lockservice::transport::{Addr, Listener, Network, Servers, Stream, SystemNetwork};
use lockservice::types::Token;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::fixture::{LONG, clerk};

const LEASE: Duration = Duration::from_secs(1);

/// Sockets that belong to one runtime, as far as a clerk knows.
#[derive(Debug, Default)]
struct OneRuntime(SystemNetwork);

impl Network for OneRuntime {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        self.0.connect(addr)
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        self.0.listen(addr)
    }
}

fn runtime(mut builder: Builder) -> Runtime {
    builder.enable_all().build().expect("a runtime")
}

/// It asks its guard on and on, and never lets another task run.
#[test]
fn a_task_that_blocks_its_runtime_sees_that_its_lock_is_broken() {
    let fixture = Fixture::new();
    runtime(Builder::new_current_thread()).block_on(async {
        let guard = clerk(&fixture.pair, LEASE).await.acquire("job").await;
        let guard = guard.expect("it is free");
        let (token, other) = (guard.token(), fixture.observer.clone());
        let breaks = async move { other.break_lock("job", token, "a test").await };
        fixture.elsewhere.spawn(breaks);
        let start = Instant::now();
        while guard.state() != GuardState::Lost {
            assert!(start.elapsed() < LONG, "it is never told");
            thread::yield_now();
        }
        assert_eq!(guard.lost().await, LossReason::Broken);
    });
    fixture.end();
}

/// A pair, a runtime beside the one that is blocked, and a clerk there.
struct Fixture {
    elsewhere: Runtime,
    pair: Pair,
    observer: Clerk,
}

impl Fixture {
    fn new() -> Self {
        let elsewhere = runtime(Builder::new_multi_thread());
        let lockd = env!("CARGO_BIN_EXE_lockd");
        let pair = elsewhere.block_on(Pair::start(PairOptions::processes(lockd)));
        let observer = elsewhere.block_on(clerk(&pair, LONG));
        Self {
            elsewhere,
            pair,
            observer,
        }
    }

    /// A function that blocks its thread until two leases have passed, and says who holds the lock
    /// then, by the servers.
    fn observing(&self) -> impl Fn() -> Option<Token> + Send + use<> {
        let (elsewhere, observer) = (self.elsewhere.handle().clone(), self.observer.clone());
        let servers = self.pair.servers().clone();
        move || {
            let (elsewhere, observer) = (elsewhere.clone(), observer.clone());
            let servers = servers.clone();
            let observe = move || {
                elsewhere.block_on(async {
                    pass_two_leases(servers, &observer).await;
                    let job = observer.show("job").await.expect("an answer");
                    job.holders().next().and_then(|holder| holder.token)
                })
            };
            thread::spawn(observe).join().expect("no panic")
        }
    }

    fn end(self) {
        let _elsewhere = self.elsewhere.enter();
        drop(self.pair);
    }
}

/// Waits until a lock with twice the lease is free, which nobody renews.
async fn pass_two_leases(servers: Servers, observer: &Clerk) {
    let abandon = move || {
        let acquired = runtime(Builder::new_current_thread()).block_on(async {
            let clerk = Clerk::builder(servers).lease(LEASE * 2).connect().await;
            let clerk = clerk.expect("a server of the pair answers");
            clerk.acquire("timer").await
        });
        forget(acquired.expect("it is free"));
    };
    spawn_blocking(abandon).await.expect("no panic");
    wait_until("two leases to pass", LONG, async || {
        let timer = observer.show("timer").await.expect("an answer");
        !timer.is_held()
    })
    .await;
}

/// Holds a lock while the runtime does nothing: `block` blocks all its threads for as long as what
/// it is given takes. A lock that only that runtime renews is lost meanwhile.
fn keeps_its_lock(blocked: &Runtime, block: impl FnOnce(&dyn Fn())) {
    let fixture = Fixture::new();
    blocked.block_on(async {
        let holder = clerk(&fixture.pair, LEASE).await;
        let by_one = Clerk::builder(fixture.pair.servers().clone());
        let by_one = by_one.network(Arc::new(OneRuntime::default()));
        let by_one = by_one.lease(LEASE).connect().await;
        let by_one = by_one.expect("a server of the pair answers");
        let lost = by_one.acquire("other").await.expect("it is free");
        let guard = holder.acquire("job").await.expect("it is free");
        let (observe, token) = (fixture.observing(), Cell::new(None));
        block(&|| token.set(observe()));
        assert_eq!(token.get(), Some(guard.token()), "at the servers");
        assert_eq!(guard.state(), GuardState::Held);
        assert_eq!(lost.state(), GuardState::Lost);
        guard.release().await.expect("it is held");
    });
    fixture.end();
}

#[test]
fn a_task_that_blocks_its_runtime_keeps_its_locks() {
    let blocked = runtime(Builder::new_current_thread());
    keeps_its_lock(&blocked, |observe| observe());
}

#[test]
fn a_task_keeps_its_locks_while_all_workers_of_its_runtime_are_blocked() {
    const WORKERS: usize = 2;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKERS);
    keeps_its_lock(&runtime(builder), |observe| {
        let [begun, over] = [(); 2].map(|()| Arc::new(Barrier::new(WORKERS + 1)));
        for _ in 0..WORKERS {
            let (begun, over) = (begun.clone(), over.clone());
            tokio::spawn(async move {
                begun.wait();
                over.wait();
            });
        }
        begun.wait();
        observe();
        over.wait();
    });
}

/// It was woken by a timer, so its worker was the one that waits for timers and sockets, and none
/// of the idle ones does so in its place.
#[test]
fn a_task_that_blocks_one_of_several_workers_keeps_its_locks() {
    let fixture = Fixture::new();
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4);
    runtime(builder).block_on(async {
        let holder = clerk(&fixture.pair, LEASE).await;
        let observe = fixture.observing();
        let holding = tokio::spawn(async move {
            let guard = holder.acquire("job").await.expect("it is free");
            sleep(LEASE / 10).await;
            assert_eq!(observe(), Some(guard.token()), "at the servers");
            assert_eq!(guard.state(), GuardState::Held);
            guard.release().await.expect("it is held");
        });
        holding.await.expect("no panic");
    });
    fixture.end();
}
