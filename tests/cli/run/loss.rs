//! What becomes of a command when its lock is lost.

use std::time::{Duration, Instant};

use lockservice::ServerId;
use rustix::process::{Signal, kill_process};

use crate::edition::rounds;
use crate::fixture::{Fixture, Witness};
use crate::program::Program;

const LEASE: Duration = Duration::from_secs(3);

/// Kills the servers. The commands are gone before their leases are over, and every `lockc run`
/// says that its lock was lost.
async fn no_command_outlives_its_lease(fixture: &mut Fixture, runs: &mut [(Program, Witness)]) {
    fixture.kill_servers();
    // Nothing was renewed later than this.
    let killed = Instant::now();
    for (_, witness) in &*runs {
        witness.is_freed().await;
    }
    assert!(killed.elapsed() < LEASE, "{:?}", killed.elapsed());
    for (run, _) in runs {
        assert_eq!(run.exited().await.code(), Some(75));
    }
}

/// A command with a lease of [`LEASE`] that is ready, and who witnesses it. `action`: what it does
/// when it is to end.
async fn ready(fixture: &Fixture, name: &str, action: &str) -> (Program, Witness) {
    let witness = fixture.witness(name);
    let script = format!("trap '{action}' TERM; echo ready; sleep 1000 & wait");
    let words = format!("--lease {}s {name}", LEASE.as_secs());
    let mut run = fixture.run(&words, &witness.of(&script));
    run.says("ready").await;
    (run, witness)
}

#[tokio::test]
async fn without_servers_a_command_is_ended_in_time_and_the_code_is_75() {
    let mut fixture = Fixture::new().await;
    let mut runs = [ready(&fixture, "x", "echo bye; exit 0").await];
    no_command_outlives_its_lease(&mut fixture, &mut runs).await;
    let [(mut run, _)] = runs;
    run.says("bye").await;
    let (_, err) = run.rest().await;
    assert!(
        err.starts_with("lockc: the command was ended: the lock was not renewed in time"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[tokio::test]
async fn without_servers_a_command_that_does_not_listen_is_killed_in_time() {
    let mut fixture = Fixture::new().await;
    let mut runs = [ready(&fixture, "x", "").await];
    no_command_outlives_its_lease(&mut fixture, &mut runs).await;
}

#[tokio::test]
async fn without_servers_a_command_is_killed_in_time_though_its_watchdog_hangs() {
    let mut fixture = Fixture::new().await;
    let mut runs = [ready(&fixture, "x", "").await];
    let watchdog = runs[0].0.watchdog().await;
    kill_process(watchdog, Signal::STOP).expect("it runs");
    no_command_outlives_its_lease(&mut fixture, &mut runs).await;
}

/// Half of them listen, half of them do not.
#[tokio::test]
async fn without_servers_none_of_many_commands_outlives_its_lease() {
    for _ in 0..rounds(1, 10) {
        let mut fixture = Fixture::new().await;
        let mut runs = Vec::new();
        for number in 0..10 {
            let action = ["exit 0", ""][number % 2];
            runs.push(ready(&fixture, &format!("x{number}"), action).await);
        }
        no_command_outlives_its_lease(&mut fixture, &mut runs).await;
    }
}

#[tokio::test]
async fn when_the_pair_has_lost_its_state_a_command_is_ended() {
    let mut fixture = Fixture::new().await;
    let script = "trap 'echo bye; exit 0' TERM; echo ready; sleep 1000 & wait";
    let mut run = fixture.run("--lease 1h --grace 5s x", script);
    run.says("ready").await;
    fixture.kill_servers();
    for server in ServerId::BOTH {
        fixture.pair.restart(server);
    }
    run.says("bye").await;
    assert_eq!(run.exited().await.code(), Some(75));
    let (_, err) = run.rest().await;
    assert!(
        err.starts_with("lockc: the command was ended: the lock was lost: "),
        "{err}"
    );
}

#[tokio::test]
async fn when_its_lock_is_broken_a_command_is_ended() {
    let fixture = Fixture::new().await;
    let script = "trap 'echo bye; exit 0' TERM; echo $LOCK_TOKEN; sleep 1000 & wait";
    let mut run = fixture.run("--lease 1h --grace 5s x", script);
    let token = run.line().await;
    fixture.break_lock("x", &token).await;
    run.says("bye").await;
    assert_eq!(run.exited().await.code(), Some(75));
    let (_, err) = run.rest().await;
    assert_eq!(
        err,
        "lockc: the command was ended: the lock was lost: the lock was broken\n"
    );
}

/// What is left of it is gone a grace later, whether it listens or not.
#[tokio::test]
async fn when_their_locks_are_broken_none_of_many_commands_is_left() {
    let fixture = Fixture::new().await;
    for round in 0..rounds(4, 100) {
        let name = format!("x{round}");
        let witness = fixture.witness(&name);
        let action = ["exit 0", ""][round as usize % 2];
        let script = format!("trap '{action}' TERM; echo $LOCK_TOKEN; sleep 1000 & wait");
        let words = format!("--lease 1h --grace 200ms {name}");
        let mut run = fixture.run(&words, &witness.of(&script));
        let token = run.line().await;
        fixture.break_lock(&name, &token).await;
        assert_eq!(run.exited().await.code(), Some(75));
        assert!(witness.is_free(), "{name}");
    }
}

#[tokio::test]
async fn when_its_lock_is_broken_a_command_is_killed_though_its_watchdog_hangs() {
    let fixture = Fixture::new().await;
    let witness = fixture.witness("witness");
    let script = witness.of("trap '' TERM; echo $LOCK_TOKEN; sleep 1000 & wait");
    let mut run = fixture.run("--lease 1h --grace 200ms x", &script);
    let token = run.line().await;
    let watchdog = run.watchdog().await;
    kill_process(watchdog, Signal::STOP).expect("it runs");
    fixture.break_lock("x", &token).await;
    witness.is_freed().await;
    assert_eq!(run.exited().await.code(), Some(75));
}

#[tokio::test]
async fn when_the_lock_is_lost_a_stopped_command_may_clean_up_too() {
    let fixture = Fixture::new().await;
    let script = "trap 'echo bye; exit' TERM; echo $LOCK_TOKEN; echo $$; kill -STOP $$";
    let mut run = fixture.run("--lease 1h --grace 5s x", script);
    let token = run.line().await;
    run.says_that_it_stops().await;
    fixture.break_lock("x", &token).await;
    run.says("bye").await;
    assert_eq!(run.exited().await.code(), Some(75));
}

#[tokio::test]
async fn when_one_server_is_lost_a_command_goes_on_under_its_lock() {
    let mut fixture = Fixture::new().await;
    let mut run = fixture.run("--lease 5s x", "echo ready; cat; exit 6");
    run.says("ready").await;
    fixture.pair.kill(ServerId::A);
    assert_eq!(fixture.code("-n x", "true").await, Some(1));
    run.tell("still here").await;
    run.says("still here").await;
    run.hush();
    assert_eq!(run.exited().await.code(), Some(6));
    assert_eq!(fixture.code("-n x", "exit 5").await, Some(5));
}

#[tokio::test]
async fn a_command_that_ended_under_its_lock_counts_though_the_release_fails() {
    let mut fixture = Fixture::new().await;
    let mut run = fixture.run("--timeout 200ms x", "echo ready; cat; exit 7");
    run.says("ready").await;
    fixture.kill_servers();
    run.hush();
    let (_, err) = run.rest().await;
    assert_eq!(run.exited().await.code(), Some(7));
    assert!(err.starts_with("lockc: cannot release the lock: "), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}
