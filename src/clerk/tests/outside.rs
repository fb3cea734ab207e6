//! Calls outside a Tokio runtime: the panic says who needs one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::Runtime;

use super::*;
use crate::types::Token;

const EXPECTED: &str = "a Clerk is used outside a Tokio runtime";

fn panics<T>(call: &str, work: impl Future<Output = T>) {
    panics_at_once(call, || work.now_or_never());
}

fn panics_at_once<T>(call: &str, work: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(work())));
    let panic = panic.expect_err(call);
    let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(text.contains(EXPECTED), "{call}: {text}");
}

#[test]
fn every_call_outside_a_runtime_says_what_is_missing() {
    let runtime = Runtime::new().expect("threads");
    let (pair, clerk, guards) = runtime.block_on(async {
        let pair = Pair::up().await;
        let clerk = pair.clerk().await;
        let names = ["a", "b", "c", "d", "e"];
        let guards = clerk.acquire_all(names).await.expect("all are free");
        (pair, clerk, guards)
    });
    let network: Arc<dyn Network> = Arc::new(pair.network.clone());
    panics("connect", pair.builder().connect());
    panics_at_once("connect_lazily", || pair.builder().connect_lazily());
    panics("lock", clerk.lock("x"));
    panics("unlock", clerk.unlock("x"));
    panics("acquire", clerk.acquire("x"));
    panics("try_acquire", clerk.try_acquire("x"));
    panics("acquire_all", clerk.acquire_all(["x"]));
    panics("try_acquire of all", clerk.request_all(["x"]).try_acquire());
    panics("campaign", clerk.campaign("x"));
    panics("show", clerk.show("x"));
    panics("list", clerk.list(""));
    panics("why", clerk.wait_graph("x"));
    panics("break_lock", clerk.break_lock("x", Token(1), "a test"));
    panics("watch", clerk.watch("").changes());
    panics("look", clerk.watch("").next());
    panics("status", clerk.status());
    panics(
        "status of servers",
        status(&network, &pair.servers, TIMEOUT),
    );
    let mut guards = guards.into_iter();
    let mut guard = || guards.next().expect("there is one more");
    panics("lost", guard().lost());
    let held = guard();
    panics("watcher", held.watcher().lost());
    panics("retain", held.retain(TIMEOUT));
    panics("release_after", held.release_after(TIMEOUT));
    panics("release", guard().release());
}
