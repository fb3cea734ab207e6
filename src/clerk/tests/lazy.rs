//! A clerk that is created without a connection.

use super::*;
use crate::types::Lease;

fn opens(asked: &[Request]) -> usize {
    let opens = |request: &&Request| matches!(request, Request::OpenSession { .. });
    asked.iter().filter(opens).count()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_the_first_call() {
    let pair = Pair::up().await;
    let clerk = pair.builder().connect_lazily().expect("described well");
    sleep(TIME_TO_LIVE).await;
    assert_eq!((pair.a.connections(), pair.b.connections()), (0, 0));
    assert!(!clerk.is_closed());
    drop(clerk);
    sleep(TIME_TO_LIVE).await;
    assert_eq!((pair.a.connections(), pair.b.connections()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_calls_connect_once_for_all() {
    let pair = Pair::up().await;
    let clerk = pair.builder().connect_lazily().expect("described well");
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for done in join_all(names.iter().map(|name| clerk.lock(name))).await {
        assert!(matches!(done, Ok(true)), "{done:?}");
    }
    assert_eq!(opens(&pair.a.asked()), 1);
    sleep(TIME_TO_LIVE).await;
    let asked = pair.a.asked();
    let is_sign = |request: &&Request| matches!(request, Request::KeepAlive { .. });
    assert!(asked.iter().any(|request| is_sign(&request)), "{asked:?}");
    clerk.close().await;
    let asked = pair.a.asked();
    assert!(
        matches!(asked.last(), Some(Request::CloseSession { .. })),
        "{asked:?}"
    );
}

/// Each kind of call, whichever comes first.
#[tokio::test(start_paused = true)]
async fn whichever_call_is_first_connects() {
    let pair = Pair::up().await;
    let clerk = pair.builder().connect_lazily().expect("described well");
    let lock = clerk.show("x").await.expect("answered");
    assert!(!lock.is_held());
    assert_eq!(opens(&pair.a.asked()), 1);

    let pair = Pair::up().await;
    let clerk = pair.builder().connect_lazily().expect("described well");
    let guard = clerk.acquire("x").await.expect("it is free");
    assert_eq!(opens(&pair.a.asked()), 2, "the record, and the session");
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_first_call_in_vain_has_not_happened_and_the_next_one_connects() {
    let mut pair = Pair::down();
    let clerk = pair.builder().connect_lazily().expect("described well");
    let (done, elapsed) = timed(clerk.lock("x")).await;
    let error = done.expect_err("nobody listens");
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    assert!(matches!(error, CallError::Unanswered { .. }), "{error:?}");
    assert!(!error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("nobody listens"), "{error}");
    let limit = Duration::from_secs(1);
    let (guard, elapsed) = timed(clerk.request("x").timeout(limit).acquire()).await;
    assert!(is_about(elapsed, limit), "{elapsed:?}");
    assert!(
        matches!(guard, Err(AcquireError::Unanswered { after, .. }) if after == limit),
        "{guard:?}"
    );
    pair.start(ServerId::B).await;
    assert!(clerk.lock("x").await.expect("answered"));
}

/// An opening without an answer is no call without an answer.
#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_be_sent_has_not_happened() {
    let pair = Pair::up().await;
    pair.a.on_others(Reply::Never);
    pair.b.on_others(Reply::Never);
    let clerk = pair.builder().connect_lazily().expect("described well");
    let error = clerk.lock("x").await.expect_err("nobody answers");
    assert!(matches!(error, CallError::Unanswered { .. }), "{error:?}");
    assert!(!error.may_have_happened(), "{error}");
    assert_eq!((pair.a.calls(), pair.b.calls()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_the_connection_of_another_has_its_own_time() {
    let pair = Pair::down();
    let clerk = pair.builder().connect_lazily().expect("described well");
    let later = async {
        sleep(TIMEOUT / 2).await;
        timed(clerk.lock("y")).await
    };
    let (first, (second, elapsed)) = tokio::join!(clerk.lock("x"), later);
    for done in [first, second] {
        assert!(
            matches!(done, Err(CallError::Unanswered { .. })),
            "{done:?}"
        );
    }
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_closed_does_not_connect_any_more() {
    let pair = Pair::up().await;
    let clerk = pair.builder().connect_lazily().expect("described well");
    let clone = clerk.clone();
    clerk.close().await;
    assert!(clone.is_closed());
    let done = clone.lock("x").await;
    assert_eq!(done, Err(CallError::Closed));
    let guard = clone.acquire("x").await;
    assert!(matches!(guard, Err(AcquireError::Closed)), "{guard:?}");
    assert_eq!(pair.a.connections(), 0);
}

/// What the record stood for is given back, also when it comes too late.
#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_closed_while_it_connects_says_goodbye() {
    let pair = Pair::up().await;
    pair.a.on_others(Reply::Late(PATIENCE / 2));
    let clerk = pair.builder().connect_lazily().expect("described well");
    let closed = async {
        pair.a.was_asked(1).await;
        pair.a.on_others(Reply::Yes);
        clerk.clone().close().await;
    };
    let (done, ()) = tokio::join!(clerk.lock("x"), closed);
    assert_eq!(done, Err(CallError::Closed));
    let asked = pair.a.asked();
    assert!(
        matches!(
            asked[..],
            [Request::OpenSession { .. }, Request::CloseSession { .. }]
        ),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_described_wrongly_is_told_at_once() {
    let pair = Pair::down();
    let lease = Lease::new(Duration::ZERO).expect_err("no time at all");
    let clerk = pair.builder().lease(Duration::ZERO).connect_lazily();
    assert_eq!(
        clerk.expect_err("no lease"),
        ConnectError::InvalidLease(lease)
    );
}
