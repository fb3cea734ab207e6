//! What is said to a request that waits for its own clerk.

use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;
use crate::service::Acquired::{Granted, Queued};
use crate::types::Token;

const LIMIT: Duration = Duration::from_secs(5);

/// Keeps the warnings.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn keep() -> (Self, DefaultGuard) {
        let warnings = Self::default();
        let guard = set_default(warnings.clone());
        (warnings, guard)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panics meanwhile"))
    }
}

impl Visit for Warnings {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        let mut warnings = self.0.lock().expect("no test panics meanwhile");
        warnings.push(format!("{value:?}"));
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Waits in vain, and says whether it was told that its own clerk held the lock.
async fn waits_for_its_own(request: LockRequest) -> bool {
    match request.timeout(LIMIT).acquire().await {
        Err(AcquireError::TimedOut { is_own, .. }) => is_own,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_its_own_guard_is_told_once() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (warnings, _keeps) = Warnings::keep();
    pair.a.on_acquires([Granted(Token(1)), Queued, Queued]);
    let guard = clerk.acquire("x").await.expect("granted");
    assert!(waits_for_its_own(clerk.request("x")).await);
    assert!(waits_for_its_own(clerk.request("x")).await);
    let told = warnings.take();
    assert!(
        told.len() == 1 && told[0].contains("its own task"),
        "{told:?}"
    );

    drop(guard);
    pair.a.on_acquires([Queued]);
    assert!(!waits_for_its_own(clerk.request("x")).await);
    assert_eq!(warnings.take(), [""; 0]);
}

/// It can end, when that task releases the lock.
#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_another_task_of_its_clerk_is_not_warned() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (warnings, _keeps) = Warnings::keep();
    pair.a.on_acquires([Granted(Token(1)), Queued]);
    let request = clerk.request("x");
    let held = tokio::spawn(request.acquire()).await.expect("it ends");
    let _guard = held.expect("granted");
    assert!(waits_for_its_own(clerk.request("x")).await);
    assert_eq!(warnings.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_what_its_clerk_has_locked_is_told() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (warnings, _keeps) = Warnings::keep();
    assert!(clerk.lock("x").await.expect("answered"));
    pair.a.on_acquires([Queued, Queued]);
    let other = tokio::spawn(waits_for_its_own(clerk.request("x")));
    assert!(other.await.expect("it ends"));
    let told = warnings.take();
    assert!(
        told.len() == 1 && told[0].contains("its own clerk"),
        "{told:?}"
    );

    assert!(clerk.unlock("x").await.expect("answered"));
    assert!(!waits_for_its_own(clerk.request("x")).await);
    assert_eq!(warnings.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_clerk_holds_and_shares_is_not_in_its_way() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let (warnings, _keeps) = Warnings::keep();
    let ways: [fn(LockRequest) -> LockRequest; 2] = [LockRequest::shared, |it| it.permits(2)];
    for way in ways {
        pair.a.on_acquires([Granted(Token(1)), Queued, Queued]);
        let guard = way(clerk.request("x")).acquire().await.expect("granted");
        assert!(!waits_for_its_own(way(clerk.request("x"))).await);
        assert_eq!(warnings.take(), [""; 0]);
        assert!(waits_for_its_own(clerk.request("x")).await, "alone");
        assert_eq!(warnings.take().len(), 1);
        drop(guard);
    }
}
