//! A client that takes more and more.

use std::time::{Duration, Instant};

use futures::future::join_all;
use lockservice::clerk::{AcquireError, CallError};
use lockservice::service::Resource;
use lockservice::{Clerk, LockGuard, ServerId};

use crate::fixture::Fixture;

const MEMORY: u64 = 64 * 1024 * 1024;

/// How often each of its tasks is refused before it ends.
const REFUSED: u32 = 20;

/// Long names, which count in bytes.
fn name(task: u32, number: u32) -> String {
    format!("{}/{task}/{number}", "n".repeat(500))
}

pub(crate) async fn a_client_that_locks_for_ever_is_refused_and_costs_no_server()
-> Result<(), String> {
    let mut fixture = Fixture::new(MEMORY, &[]).await?;
    let honest = fixture.clerk().await;
    assert_eq!(honest.lock("plain").await.ok(), Some(true));
    let owned = honest.acquire("owned").await.expect("it is free");

    let greedy = fixture.clerk().await;
    let taken = join_all((0..64).map(|task| take(&greedy, task))).await;
    let taken: Vec<_> = taken.into_iter().flatten().collect();
    assert!(taken.len() > 1_000, "only {} locks fit", taken.len());
    let guards = join_all((0..8).map(|task| acquire(&greedy, task))).await;
    fixture.assert_alive();

    // Everybody else goes on, also who comes only now.
    let released = owned.release().await;
    assert!(released.is_ok(), "{released:?}");
    let unlocked = fixture.clerk().await.unlock("plain").await;
    assert_eq!(unlocked.ok(), Some(true));
    fixture.until_whole().await;
    for server in fixture.status().await {
        let status = server.status.expect("it answers");
        assert_eq!(status.memory_limit, Some(MEMORY), "{status:?}");
        // Clients may take a little more than locks.
        let limit = status.state_limit.expect("there is one") / 7 * 8;
        assert!(status.state_bytes <= limit + 8, "{status:?}");
    }
    assert_told_once(&fixture);

    // What is freed can be taken again.
    let half = taken.len() / 2;
    for names in taken[..half].chunks(64) {
        let freed = join_all(names.iter().map(|name| greedy.unlock(name))).await;
        assert!(
            freed.iter().all(|freed| matches!(freed, Ok(true))),
            "{freed:?}"
        );
    }
    assert_eq!(greedy.lock("another").await.ok(), Some(true));
    drop(guards);
    fixture.assert_alive();
    Ok(())
}

/// Locks until it has been refused often enough, and tells what it has.
async fn take(greedy: &Clerk, task: u32) -> Vec<String> {
    let (mut taken, mut refused) = (Vec::new(), 0);
    for number in 0.. {
        let name = name(task, number);
        let asked = Instant::now();
        match greedy.lock(&name).await {
            Ok(true) => taken.push(name),
            Err(CallError::Overloaded {
                resource: Resource::Memory,
                ..
            }) => {
                let after = asked.elapsed();
                assert!(after < Duration::from_secs(5), "refused after {after:?}");
                refused += 1;
            }
            other => panic!("{task}, {number}: {other:?}"),
        }
        if refused == REFUSED {
            break;
        }
    }
    taken
}

/// Acquires until it is refused.
async fn acquire(greedy: &Clerk, task: u32) -> Vec<LockGuard> {
    let mut guards = Vec::new();
    for number in 0.. {
        match greedy.acquire(&format!("{task}/{number}")).await {
            Ok(guard) => guards.push(guard),
            Err(AcquireError::Overloaded {
                resource: Resource::Memory,
                ..
            }) => break,
            Err(other) => panic!("{task}, {number}: {other:?}"),
        }
    }
    guards
}

fn assert_told_once(fixture: &Fixture) {
    let logs = ServerId::BOTH.map(|server| fixture.log(server)).concat();
    for text in [
        "80 % of the limit of memory",
        "refusing requests: the limit of memory",
    ] {
        assert_eq!(logs.matches(text).count(), 1, "{text}: {logs}");
    }
}
