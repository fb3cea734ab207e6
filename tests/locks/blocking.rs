//! The blocking client, by threads without a runtime, and what happens inside of one.

use std::thread;
use std::time::{Duration, Instant};

use lockservice::blocking::Clerk;
use lockservice::clerk::WithLockError;
use lockservice::testkit::{Pair, PairOptions};
use lockservice::{AcquireError, GuardState, LossReason, Servers};
use tokio::runtime::Runtime;

const LEASE: Duration = Duration::from_secs(1);

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_mins(1);

/// A pair of servers, and the runtime that they need.
struct Fixture {
    pair: Pair,
    runtime: Runtime,
}

impl Fixture {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let pair = runtime.block_on(Pair::start(PairOptions::threads()));
        Self { pair, runtime }
    }

    fn servers(&self) -> Servers {
        self.pair.servers().clone()
    }

    fn clerk(&self) -> Clerk {
        let builder = lockservice::Clerk::builder(self.servers()).lease(LEASE);
        Clerk::connect_with(builder).expect("a server answers")
    }
}

#[test]
fn a_thread_without_a_runtime_locks_acquires_and_sees() {
    let fixture = Fixture::start();
    let clerk = Clerk::connect(fixture.servers()).expect("a server answers");
    assert!(clerk.lock("plain").expect("an answer"));
    assert!(clerk.unlock("plain".to_owned()).expect("an answer"));

    let guard = clerk.acquire("job").expect("it is free");
    assert_eq!(guard.state(), GuardState::Held);
    assert!(guard.safe_until() > Instant::now());
    assert!(!clerk.try_acquire("job").expect("an answer").is_acquired());
    let short = clerk.request("job").timeout(Duration::from_millis(50));
    let error = short.acquire().expect_err("it is held");
    assert!(
        matches!(error, AcquireError::TimedOut { is_own: true, .. }),
        "{error}"
    );
    let shown = clerk.show(guard.name()).expect("an answer");
    assert_eq!(
        shown.holders().next().map(|held| held.client),
        Some(clerk.client())
    );
    guard.release().expect("it was held");

    let both = clerk.acquire_all(["b", "a"]).expect("they are free");
    let names: Vec<_> = both.iter().map(|guard| guard.name().as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let listed = clerk.list("").expect("an answer");
    assert_eq!(listed.len(), 2, "{listed:?}");
    let mut watch = clerk.as_async().watch("");
    let change = clerk.block_on(watch.next()).expect("an answer");
    assert_eq!(change.name.as_str(), "a");
    let other = clerk.clone();
    clerk.close();
    assert!(other.is_closed());
    assert_eq!(both[0].state(), GuardState::Lost);
}

#[test]
fn threads_share_a_clerk_and_wait_for_their_turns() {
    let fixture = Fixture::start();
    let clerk = fixture.clerk();
    let inside = std::sync::Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let work = |guard: &lockservice::blocking::LockGuard| {
                    *inside.try_lock().expect("nobody else is inside") += 1;
                    guard.token()
                };
                clerk
                    .with_lock("job", work)
                    .expect("it is held till the end");
            });
        }
    });
    assert_eq!(inside.into_inner().ok(), Some(8));
}

#[test]
fn a_lock_is_kept_while_a_thread_computes_and_given_back_when_its_guard_and_clerk_are_dropped() {
    let fixture = Fixture::start();
    let (clerk, other) = (fixture.clerk(), fixture.clerk());
    let guard = clerk.acquire("job").expect("it is free");
    let begun = Instant::now();
    while begun.elapsed() < LEASE * 3 {
        std::hint::spin_loop();
    }
    assert_eq!(guard.state(), GuardState::Held);
    drop(clerk);
    assert_eq!(guard.lost_within(LEASE), None);
    drop(guard);
    let begun = Instant::now();
    let next = other
        .request("job")
        .timeout(LONG)
        .acquire()
        .expect("it is given back");
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
    next.release().expect("it was held");
}

#[test]
fn work_that_outlives_its_lock_has_no_output() {
    let mut fixture = Fixture::start();
    let clerk = fixture.clerk();
    let done = clerk.with_lock("job", |guard| {
        let token = guard.token();
        let broken = fixture.clerk().break_lock("job", token, "a test");
        assert!(broken.expect("an answer").is_broken());
        guard.lost_within(LONG)
    });
    assert_eq!(done, Err(WithLockError::Lost(LossReason::Broken)));

    let guard = clerk.acquire("job").expect("it is free");
    for server in fixture.servers().ids() {
        fixture.pair.kill(server);
    }
    assert_eq!(guard.lost_within(LONG), Some(LossReason::Expired));
}

#[test]
fn it_works_where_a_runtime_lets_a_thread_block_and_panics_where_it_does_not() {
    let fixture = Fixture::start();
    let servers = fixture.servers();
    let blocking = fixture.runtime.spawn_blocking(move || {
        let clerk = Clerk::connect(servers).expect("a server answers");
        clerk.lock("job").expect("an answer")
    });
    assert!(fixture.runtime.block_on(blocking).expect("it ends"));

    let servers = fixture.servers();
    let task = fixture
        .runtime
        .spawn(async move { Clerk::connect(servers).map(drop) });
    let panic = fixture
        .runtime
        .block_on(task)
        .expect_err("it panics")
        .into_panic();
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = message.expect("it is text");
    assert!(
        message.starts_with("Cannot start a runtime from within a runtime"),
        "{message}"
    );
}
