//! Clients lock and unlock for seconds, and the primary dies in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockservice::service::Verb;
use lockservice::testkit::{History, Moment, PairOptions, RecordedClerk, wait_until};
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

use crate::fixture::{A, Fixture, lock, unlock};

/// How long the clients go on.
const LOAD: Duration = Duration::from_secs(3);

/// Each client has a lock of its own, so that each answer is certain.
pub(crate) async fn each_with_its_own_lock(options: PairOptions) {
    const CLIENTS: usize = 4;
    let mut fixture = Fixture::start(options).await;
    let end = Instant::now() + LOAD;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = fixture.client().await;
        clients.spawn(async move { work_alone(number, &client, end).await });
    }
    let killed = kill_in_the_middle(&mut fixture, end).await;
    clients.join_all().await;
    all_go_on_after(killed, &fixture.recorder.history(), CLIENTS);
    fixture.end_after_a_kill_of(A).await;
}

/// Every other client leaves its lock held.
async fn work_alone(number: usize, client: &RecordedClerk, end: Instant) {
    let name = format!("own-{number}");
    while Instant::now() < end {
        assert!(lock(client, &name).await);
        assert!(!lock(client, &name).await);
        assert!(unlock(client, &name).await);
        assert!(!unlock(client, &name).await);
    }
    if number.is_multiple_of(2) {
        assert!(lock(client, &name).await);
    }
}

/// All clients compete for one lock; it guards a counter that they increment in two steps.
pub(crate) async fn all_with_one_lock(options: PairOptions) {
    const CLIENTS: usize = 8;
    let mut fixture = Fixture::start(options).await;
    let end = Instant::now() + LOAD;
    let guarded = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = fixture.client().await;
        let guarded = guarded.clone();
        clients.spawn(async move { compete(&client, &guarded, end).await });
    }
    let killed = kill_in_the_middle(&mut fixture, end).await;
    let granted: u64 = clients.join_all().await.into_iter().sum();
    assert_eq!(guarded.load(Ordering::Relaxed), granted);
    all_go_on_after(killed, &fixture.recorder.history(), CLIENTS);
    fixture.end_after_a_kill_of(A).await;
}

/// Tells how often it was granted the lock.
async fn compete(client: &RecordedClerk, guarded: &AtomicU64, end: Instant) -> u64 {
    let mut granted = 0;
    while Instant::now() < end {
        if lock(client, "shared").await {
            let seen = guarded.load(Ordering::Relaxed);
            yield_now().await;
            guarded.store(seen + 1, Ordering::Relaxed);
            granted += 1;
            assert!(unlock(client, "shared").await, "nobody else unlocks it");
        }
    }
    granted
}

/// Kills the primary when half of the time is over, and tells when that was: nothing that was
/// called after that moment was sent before the kill.
async fn kill_in_the_middle(fixture: &mut Fixture, end: Instant) -> Moment {
    wait_until("the middle", 10 * LOAD, async || {
        Instant::now() + LOAD / 2 >= end
    })
    .await;
    fixture.pair.kill(A);
    let history = fixture.recorder.history();
    let operations = history.operations().iter();
    let moments = operations.flat_map(|operation| [Some(operation.called), operation.answered()]);
    moments.flatten().max().expect("there were calls")
}

/// Checks that every client was granted a lock before and after the kill.
fn all_go_on_after(killed: Moment, history: &History, clients: usize) {
    let grants = |client, after| {
        let operations = history.operations().iter();
        operations
            .filter(|operation| operation.client == client && operation.verb == Verb::Lock)
            .filter(|operation| operation.result() == Some(true))
            .filter(|operation| (operation.called > killed) == after)
            .count()
    };
    for client in 1..=u32::try_from(clients).expect("a few clients") {
        let (before, after) = (grants(client, false), grants(client, true));
        assert!(
            before > 0 && after > 0,
            "client {client} was granted {before} locks before the kill and {after} after it"
        );
    }
}
