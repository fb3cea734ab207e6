//! What a task holds that blocks the only thread of its runtime.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use lockservice::clerk::{Clerk, GuardState, LossReason};
use lockservice::net::{Addr, Listener, Network, Stream, SystemNetwork};
use lockservice::testkit::{Pair, PairOptions, wait_until};
use lockservice::types::Token;
use tokio::runtime::{Builder, Runtime};

use crate::stage::{LONG, clerk};

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
    let elsewhere = runtime(Builder::new_multi_thread());
    let pair = elsewhere.block_on(Pair::start(PairOptions::processes(env!(
        "CARGO_BIN_EXE_lockd"
    ))));
    let other = elsewhere.block_on(clerk(&pair, LONG));
    runtime(Builder::new_current_thread()).block_on(async {
        let guard = clerk(&pair, LEASE).await.acquire("job").await;
        let guard = guard.expect("it is free");
        let token = guard.token();
        elsewhere.spawn(async move { other.break_lock("job", token, "a test").await });
        let start = Instant::now();
        while guard.state() != GuardState::Lost {
            assert!(start.elapsed() < LONG, "it is never told");
            thread::yield_now();
        }
        assert_eq!(guard.lost().await, LossReason::Broken);
    });
    elsewhere.block_on(async { drop(pair) });
}

/// Who holds the lock when the other one is free, by the servers.
async fn holder_after_two_leases(observer: Clerk) -> Option<Token> {
    wait_until("two leases to pass", LONG, async || {
        let timer = observer.show("timer").await.expect("an answer");
        !timer.is_held()
    })
    .await;
    let job = observer.show("job").await.expect("an answer");
    job.holders().next().and_then(|holder| holder.token)
}

/// A lock with twice the lease, which nothing but the blocked runtime renews, tells when it has
/// been blocked for long enough: it is free then.
#[test]
fn a_task_that_blocks_its_runtime_keeps_its_locks() {
    let elsewhere = runtime(Builder::new_multi_thread());
    let pair = elsewhere.block_on(Pair::start(PairOptions::processes(env!(
        "CARGO_BIN_EXE_lockd"
    ))));
    let observer = elsewhere.block_on(clerk(&pair, LONG));
    let servers = pair.servers().clone();
    runtime(Builder::new_current_thread()).block_on(async {
        let holder = clerk(&pair, LEASE).await;
        let timer = Clerk::builder(servers).network(Arc::new(OneRuntime::default()));
        let timer = timer.lease(LEASE * 2).connect().await;
        let timer = timer.expect("a server of the pair answers");
        let guard = holder.acquire("job").await.expect("it is free");
        let ends = timer.acquire("timer").await.expect("it is free");

        let observing = elsewhere.handle().clone();
        let observing =
            thread::spawn(move || observing.block_on(holder_after_two_leases(observer)));
        let token = observing.join().expect("the observer sees it");

        assert_eq!(token, Some(guard.token()), "at the servers");
        assert_eq!(guard.state(), GuardState::Held);
        assert_eq!(ends.state(), GuardState::Lost);
        guard.release().await.expect("it is held");
    });
    elsewhere.block_on(async { drop(pair) });
}
