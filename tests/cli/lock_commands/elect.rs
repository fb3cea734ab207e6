//! One leader at a time.

use lockservice::{ServerId, Token};
use rustix::process::Signal;

use crate::fixture::{Fixture, queue, wait_for_waiters};
use crate::program::Program;

/// The token of a program that has been elected.
async fn elected(candidate: &mut Program) -> u64 {
    let line = candidate.line().await;
    let token = line.strip_prefix("leader ").expect(&line);
    token.parse().expect("a token")
}

#[tokio::test]
async fn a_leader_that_resigns_is_followed_by_the_next_with_a_higher_token() {
    for signal in [Signal::INT, Signal::TERM] {
        let fixture = Fixture::new().await;
        let clerk = fixture.clerk().await;
        let mut first = fixture.start("elect boss");
        let token = elected(&mut first).await;
        let mut second = fixture.start("elect boss");
        wait_for_waiters(&clerk, "boss", 1).await;
        first.send(signal);
        let ended = first.ended().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(elected(&mut second).await > token);
    }
}

#[tokio::test]
async fn a_leader_is_shown_by_who_runs_which_command_where() {
    let fixture = Fixture::new().await;
    let mut leader = fixture.start("elect boss");
    let token = elected(&mut leader).await;
    let told = fixture.run("show boss --json").await.json();
    let name = told["holders"][0]["session_name"].as_str();
    let name = name.unwrap_or_else(|| panic!("{told}"));
    let command = format!(
        ", pid {}, `lockc elect boss`",
        leader.pid().as_raw_nonzero()
    );
    assert!(name.contains('@') && name.ends_with(&command), "{name}");
    let shown = fixture.run("show boss").await.stdout;
    let first = shown.lines().next().unwrap_or_default();
    let expected = format!("boss is held by {name}, for ");
    assert!(first.starts_with(&expected), "{first}");
    assert!(
        first.ends_with(&format!(", token {token}; nobody waits")),
        "{first}"
    );
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_when_its_lease_is_over() {
    let fixture = Fixture::new().await;
    let mut first = fixture.start("elect boss --lease 500ms");
    let token = elected(&mut first).await;
    let mut second = fixture.start("elect boss");
    wait_for_waiters(&fixture.clerk().await, "boss", 1).await;
    first.send(Signal::KILL);
    assert!(elected(&mut second).await > token);
}

#[tokio::test]
async fn a_candidate_that_is_stopped_leaves_with_1() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let held = clerk.acquire("boss").await.expect("it is free");
    let candidate = fixture.start("elect boss");
    wait_for_waiters(&clerk, "boss", 1).await;
    candidate.send(Signal::TERM);
    let ended = candidate.ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    wait_for_waiters(&clerk, "boss", 0).await;
    held.release().await.expect("it is held");
}

#[tokio::test]
async fn a_leader_that_no_server_answers_any_more_ends_with_75() {
    let mut fixture = Fixture::new().await;
    let mut leader = fixture.start("elect boss --lease 500ms");
    elected(&mut leader).await;
    for server in ServerId::BOTH {
        fixture.pair.stop(server);
    }
    let ended = leader.ended().await;
    assert_eq!(ended.code, Some(75));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the leadership was lost"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_leader_whose_lock_is_broken_ends_with_75_and_the_next_is_elected() {
    let fixture = Fixture::new().await;
    let mut first = fixture.start("elect boss");
    let token = elected(&mut first).await;
    let mut second = fixture.start("elect boss");
    wait_for_waiters(&fixture.clerk().await, "boss", 1).await;
    let line = format!("break boss --token {token} --reason it-hangs");
    assert_eq!(fixture.run(&line).await.code, Some(0));
    assert_eq!(first.ended().await.code, Some(75));
    assert!(elected(&mut second).await > token);
}

#[tokio::test]
async fn a_leader_with_a_short_lease_outlives_a_primary_that_is_asked_to_end() {
    let mut fixture = Fixture::new().await;
    // So everybody calls the backup, which hands polls to the primary. That may hold the next one's
    // for a quarter of a minute.
    fixture.pair.cut_client(ServerId::A);
    let mut leader = fixture.start("elect boss --lease 2s");
    let token = elected(&mut leader).await;
    let clerk = fixture.clerk().await;
    let next = queue(&clerk, "boss", 0).await;
    fixture.pair.terminate(ServerId::A).await;
    let lock = clerk.show("boss").await.expect("an answer");
    let held_by = lock.entries[0].token.map(Token::get);
    assert_eq!(held_by, Some(token), "{lock:?}");
    leader.send(Signal::TERM);
    let ended = leader.ended().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(next.await.expect("no panic").token().get() > token);
}

#[tokio::test]
async fn a_leader_outlives_a_failover() {
    let mut fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let mut leader = fixture.start("elect boss");
    let token = elected(&mut leader).await;
    fixture.pair.kill(ServerId::A);
    let lock = clerk.show("boss").await.expect("an answer");
    assert_eq!(lock.entries[0].token.map(Token::get), Some(token));
    leader.send(Signal::TERM);
    assert_eq!(leader.ended().await.code, Some(0));
}
