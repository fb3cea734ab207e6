//! The clerk against servers that do what a test tells them to, in a time that only passes when
//! everybody waits.

mod acquire;
mod fake;
mod guard;
mod inspect;
mod lazy;
mod lists;
mod outside;
mod own;
mod reconcile;
mod session;
mod watch;
mod with_lock;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::fake::{Fake, Reply, TIME_TO_LIVE};
use super::*;
use crate::config::{ATTEMPT_TIMEOUT, PATIENCE, RETRY_DELAY_MAX};
use crate::rpc::DialError;
use crate::service::{Refusal, Request, Resource};
use crate::transport::{Addr, Listener, MemoryNetwork, Network, Stream};
use crate::types::{Seq, ServerId, SessionId};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Two fake servers.
struct Pair {
    network: MemoryNetwork,
    servers: Servers,
    a: Fake,
    b: Fake,
    listening: Vec<JoinHandle<()>>,
}

impl Pair {
    fn down() -> Self {
        Self {
            network: MemoryNetwork::new(),
            servers: Servers::new("memory:a", "memory:b").expect("a pair"),
            a: Fake::new(ServerId::A),
            b: Fake::new(ServerId::B),
            listening: Vec::new(),
        }
    }

    async fn up() -> Self {
        let mut pair = Self::down();
        pair.start(ServerId::A).await;
        pair.start(ServerId::B).await;
        pair
    }

    async fn start(&mut self, server: ServerId) {
        let fake = if server == ServerId::A {
            &self.a
        } else {
            &self.b
        };
        self.listening.push(
            fake.listen(&self.network, self.servers.address(server))
                .await,
        );
    }

    /// Kills both servers.
    async fn kill(&mut self) {
        for listening in self.listening.drain(..) {
            listening.abort();
            assert!(listening.await.is_err_and(|error| error.is_cancelled()));
        }
    }

    fn builder(&self) -> ClerkBuilder {
        Clerk::builder(self.servers.clone()).network(Arc::new(self.network.clone()))
    }

    async fn clerk(&self) -> Clerk {
        self.builder().connect().await.expect("somebody answers")
    }
}

/// What `work` gives, and how long it took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (work.await, start.elapsed())
}

/// Tokio's clock ticks in milliseconds.
fn is_about(elapsed: Duration, expected: Duration) -> bool {
    elapsed.abs_diff(expected) <= Duration::from_millis(5)
}

#[tokio::test(start_paused = true)]
async fn the_server_listed_first_is_asked_first() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("answered"));
    assert!(clerk.unlock("x").await.expect("answered"));
    assert_eq!(pair.a.asked().len(), 3);
    assert_eq!(pair.b.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn calls_are_numbered_and_tell_what_is_done() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for _ in 0..3 {
        clerk.lock("x").await.expect("answered");
    }
    let ids: Vec<_> = pair
        .a
        .calls()
        .iter()
        .map(|id| (id.seq.0, id.first_incomplete.0))
        .collect();
    assert_eq!(ids, [(0, 0), (1, 1), (2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_failed_is_repeated_at_once_at_the_other_server_with_the_same_ids() {
    for reply in [
        Reply::HangUp,
        Reply::No(Refusal::NotReady),
        Reply::No(Refusal::Interrupted),
    ] {
        let pair = Pair::up().await;
        let clerk = pair.clerk().await;
        pair.a.on_calls([reply]);
        let (done, elapsed) = timed(clerk.lock("x")).await;
        assert!(
            done.expect("answered") && is_about(elapsed, Duration::ZERO),
            "{elapsed:?}"
        );
        assert_eq!(pair.a.calls(), pair.b.calls());
        assert_eq!(pair.a.calls().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn it_sticks_to_the_server_that_answered() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_calls([Reply::No(Refusal::NotReady)]);
    for _ in 0..3 {
        clerk.lock("x").await.expect("answered");
    }
    assert_eq!((pair.a.calls().len(), pair.b.calls().len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn the_other_server_is_asked_as_well_when_one_is_silent() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_every_call(Reply::Never);
    let (done, elapsed) = timed(clerk.lock("x")).await;
    assert!(
        done.expect("answered") && is_about(elapsed, PATIENCE),
        "{elapsed:?}"
    );
    assert_eq!(pair.a.calls(), pair.b.calls());
    let (done, elapsed) = timed(clerk.lock("y")).await;
    assert!(
        done.expect("answered") && is_about(elapsed, Duration::ZERO),
        "{elapsed:?}"
    );
}

/// Each call counts its own tries, also when another call has found out meanwhile who answers.
#[tokio::test(start_paused = true)]
async fn every_call_to_a_silent_server_goes_to_the_other_one_in_its_own_time() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_every_call(Reply::Never);
    let calls = (0..3).map(|call| {
        let clerk = clerk.clone();
        async move {
            sleep(PATIENCE * call / 3).await;
            timed(clerk.lock(&format!("{call}"))).await
        }
    });
    for (done, elapsed) in join_all(calls).await {
        assert!(
            done.expect("answered") && is_about(elapsed, PATIENCE),
            "{elapsed:?}"
        );
    }
    assert_eq!((pair.a.calls().len(), pair.b.calls().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_not_abandoned() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_every_call(Reply::Late(PATIENCE * 2));
    pair.b.on_every_call(Reply::Never);
    let (done, elapsed) = timed(clerk.lock("x")).await;
    assert!(
        done.expect("answered") && is_about(elapsed, PATIENCE * 2),
        "{elapsed:?}"
    );
    assert_eq!((pair.a.calls().len(), pair.b.calls().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_hedge_delay_can_be_chosen() {
    let pair = Pair::up().await;
    let hedge_delay = Duration::from_millis(50);
    let clerk = pair
        .builder()
        .hedge_delay(hedge_delay)
        .connect()
        .await
        .expect("answered");
    pair.a.on_every_call(Reply::Never);
    let (_, elapsed) = timed(clerk.lock("x")).await;
    assert!(is_about(elapsed, hedge_delay), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_is_not_ready_is_asked_again_with_pauses() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_every_call(Reply::No(Refusal::NotReady));
    pair.b.on_every_call(Reply::No(Refusal::NotReady));
    let becomes_ready = async {
        sleep(Duration::from_secs(2)).await;
        pair.b.on_every_call(Reply::Yes);
    };
    let ((done, elapsed), ()) = tokio::join!(timed(clerk.lock("x")), becomes_ready);
    assert!(done.expect("answered"));
    assert!(
        elapsed < Duration::from_secs(2) + RETRY_DELAY_MAX,
        "{elapsed:?}"
    );
    let tries = pair.a.calls().len() + pair.b.calls().len();
    assert!((10..60).contains(&tries), "{tries}");
    assert!(
        pair.a
            .calls()
            .iter()
            .chain(&pair.b.calls())
            .all(|id| id.seq == Seq(0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_leads_nowhere_is_replaced() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_calls([Reply::Never]);
    pair.b.on_every_call(Reply::Never);
    let (done, elapsed) = timed(clerk.lock("x")).await;
    assert!(done.expect("answered"));
    assert!(
        elapsed >= ATTEMPT_TIMEOUT && elapsed < ATTEMPT_TIMEOUT + PATIENCE,
        "{elapsed:?}"
    );
    assert_eq!(pair.a.connections(), 2);
    assert_eq!(pair.a.calls()[0], pair.a.calls()[1]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_one_dial() {
    let mut pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.kill().await;
    pair.start(ServerId::B).await;
    let before = pair.b.connections();
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for done in join_all(names.iter().map(|name| clerk.lock(name))).await {
        assert!(done.expect("answered"));
    }
    assert_eq!(pair.b.connections() - before, 1);
    assert_eq!(pair.b.calls().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_for_the_others_when_its_first_caller_is_dropped() {
    let mut pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.kill().await;
    pair.start(ServerId::A).await;
    let mut first = Box::pin(clerk.lock("x"));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(clerk.lock("y"));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    assert!(second.await.expect("answered"));
    assert_eq!(pair.a.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_broke_while_idle_costs_no_call_its_certainty() {
    let mut pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.kill().await;
    sleep(Duration::from_secs(1)).await;
    let error = clerk.lock("x").await.expect_err("nobody listens");
    assert!(!error.may_have_happened(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_counts_as_given_up() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_calls([Reply::Never]);
    let dropped = timeout(PATIENCE / 2, clerk.lock("x")).await;
    dropped.expect_err("it waits");
    assert!(clerk.lock("y").await.expect("answered"));
    let next = pair.a.calls()[1];
    assert_eq!((next.seq, next.first_incomplete), (Seq(1), Seq(1)));
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_is_not_told_to_be_done() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_calls([Reply::Late(PATIENCE / 2)]);
    let slow = clerk.lock("x");
    let quick = async {
        pair.a.was_asked(2).await;
        clerk.lock("y").await
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert!(slow.is_ok() && quick.is_ok(), "{slow:?}, {quick:?}");
    assert_eq!(pair.a.calls()[1].first_incomplete, Seq(0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_record_is_opened_anew_once_for_all_calls() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    clerk.lock("before").await.expect("answered");
    pair.a.lose_the_record();
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for done in join_all(names.iter().map(|name| clerk.lock(name))).await {
        assert!(done.expect("answered"));
    }
    let asked = pair.a.asked();
    let opens = asked
        .iter()
        .filter(|request| matches!(request, Request::OpenSession { .. }))
        .count();
    assert_eq!(opens, 2, "one when it connected, and one more");
    let renewed: Vec<_> = pair
        .a
        .calls()
        .into_iter()
        .filter(|id| id.session == SessionId(2))
        .collect();
    assert_eq!(renewed.len(), 20);
    assert_eq!(renewed.iter().map(|id| id.seq).min(), Some(Seq(0)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_happened_under_a_lost_record_is_not_repeated() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_calls([Reply::HangUp]);
    pair.b.lose_the_record();
    let error = clerk.lock("x").await.expect_err("it cannot be known");
    assert!(matches!(error, CallError::RecordLost), "{error}");
    assert!(error.may_have_happened());
    assert!(clerk.lock("y").await.expect("the clerk goes on"));
    assert_eq!(
        pair.b.calls().last().map(|id| id.session),
        Some(SessionId(2))
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_another_server_still_has_is_not_repeated_under_a_new_record() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_calls([Reply::Never]);
    pair.b.lose_the_record();
    let error = clerk.lock("x").await.expect_err("it cannot be known");
    assert!(matches!(error, CallError::RecordLost), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_opened_anew_is_waited_for_until_the_deadline() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.lose_the_record();
    pair.a.on_others(Reply::No(Refusal::NotReady));
    pair.b.on_others(Reply::No(Refusal::NotReady));
    let (done, elapsed) = timed(clerk.lock("x")).await;
    let error = done.expect_err("no record");
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    assert!(!error.may_have_happened());
    assert!(
        error.to_string().contains("session is not known"),
        "{error}"
    );
    pair.a.on_others(Reply::Yes);
    assert!(clerk.lock("x").await.expect("the clerk goes on"));
}

#[tokio::test(start_paused = true)]
async fn the_record_is_kept_alive_four_times_in_its_time_to_live() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let session = SessionId(1);
    sleep(TIME_TO_LIVE + Duration::from_secs(1)).await;
    let asked = pair.a.asked();
    let signs = asked
        .iter()
        .filter(|request| matches!(request, Request::KeepAlive { .. }));
    assert_eq!(signs.count(), 4);
    assert!(matches!(asked.last(), Some(Request::KeepAlive { session: r, .. }) if *r == session));
    drop(clerk);
}

#[tokio::test(start_paused = true)]
async fn a_record_lost_while_idle_is_opened_anew_by_the_next_sign_of_life() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.lose_the_record();
    sleep(TIME_TO_LIVE / 2).await;
    clerk.lock("x").await.expect("answered");
    assert_eq!(pair.a.calls().len(), 1);
    assert_eq!(pair.a.calls()[0].session, SessionId(2));
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_that_is_dropped_says_goodbye() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let clone = clerk.clone();
    drop(clerk);
    clone.lock("x").await.expect("answered");
    drop(clone);
    pair.a.was_asked(3).await;
    assert!(matches!(
        pair.a.asked()[2],
        Request::CloseSession {
            session: SessionId(1),
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_dropped_during_a_sign_of_life_says_goodbye_at_once() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_others(Reply::Never);
    pair.b.on_others(Reply::Never);
    pair.a.was_asked(2).await;
    let start = Instant::now();
    drop(clerk);
    pair.a.was_asked(3).await;
    assert!(matches!(pair.a.asked()[2], Request::CloseSession { .. }));
    assert!(is_about(start.elapsed(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_closed_has_said_goodbye_and_its_clones_are_closed() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let clone = clerk.clone();
    clerk.close().await;
    assert!(matches!(
        pair.a.asked().last(),
        Some(Request::CloseSession { .. })
    ));
    let error = clone.lock("x").await.expect_err("closed");
    assert!(
        matches!(error, CallError::Closed) && !error.may_have_happened(),
        "{error:?}"
    );
    clone.close().await;
}

#[tokio::test(start_paused = true)]
async fn closing_takes_a_second_at_the_most() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_others(Reply::Never);
    pair.b.on_others(Reply::Never);
    let ((), elapsed) = timed(clerk.close()).await;
    assert!(is_about(elapsed, Duration::from_secs(1)), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_may_have_happened() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_every_call(Reply::Never);
    pair.b.on_every_call(Reply::Never);
    let (done, elapsed) = timed(clerk.lock("x")).await;
    let error = done.expect_err("nobody answers");
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    assert!(error.may_have_happened());
    let text = error.to_string();
    assert!(
        text.contains("10s") && text.contains("memory:b: no answer"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_pair_that_is_down_has_not_happened() {
    let mut pair = Pair::up().await;
    let timeout = Duration::from_secs(1);
    let clerk = pair
        .builder()
        .timeout(timeout)
        .connect()
        .await
        .expect("answered");
    pair.kill().await;
    sleep(Duration::from_millis(1)).await;
    let (done, elapsed) = timed(clerk.lock("x")).await;
    let error = done.expect_err("nobody listens");
    assert!(is_about(elapsed, timeout), "{elapsed:?}");
    assert!(!error.may_have_happened());
    let CallError::Unanswered { tried: report, .. } = &error else {
        panic!("{error}")
    };
    for server in report.servers() {
        assert!(server.attempts > 3 && server.attempts < 20, "{report}");
        let Some(AttemptError::Dial(reason)) = &server.last else {
            panic!("{report}")
        };
        assert!(matches!(**reason, DialError::Refused(_)), "{report}");
    }
}

/// On which, once it is stuck, connections neither come about nor fail.
#[derive(Debug)]
struct Sticky {
    network: MemoryNetwork,
    stuck: AtomicBool,
}

impl Network for Sticky {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        if self.stuck.load(Ordering::Relaxed) {
            return std::future::pending().boxed();
        }
        self.network.connect(addr)
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        self.network.listen(addr)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_only_waited_for_connections_has_not_happened() {
    let mut pair = Pair::up().await;
    let network = Arc::new(Sticky {
        network: pair.network.clone(),
        stuck: AtomicBool::new(false),
    });
    let timeout = Duration::from_secs(5);
    let builder = pair.builder().network(network.clone()).timeout(timeout);
    let clerk = builder.connect().await.expect("answered");
    pair.a.on_every_call(Reply::No(Refusal::NotReady));
    pair.b.on_every_call(Reply::No(Refusal::NotReady));
    let gets_stuck = async {
        pair.a.was_asked(2).await;
        pair.b.was_asked(1).await;
        network.stuck.store(true, Ordering::Relaxed);
        pair.kill().await;
    };
    let (done, ()) = tokio::join!(clerk.lock("x"), gets_stuck);
    let error = done.expect_err("stuck");
    assert!(!error.may_have_happened(), "{error}");
    let CallError::Unanswered { tried: report, .. } = &error else {
        panic!("{error}")
    };
    for server in report.servers() {
        assert!((3..8).contains(&server.attempts), "{report}");
        assert!(
            matches!(server.last, Some(AttemptError::NoConnection)),
            "{report}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_is_not_up_yet_is_waited_for() {
    let mut pair = Pair::down();
    let connecting = tokio::spawn(pair.builder().connect());
    sleep(Duration::from_secs(5)).await;
    pair.start(ServerId::B).await;
    let clerk = connecting.await.expect("no panic").expect("connected");
    clerk.lock("x").await.expect("answered");
}

#[tokio::test(start_paused = true)]
async fn connecting_in_vain_tells_what_was_tried() {
    let pair = Pair::down();
    let (connected, elapsed) = timed(pair.builder().connect()).await;
    let error = connected.expect_err("nobody listens");
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    let text = error.to_string();
    assert!(
        text.contains("memory:a: nobody listens") && text.contains("10s"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_without_an_answer_is_repeated() {
    let pair = Pair::up().await;
    pair.a.on_others(Reply::HangUp);
    let _clerk = pair.clerk().await;
    assert!(matches!(pair.a.asked()[0], Request::OpenSession { .. }));
    assert_eq!(pair.a.asked()[0], pair.b.asked()[0]);
}

#[tokio::test(start_paused = true)]
async fn an_overload_that_passes_is_waited_for() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a
        .on_calls([Reply::No(Refusal::Overloaded(Resource::Calls)); 5]);
    pair.b
        .on_every_call(Reply::No(Refusal::Overloaded(Resource::Calls)));
    assert!(clerk.lock("x").await.expect("answered"));
}

/// A limit that waiting does not cure.
#[tokio::test(start_paused = true)]
async fn a_full_table_is_told_at_once() {
    for resource in [Resource::Locks, Resource::Clients, Resource::Broken] {
        let pair = Pair::up().await;
        let clerk = pair.clerk().await;
        let refusal = Refusal::Overloaded(resource);
        pair.a.on_every_call(Reply::No(refusal));
        let (answer, elapsed) = timed(clerk.lock("x")).await;
        assert!(
            matches!(answer, Err(CallError::Overloaded { resource: of, .. }) if of == resource),
            "{answer:?}"
        );
        assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
        assert_eq!((pair.a.calls().len(), pair.b.calls().len()), (1, 0));
    }
}

/// Whatever the timeout, also one that ends just when a retry would be on its way. (Of seconds:
/// tarpc counts deadlines by a clock that a test cannot stop.)
#[tokio::test(start_paused = true)]
async fn an_overload_that_stays_is_told_and_leaves_nothing_open() {
    for millis in (2_000..2_500).step_by(10) {
        let pair = Pair::up().await;
        let limit = Duration::from_millis(millis);
        let clerk = pair
            .builder()
            .timeout(limit)
            .connect()
            .await
            .expect("answered");
        let slow = Reply::LateNo(
            Duration::from_millis(40),
            Refusal::Overloaded(Resource::Calls),
        );
        pair.a.on_every_call(slow);
        pair.b.on_every_call(slow);
        let (answer, elapsed) = timed(clerk.lock("x")).await;
        let told = matches!(
            answer,
            Err(CallError::Overloaded { resource: Resource::Calls, after }) if after <= limit
        );
        assert!(told, "within {limit:?}: {answer:?}");
        assert!(
            elapsed <= limit && elapsed >= limit / 2,
            "{limit:?}: {elapsed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_beside_a_try_that_may_still_be_executed_is_not_the_end() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_every_call(Reply::Late(PATIENCE * 2));
    pair.b
        .on_every_call(Reply::No(Refusal::Overloaded(Resource::Locks)));
    let (answer, elapsed) = timed(clerk.lock("x")).await;
    assert!(matches!(answer, Ok(true)), "{answer:?}");
    assert!(is_about(elapsed, PATIENCE * 2), "{elapsed:?}");
    assert_eq!((pair.a.calls().len(), pair.b.calls().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_lost_record_cannot_be_replaced_is_told_at_once() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for fake in [&pair.a, &pair.b] {
        fake.on_every_call(Reply::No(Refusal::UnknownSession));
        fake.on_others(Reply::No(Refusal::Overloaded(Resource::Clients)));
    }
    let calls = [clerk.lock("x"), clerk.lock("y")];
    for (answer, elapsed) in join_all(calls.map(timed)).await {
        let resource = Resource::Clients;
        assert!(
            matches!(answer, Err(CallError::Overloaded { resource: of, .. }) if of == resource),
            "{answer:?}"
        );
        assert!(is_about(elapsed, Duration::ZERO), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overload_after_a_try_that_may_have_happened_leaves_that_open() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a
        .on_every_call(Reply::No(Refusal::Overloaded(Resource::Calls)));
    pair.a.on_calls([Reply::HangUp]);
    pair.b
        .on_every_call(Reply::No(Refusal::Overloaded(Resource::Calls)));
    let error = clerk.lock("x").await.expect_err("overloaded");
    assert!(error.may_have_happened(), "{error}");
    let CallError::Unanswered { tried: report, .. } = &error else {
        panic!("{error}");
    };
    let a = &report.servers()[0];
    assert!(
        matches!(a.refused, Some(AttemptError::Refused(_))),
        "{report}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lock_name_is_not_sent() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for name in ["", &"x".repeat(1025)] {
        let error = clerk.lock(name).await.expect_err("no name");
        assert!(
            matches!(error, CallError::InvalidName(_)) && !error.may_have_happened(),
            "{error:?}"
        );
    }
    assert_eq!(pair.a.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn an_endless_timeout_is_no_trouble() {
    let pair = Pair::up().await;
    let builder = pair
        .builder()
        .timeout(Duration::MAX)
        .hedge_delay(Duration::MAX);
    let clerk = builder.connect().await.expect("answered");
    assert!(clerk.lock("x").await.expect("answered"));
}

#[tokio::test(start_paused = true)]
async fn each_server_reports_its_status_or_why_not() {
    let mut pair = Pair::down();
    pair.start(ServerId::A).await;
    let network: Arc<dyn Network> = Arc::new(pair.network.clone());
    let reports = status(&network, &pair.servers, TIMEOUT).await;
    let [a, b] = <[_; 2]>::try_from(reports).expect("one of each");
    assert_eq!(a.status.expect("answered").server, ServerId::A);
    assert_eq!(b.address, *pair.servers.address(ServerId::B));
    let error = b.status.expect_err("nobody listens");
    assert!(matches!(error, AttemptError::Dial(_)), "{error}");
}

#[test]
fn a_clerk_and_its_calls_go_to_any_task() {
    fn is_send<T: Send>(_: &T) {}
    fn is_send_and_sync<T: Clone + Send + Sync + 'static>() {}
    is_send_and_sync::<Clerk>();
    is_send(&Clerk::connect(Servers::default()));
    let _ = |clerk: Clerk| is_send(&clerk.lock("x"));
    let _ = |clerk: Clerk| is_send(&clerk.acquire("x"));
    let _ = |clerk: Clerk| is_send(&clerk.acquire_all(["x"]));
    let _ = |clerk: Clerk| is_send(&clerk.request_all(["x"]).try_acquire());
    let _ = |guard: LockGuard| is_send(&guard.release());
    let _ = |guard: LockGuard| is_send(&guard.lost());
}

#[tokio::test(start_paused = true)]
async fn a_clerk_says_how_its_servers_are_and_whether_it_is_closed() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for report in clerk.status().await {
        let status = report.status.expect("answered");
        assert_eq!(status.server, report.server);
    }
    let clone = clerk.clone();
    assert!(!clone.is_closed());
    clerk.close().await;
    assert!(clone.is_closed());
}
