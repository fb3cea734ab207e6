//! The commands of `lockc` that look at owned locks and manage them, as their users run them: real
//! processes, exit codes, output.

mod elect;
mod fixture;
mod inspect;
#[path = "../../support/program/mod.rs"]
mod program;
mod shell;
mod watch;

use fixture::{Fixture, lockc, queue};
use tempfile::tempdir;

#[tokio::test]
async fn a_lock_is_broken_by_the_token_that_it_is_held_by_and_no_other() {
    let fixture = Fixture::new().await;
    let (alice, bob) = (fixture.clerk().await, fixture.clerk().await);
    let held = alice.acquire("job").await.expect("it is free");
    let next = queue(&bob, "job", 0).await;
    let token = held.token().get();
    let other = token + 1;
    let line = format!("break job --token {other} --reason it-hangs");
    let ended = fixture.run(&line).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "false\n"));
    let holding = format!("token {other} does not hold job: job is held by ");
    assert!(ended.stderr.contains(&holding), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&token.to_string()),
        "{}",
        ended.stderr
    );
    assert!(!next.is_finished());

    let token = token.to_string();
    let args = ["break", "job", "--token", &token, "--reason", "it hangs"];
    let ended = fixture.start_with(&args).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "true\n"));
    assert_eq!(ended.stderr, "");
    let next = next.await.expect("no panic");
    assert!(next.token() > held.token());
    let logs = lockservice::ServerId::BOTH.map(|server| fixture.pair.log(server));
    assert!(logs.iter().any(|log| log.contains("it hangs")), "{logs:?}");

    let ended = fixture.start_with(&args).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "false\n"));
}

#[tokio::test]
async fn without_a_token_and_a_reason_nothing_is_broken() {
    let fixture = Fixture::new().await;
    let clerk = fixture.clerk().await;
    let held = clerk.acquire("job").await.expect("it is free");
    let token = held.token().to_string();
    for args in [
        &["break", "job"][..],
        &["break", "job", "--token", &token],
        &["break", "job", "--token", &token, "--reason", ""],
        &["break", "job", "--token", &token, "--reason", " "],
        &["break", "job", "--reason", "why"],
    ] {
        let ended = fixture.start_with(args).ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(!ended.stderr.is_empty());
    }
    held.release().await.expect("it is still held");
}

#[tokio::test]
async fn without_a_server_each_command_says_so_in_one_line() {
    let place = tempdir().expect("a directory");
    let path = place.path().display();
    let servers = format!("unix:{path}/a,unix:{path}/b");
    for line in [
        "ls",
        "show a",
        "why a",
        "break a --token 1 --reason why",
        "watch",
        "elect a",
    ] {
        let mut args: Vec<_> = line.split(' ').collect();
        args.extend(["--timeout", "100ms"]);
        let ended = lockc(&servers, &args).ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""));
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("100ms"), "{}", ended.stderr);
    }
}
