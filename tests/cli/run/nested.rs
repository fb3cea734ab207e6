//! Runs inside of runs, which know the session around them, and locks that stay taken after a run.

use std::time::{Duration, Instant};

use lockservice::testkit::wait_until;
use rustix::process::Signal;

use crate::fixture::Fixture;
use crate::program::{PATIENCE, Program};

const LOCKC: &str = env!("CARGO_BIN_EXE_lockc");

#[tokio::test]
async fn a_run_that_would_wait_for_itself_says_so_at_once() {
    let fixture = Fixture::new().await;
    for (words, inner) in [
        ("me", format!("{LOCKC} run me -- true")),
        ("me", format!("{LOCKC} run -w 1000 me -- true")),
        ("me", format!("{LOCKC} run -s me -- true")),
        ("-s me", format!("{LOCKC} run me -- true")),
        ("me", format!("{LOCKC} run other -- {LOCKC} run me -- true")),
    ] {
        let mut run = Program::start(fixture.lockc(&format!("run {words} -- {inner}")));
        let (_, err) = run.rest().await;
        assert_eq!(run.exited().await.code(), Some(2), "{inner}: {err}");
        assert!(err.contains("it would wait for itself"), "{inner}: {err}");
        assert_eq!(err.lines().count(), 1, "{inner}: {err}");
    }
}

#[tokio::test]
async fn a_run_inside_another_one_gets_what_it_does_not_wait_for() {
    let fixture = Fixture::new().await;
    for (words, inner, code) in [
        ("me", format!("{LOCKC} run -n me -- true"), 1),
        ("me", format!("{LOCKC} run other -- exit5"), 127),
        ("-s me", format!("{LOCKC} run -s me -- sh -c exit"), 0),
        (
            "--permits 2 me",
            format!("{LOCKC} run --permits 2 me -- true"),
            0,
        ),
    ] {
        let mut run = Program::start(fixture.lockc(&format!("run {words} -- {inner}")));
        let (_, err) = run.rest().await;
        assert_eq!(run.exited().await.code(), Some(code), "{inner}: {err}");
    }
}

#[tokio::test]
async fn why_sees_two_runs_that_wait_for_each_other_inside_of_runs() {
    let fixture = Fixture::new().await;
    let mut runs = [("a", "b"), ("b", "a")].map(|(outer, inner)| {
        fixture.run(
            outer,
            &format!("echo ready; read go; exec {LOCKC} run {inner} -- true"),
        )
    });
    for run in &mut runs {
        run.says("ready").await;
    }
    let why = async || fixture.lockc("why a").output().await.expect("lockc runs");
    assert_eq!(why().await.status.code(), Some(0), "{:?}", why().await);
    for run in &mut runs {
        run.tell("go").await;
    }
    wait_until("there is a deadlock", PATIENCE, async || {
        why().await.status.code() == Some(1)
    })
    .await;
    let [mut one, mut other] = runs;
    one.send(Signal::TERM);
    one.exited().await;
    assert_eq!(other.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_lock_stays_taken_for_as_long_as_it_was_asked_for_or_until_it_is_broken() {
    let fixture = Fixture::new().await;
    let mut run = fixture.run("--at-least 1h x", "echo $LOCK_TOKEN; exit 3");
    let token = run.line().await;
    assert_eq!(run.exited().await.code(), Some(3));
    let mut next = fixture.run("-n x", "true");
    let (_, err) = next.rest().await;
    assert_eq!(next.exited().await.code(), Some(1), "{err}");
    assert!(err.contains("x is kept for 59m"), "{err}");
    fixture.break_lock("x", &token).await;
    assert_eq!(fixture.code("-n x", "exit 5").await, Some(5));
}

#[tokio::test]
async fn whoever_waits_gets_a_lock_when_the_time_that_it_is_kept_is_over() {
    let fixture = Fixture::new().await;
    let begun = Instant::now();
    assert_eq!(fixture.code("--at-least 1s x", "exit 3").await, Some(3));
    assert_eq!(fixture.code("x", "exit 4").await, Some(4));
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}
