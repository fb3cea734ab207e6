//! What is looked up, and that an error does not speak of it as of a command.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_look_that_is_not_answered_says_that_nothing_was_changed() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    pair.a.on_others(Reply::Never);
    pair.b.on_others(Reply::No(Refusal::NotReady));
    let (lock, elapsed) = timed(clerk.show("x")).await;
    let lock = lock.expect_err("nobody answers");
    assert!(is_about(elapsed, TIMEOUT), "{elapsed:?}");
    let list = clerk.list("").await.expect_err("nobody answers");
    for error in [lock, list] {
        let text = error.to_string();
        assert!(
            text.starts_with("no answer within 10s; nothing was changed; memory:a: no answer"),
            "{text}"
        );
        assert!(!text.contains("happened"), "{text}");
        let LookError::Unanswered { after, tried } = error else {
            panic!("{text}")
        };
        assert_eq!(after, TIMEOUT);
        assert!(tried.servers().iter().all(|server| server.tries > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_at_servers_that_are_overloaded_says_so() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    for fake in [&pair.a, &pair.b] {
        fake.on_others(Reply::No(Refusal::Overloaded(Resource::Calls)));
    }
    let text = clerk.show("x").await.expect_err("overloaded").to_string();
    assert_eq!(
        text,
        "overloaded for 10s: too many calls in flight; nothing was changed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lock_name_is_not_looked_up() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    let asked = pair.a.asked().len();
    let error = clerk.show("").await.expect_err("no name");
    assert!(matches!(error, LookError::InvalidName(_)), "{error}");
    assert_eq!(pair.a.asked().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_clerk_that_is_closed_looks_nothing_up() {
    let pair = Pair::up().await;
    let clerk = pair.clerk().await;
    clerk.clone().close().await;
    let error = clerk.list("").await.expect_err("it is closed");
    assert!(matches!(error, LookError::Closed), "{error}");
}
