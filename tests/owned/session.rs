//! What ends with a session.

use std::time::Duration;

use lockservice::testkit::{Pair, PairOptions};
use lockservice::types::ServerId;
use tokio::time::Instant;

use crate::stage::{LONG, clerk};

#[tokio::test]
async fn what_a_clerk_that_is_gone_held_is_free_at_once() {
    let pair = Pair::start(PairOptions::threads()).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let held = alice.acquire("job").await.expect("it is free");
    alice.close().await;
    let next = bob.acquire("job").await.expect("it is free again");
    drop((held, next));
}

#[tokio::test]
async fn a_guard_is_lost_in_time_when_no_server_answers() {
    let lease = Duration::from_secs(2);
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let alice = clerk(&pair, lease).await;
    let held = alice.acquire("job").await.expect("it is free");
    let stopped = Instant::now();
    for server in ServerId::BOTH {
        pair.stop(server);
    }
    held.lost().await;
    assert!(stopped.elapsed() <= lease, "{:?}", stopped.elapsed());
    for server in ServerId::BOTH {
        pair.wake(server);
    }
}

#[tokio::test]
async fn a_guard_outlives_a_failover_and_its_lock_stays_its_own() {
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let (alice, bob) = (clerk(&pair, LONG).await, clerk(&pair, LONG).await);
    let held = alice.acquire("job").await.expect("it is free");
    pair.kill(ServerId::A);
    assert!(bob.try_acquire("job").await.expect("an answer").is_none());
    let token = held.token();
    held.release().await.expect("it was held");
    let next = bob.acquire("job").await.expect("it was given back");
    assert!(next.token() > token);
}

#[tokio::test]
async fn tokens_rise_also_when_both_servers_were_lost() {
    let mut pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))).await;
    let alice = clerk(&pair, LONG).await;
    let held = alice.acquire("job").await.expect("it is free");
    for server in ServerId::BOTH {
        pair.kill(server);
    }
    for server in ServerId::BOTH {
        pair.run(server);
    }
    pair.wait_whole().await;
    held.lost().await;
    let again = alice.acquire("job").await.expect("a new pair has no locks");
    assert!(again.token() > held.token());
}
