//! What becomes of a command when `lockc run` dies, or what watches over it.

use lockservice::testkit::wait_until;
use rustix::process::{Signal, kill_process};

use crate::edition::rounds;
use crate::fixture::{Fixture, Witness, children_of};
use crate::program::{PATIENCE, Program};

/// A command and a child of it that do not care about SIGTERM.
fn stubborn(witness: &Witness) -> String {
    witness.of("trap '' TERM; echo ready; sleep 1000 & wait")
}

/// Where a `lockc run` is killed.
#[derive(Debug, Clone, Copy)]
enum At {
    /// It has its lock, and starts a watchdog.
    Watchdog,
    /// It has a watchdog, and starts the command.
    Launch,
    /// The command runs.
    Run,
}

impl At {
    async fn is_reached(self, run: &mut Program) {
        let children = match self {
            Self::Watchdog => 1,
            Self::Launch => 2,
            Self::Run => return run.says("ready").await,
        };
        wait_until("there are children", PATIENCE, async || {
            children_of(run.pid()).len() >= children
        })
        .await;
    }
}

#[tokio::test]
async fn when_lockc_is_killed_its_command_is_gone_before_the_lease_ends() {
    let fixture = Fixture::new().await;
    for round in 0..rounds(2, 100) {
        for at in [At::Run, At::Watchdog, At::Launch, At::Run] {
            let name = format!("{round}-{at:?}");
            let witness = fixture.witness(&name);
            let words = format!("--lease 500ms {name}");
            let mut run = fixture.run_without_hangup(&words, &stubborn(&witness));
            at.is_reached(&mut run).await;
            run.kill().await;
            assert_eq!(
                fixture.code(&name, &witness.check()).await,
                Some(0),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn when_lockc_is_killed_its_command_may_clean_up() {
    let fixture = Fixture::new().await;
    let witness = fixture.witness("witness");
    let script = witness.of("trap 'echo bye; exit' TERM; echo ready; sleep 1000 & wait");
    let mut run = fixture.run("--lease 1h --grace 1s x", &script);
    run.says("ready").await;
    run.kill().await;
    run.says("bye").await;
    witness.is_freed().await;
}

#[tokio::test]
async fn when_lockc_is_killed_a_stopped_command_dies_too() {
    let fixture = Fixture::new().await;
    let witness = fixture.witness("witness");
    let script = "sleep 1000 & kill -STOP $!; echo $$; kill -STOP $$";
    let mut run = fixture.run("--lease 1h --grace 200ms x", &witness.of(script));
    run.says_that_it_stops().await;
    run.kill().await;
    witness.is_freed().await;
}

#[tokio::test]
async fn when_lockc_is_stopped_its_command_is_gone_before_the_lease_ends() {
    let fixture = Fixture::new().await;
    let witness = fixture.witness("witness");
    let script = witness.of("echo ready; sleep 1000 & wait");
    let mut run = fixture.run("--lease 1s x", &script);
    run.says("ready").await;
    run.send(Signal::STOP);
    assert_eq!(fixture.code("x", &witness.check()).await, Some(0));
    run.send(Signal::CONT);
    assert_eq!(run.exited().await.code(), Some(75));
}

#[tokio::test]
async fn when_the_watchdog_is_killed_there_is_another() {
    let fixture = Fixture::new().await;
    let witness = fixture.witness("witness");
    let mut run = fixture.run("--lease 1h --grace 1s x", &stubborn(&witness));
    run.says("ready").await;
    for _ in 0..3 {
        let watchdog = run.watchdog().await;
        kill_process(watchdog, Signal::KILL).expect("it runs");
        wait_until("there is another watchdog", PATIENCE, async || {
            run.watchdog().await != watchdog
        })
        .await;
    }
    assert!(!run.has_ended() && !witness.is_free());
    run.kill().await;
    witness.is_freed().await;
}

#[tokio::test]
async fn a_command_cannot_shake_off_its_watchdog() {
    let fixture = Fixture::new().await;
    let witness = fixture.witness("witness");
    let script = "trap '' TERM HUP; echo ready; read go; kill -TERM 0; echo set; sleep 1000 & wait";
    let mut run = fixture.run("--lease 1h --grace 1s x", &witness.of(script));
    run.says("ready").await;
    let watchdog = run.watchdog().await;
    run.tell("go").await;
    run.says("set").await;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::TSTP] {
        kill_process(watchdog, signal).expect("it runs");
    }
    run.kill().await;
    witness.is_freed().await;
}
