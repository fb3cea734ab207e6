//! `lockc` with an output that cannot be written: no lock is lost or kept without a word, and what
//! was begun comes to its end.

use std::process::Stdio;
use std::time::Duration;

use lockservice::ServerId;
use lockservice::clerk::Clerk;
use lockservice::testkit::{Pair, PairOptions, wait_until};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::fault::Fault::{Blocked, Closed, Full, ReaderGone};
use crate::fault::Which::{Stderr, Stdout};
use crate::fault::{Fault, Faulty, PATIENCE, Which};

pub(crate) struct Fixture {
    pub(crate) pair: Pair,
    pub(crate) clerk: Clerk,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let pair = Pair::start(PairOptions::processes(env!("CARGO_BIN_EXE_lockd")).unix()).await;
        let builder = Clerk::builder(pair.servers().clone()).lease(Duration::from_mins(1));
        let clerk = builder.connect().await.expect("a server answers");
        Self { pair, clerk }
    }

    pub(crate) fn start(&self, line: &str, which: Which, fault: Fault) -> Faulty {
        let args: Vec<_> = line.split(' ').collect();
        Faulty::start(
            env!("CARGO_BIN_EXE_lockc"),
            &args,
            &self.pair.servers().to_string(),
            (which, fault),
            Stdio::piped(),
        )
    }

    /// How it ends, and what it writes to the other output.
    async fn run(&self, line: &str, which: Which, fault: Fault) -> (Option<i32>, String) {
        self.start(line, which, fault).ended().await
    }

    async fn is_held(&self, name: &str) -> bool {
        let lock = self.clerk.show(name).await.expect("an answer");
        lock.is_held()
    }

    async fn wait_until_held(&self, name: &str) {
        wait_until("the lock is held", PATIENCE, async || {
            self.is_held(name).await
        })
        .await;
    }

    async fn wait_until_clients(&self, what: &str, condition: impl Fn(u64) -> bool) {
        wait_until(what, PATIENCE, async || {
            let status = self.pair.status(ServerId::A).await;
            condition(status.expect("an answer").clients)
        })
        .await;
    }

    async fn break_lock(&self, name: &str) {
        let lock = self.clerk.show(name).await.expect("an answer");
        let token = lock.entries[0].token.expect("it is held");
        let broken = self.clerk.break_lock(name, token, "a test").await;
        assert!(broken.expect("an answer").is_broken());
    }
}

#[tokio::test]
async fn what_was_changed_is_told_where_the_answer_could_not_be_written() {
    let fixture = Fixture::new().await;
    for (fault, why) in [
        (ReaderGone, "its reader has gone"),
        (Full, "No space left on device (os error 28)"),
    ] {
        let told = |what| {
            let line = format!("lockc: {what}, but the answer could not be written: {why}\n");
            (Some(74), line)
        };
        let ended = fixture.run("lock x", Stdout, fault).await;
        assert_eq!(ended, told("the lock `x` is now held"));
        assert!(fixture.is_held("x").await);
        let ended = fixture.run("unlock x", Stdout, fault).await;
        assert_eq!(ended, told("the lock `x` is now free"));
        let held = fixture.clerk.acquire("x").await.expect("it is free");
        let line = format!("break x --token {} --reason why", held.token());
        let ended = fixture.run(&line, Stdout, fault).await;
        assert_eq!(ended, told("the lock `x` was taken from its holder"));
        assert!(!fixture.is_held("x").await);
    }
}

#[tokio::test]
async fn a_look_ends_quietly_when_its_reader_has_gone_and_says_so_when_it_cannot_be_written() {
    let fixture = Fixture::new().await;
    assert!(fixture.clerk.lock("x").await.expect("an answer"));
    for (line, code) in [
        ("ls", 0),
        ("show x", 0),
        ("show y", 1),
        ("why x", 0),
        ("lock x", 1),
        ("status", 0),
        ("watch", 0),
        ("completions bash", 0),
    ] {
        let ended = fixture.run(line, Stdout, ReaderGone).await;
        assert_eq!(ended, (Some(code), String::new()), "{line}");
        let (code, told) = fixture.run(line, Stdout, Full).await;
        let expected = "lockc: cannot write the answer: No space left on device (os error 28)\n";
        assert_eq!((code, told.as_str()), (Some(74), expected), "{line}");
    }
    let ended = fixture.run("ls", Stdout, Closed).await;
    assert_eq!(ended, (Some(0), String::new()));
}

#[tokio::test]
async fn a_watch_ends_with_its_reader_though_nothing_changes() {
    let fixture = Fixture::new().await;
    assert!(fixture.clerk.lock("x").await.expect("an answer"));
    let mut watch = fixture.start("watch", Stderr, Closed);
    let line = watch.first_line().await;
    assert!(line.starts_with("x: locked"), "{line}");
    assert_eq!(watch.code().await, Some(0));
}

#[tokio::test]
async fn a_watch_that_cannot_write_still_heeds_signals() {
    let fixture = Fixture::new().await;
    assert!(fixture.clerk.lock("x").await.expect("an answer"));
    let mut watch = fixture.start("watch --every 10ms", Stdout, Blocked);
    fixture
        .wait_until_clients("it has connected", |count| count == 2)
        .await;
    watch.send(Signal::HUP);
    assert_eq!(watch.code().await, Some(0));
}

#[tokio::test]
async fn a_watch_that_cannot_complain_goes_on() {
    let mut fixture = Fixture::new().await;
    for fault in [Blocked, Full] {
        assert!(fixture.clerk.lock("x").await.expect("an answer"));
        let mut watch = fixture.start("--timeout 2s watch --every 10ms", Stderr, fault);
        let stdout = watch.child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let mut next_line = async || {
            lines
                .next_line()
                .await
                .expect("it is text")
                .expect("a line")
        };
        assert_eq!(next_line().await, "x: locked, and belongs to nobody");
        for server in ServerId::BOTH {
            fixture.pair.kill(server);
        }
        // A look that nobody answers takes 2 s, and is complained of.
        let clerk = Clerk::builder(fixture.pair.servers().clone()).timeout(Duration::from_secs(3));
        assert!(clerk.connect().await.is_err(), "no server runs");
        for server in ServerId::BOTH {
            fixture.pair.run(server);
        }
        assert_eq!(next_line().await, "x: unlocked", "{fault:?}");
        watch.send(Signal::TERM);
        assert_eq!(watch.code().await, Some(0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_command_is_ended_in_time_though_nothing_can_be_said() {
    let fixture = Fixture::new().await;
    for fault in Fault::ALL {
        let script = "echo up; exec sleep 1000";
        let mut run = Faulty::start(
            env!("CARGO_BIN_EXE_lockc"),
            &["run", "--lease", "1s", "x", "--", "sh", "-c", script],
            &fixture.pair.servers().to_string(),
            (Stderr, fault),
            Stdio::piped(),
        );
        assert_eq!(run.first_line().await, "up");
        fixture.break_lock("x").await;
        assert_eq!(run.code().await, Some(75), "{fault:?}");
        assert!(!fixture.is_held("x").await);

        let (code, _) = fixture.run("run x -- no-such-command", Stderr, fault).await;
        assert_eq!(code, Some(127), "{fault:?}");
        assert!(!fixture.is_held("x").await);
    }
}

#[tokio::test]
async fn who_cannot_say_that_it_leads_does_not() {
    let fixture = Fixture::new().await;
    let ended = fixture.run("elect x", Stdout, Full).await;
    let expected = "lockc: cannot write the answer: No space left on device (os error 28)\n";
    assert_eq!(ended, (Some(74), expected.to_owned()));
    assert!(!fixture.is_held("x").await);

    let (_, told) = fixture.run("elect x", Stdout, ReaderGone).await;
    assert_eq!(told, "");
    assert!(!fixture.is_held("x").await);

    let mut elect = fixture.start("elect x", Stdout, Blocked);
    fixture.wait_until_held("x").await;
    elect.send(Signal::HUP);
    // It has resigned, or had not been told yet that it is elected.
    let code = elect.code().await;
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    assert!(!fixture.is_held("x").await);

    for fault in Fault::ALL {
        let mut elect = fixture.start("elect x", Stderr, fault);
        fixture.wait_until_held("x").await;
        fixture.break_lock("x").await;
        assert_eq!(elect.code().await, Some(75), "{fault:?}");
    }
}

#[tokio::test]
async fn a_leader_resigns_when_its_reader_has_gone() {
    let fixture = Fixture::new().await;
    let mut elect = fixture.start("elect x", Stderr, Closed);
    let line = elect.first_line().await;
    assert!(line.starts_with("leader "), "{line}");
    assert_eq!(elect.code().await, Some(0));
    assert!(!fixture.is_held("x").await);
}

#[tokio::test]
async fn a_shell_gives_back_what_it_owns_whatever_ends_it() {
    let fixture = Fixture::new().await;
    // A signal, also while an answer cannot be written.
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        for (which, fault) in [(Stdout, Blocked), (Stderr, Blocked)] {
            let mut shell = fixture.start("shell", which, fault);
            shell
                .stdin
                .write_all(b"acquire x\n")
                .await
                .expect("it reads");
            fixture.wait_until_held("x").await;
            shell.send(signal);
            assert_eq!(shell.code().await, Some(code), "{which:?}");
            assert!(!fixture.is_held("x").await, "{signal:?} {which:?}");
        }
    }
    // Its reader.
    let mut shell = fixture.start("shell", Stderr, Closed);
    shell
        .stdin
        .write_all(b"acquire x\n")
        .await
        .expect("it reads");
    shell.first_line().await;
    assert_eq!(shell.code().await, Some(0));
    assert!(!fixture.is_held("x").await);
}

#[tokio::test]
async fn a_shell_tells_what_it_has_changed_where_the_answer_could_not_be_written() {
    let fixture = Fixture::new().await;
    let mut shell = fixture.start("shell", Stdout, Full);
    shell.stdin.write_all(b"lock x\n").await.expect("it reads");
    let expected = "lockc: the lock `x` is now held, but the answer could not be written: No space \
                    left on device (os error 28)\n";
    assert_eq!(shell.ended().await, (Some(74), expected.to_owned()));
    assert!(fixture.is_held("x").await);
}

#[tokio::test]
async fn torture_comes_to_its_end_whatever_can_be_written() {
    let fixture = Fixture::new().await;
    let line = "torture --duration 100ms --clerks 2 --in-flight 1 --owners 1 --locks 4";
    for fault in Fault::ALL {
        let (code, report) = fixture.run(line, Stderr, fault).await;
        assert_eq!(code, Some(0), "{fault:?}");
        assert!(report.starts_with("CLEAN"), "{report}");
    }
    let ended = fixture.run(line, Stdout, ReaderGone).await;
    assert_eq!(ended, (Some(0), String::new()));
    let (code, told) = fixture.run(line, Stdout, Full).await;
    assert_eq!(code, Some(74), "{told}");
    // The first signal ends the load, the second one what cannot be written.
    let line = line.replace("100ms", "1h");
    let mut torture = fixture.start(&line, Stdout, Blocked);
    fixture
        .wait_until_clients("it has connected", |count| count > 1)
        .await;
    torture.send(Signal::TERM);
    fixture
        .wait_until_clients("it has left", |count| count == 1)
        .await;
    torture.send(Signal::TERM);
    assert_eq!(torture.code().await, Some(70));
}
