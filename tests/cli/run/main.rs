//! `lockc run` as its users know it: a real pair, real commands, signals, kills.
#![cfg(target_os = "linux")]

mod at_a_terminal;
mod death;
#[path = "../../support/edition/mod.rs"]
mod edition;
mod fixture;
mod loss;
mod nested;
#[path = "../../support/program/mod.rs"]
mod program;
#[path = "../../support/terminal/mod.rs"]
mod terminal;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use tokio::process::Command;

use self::fixture::{Fixture, lockc};
use self::program::Program;

#[tokio::test]
async fn it_ends_as_its_command_does() {
    let fixture = Fixture::new().await;
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("exit 130", 130),
    ] {
        assert_eq!(fixture.code("x", script).await, Some(code), "{script}");
    }
}

#[tokio::test]
async fn it_dies_of_the_signal_that_its_command_died_of() {
    let fixture = Fixture::new().await;
    for signal in [
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::KILL,
        Signal::HUP,
        Signal::PIPE,
        Signal::USR1,
        Signal::SEGV,
    ] {
        let script = format!("kill -{} $$", signal.as_raw());
        let status = fixture.run("x", &script).exited().await;
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
        assert!(!status.core_dumped(), "{status:?}");
        assert_eq!(fixture.code("-n x", "true").await, Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn a_signal_that_shells_do_not_know_is_told_as_a_code() {
    let fixture = Fixture::new().await;
    let status = fixture.run("x", "kill -40 $$").exited().await;
    assert_eq!(status.code(), Some(128 + 40), "{status:?}");
}

#[tokio::test]
async fn a_command_that_cannot_be_run_ends_with_126_or_127() {
    let fixture = Fixture::new().await;
    for (command, code) in [
        ("/no/such/command", 127),
        ("nosuchcommand", 127),
        ("/etc/passwd", 126),
        ("/", 126),
    ] {
        let mut run = Program::start(fixture.lockc(&format!("run x {command} -x")));
        let (out, err) = run.rest().await;
        assert_eq!(run.exited().await.code(), Some(code), "{command}");
        assert_eq!((out.as_str(), err.lines().count()), ("", 1), "{err}");
        assert!(
            err.starts_with(&format!("lockc: cannot run `{command}`: ")),
            "{err}"
        );
    }
}

#[tokio::test]
async fn the_command_has_the_streams_and_knows_its_lock() {
    let fixture = Fixture::new().await;
    let script = "cat; echo \"$LOCK_NAME\"; echo $LOCK_TOKEN $LOCK_SESSION; echo oops >&2";
    let mut run = fixture.run("jobs/nightly", script);
    run.tell("one\ntwo").await;
    run.says("one").await;
    run.says("two").await;
    run.hush();
    run.says("jobs/nightly").await;
    let numbers = run.line().await;
    let numbers: Vec<u64> = numbers
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert!(
        numbers[0] > numbers[1],
        "the session is older than its lock: {numbers:?}"
    );
    assert_eq!(run.rest().await, (String::new(), "oops\n".to_owned()));
    assert_eq!(run.exited().await.code(), Some(0));
}

#[tokio::test]
async fn every_run_has_a_higher_token_than_those_before() {
    let fixture = Fixture::new().await;
    let mut last = 0;
    for _ in 0..3 {
        let mut run = fixture.run("x", "echo $LOCK_TOKEN");
        let token: u64 = run.line().await.parse().expect("a number");
        assert!(token > last);
        last = token;
        run.exited().await;
    }
}

#[tokio::test]
async fn what_follows_the_name_and_its_options_belongs_to_the_command() {
    let fixture = Fixture::new().await;
    for words in [
        "x echo -n -- -s",
        "x -n echo -n -- -s",
        "-s x -- echo -n -- -s",
    ] {
        let mut run = Program::start(fixture.lockc(&format!("run {words}")));
        assert_eq!(run.rest().await.0, "-- -s", "{words}");
    }
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_or_not_as_it_is_told() {
    let fixture = Fixture::new().await;
    let mut holder = fixture.run("x", "echo held; cat");
    holder.says("held").await;
    for (words, code) in [
        ("-n x", 1),
        ("-n -E 44 x", 44),
        ("-w 0 x", 1),
        ("-w 0.05 x", 1),
        ("-E 0 x -w 50ms", 0),
    ] {
        let mut run = fixture.run(words, "echo ran");
        let (out, err) = run.rest().await;
        assert_eq!(run.exited().await.code(), Some(code), "{words}");
        assert_eq!(out, "", "{words}");
        if code == 0 {
            assert_eq!(err, "", "{words}");
        } else {
            assert!(err.starts_with("lockc: not run: x is held by "), "{err}");
            assert!(err.contains(&format!("; exit code {code}")), "{err}");
            assert_eq!(err.contains("(-E "), code == 1, "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    assert_eq!(fixture.code("-n y", "exit 5").await, Some(5));

    let mut patient = fixture.run("-w 60 x", "echo mine");
    let mut stubborn = fixture.run("x", "echo mine");
    assert!(!patient.has_ended() && !stubborn.has_ended());
    holder.hush();
    for run in [&mut patient, &mut stubborn] {
        run.says("mine").await;
        assert_eq!(run.exited().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_lock_can_be_shared_but_only_by_those_who_all_do() {
    let fixture = Fixture::new().await;
    let mut holder = fixture.run("-s x", "echo held; cat");
    holder.says("held").await;
    assert_eq!(fixture.code("-s -n x", "exit 5").await, Some(5));
    assert_eq!(fixture.code("-n x", "exit 5").await, Some(1));
}

#[tokio::test]
async fn the_lock_is_free_when_the_command_has_ended() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        assert_eq!(fixture.code("-n x", "true").await, Some(0));
    }
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_before_the_lock_is_free() {
    let fixture = Fixture::new().await;
    for (left, last) in [
        (
            "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.01; done",
            "bye\n",
        ),
        ("trap '' TERM; echo up; exec sleep 1000", ""),
        ("echo up; sleep 1000 & kill -STOP $!", ""),
    ] {
        let witness = fixture.witness("witness");
        let script = witness.of(&format!("({left}) & read go; exit 3"));
        let mut run = fixture.run("--lease 5s x", &script);
        run.says("up").await;
        run.tell("go").await;
        assert_eq!(run.exited().await.code(), Some(3), "{left}");
        assert!(witness.is_free(), "{left}");
        assert_eq!(run.rest().await.0, last);
        assert_eq!(fixture.code("-n x", "true").await, Some(0));
    }
}

/// A parent that has left the group does not wait for a child in it, which stays there as a zombie.
#[tokio::test]
async fn a_zombie_in_the_group_does_not_hold_the_lock() {
    let fixture = Fixture::new().await;
    for (ending, signal) in [("exit 3", None), ("sleep 1000 & wait", Some(Signal::TERM))] {
        let daemon = "echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1";
        let script = format!("(true & exec setsid sh -c '{daemon}') & read go; {ending}");
        let mut run = fixture.run("--lease 1h --grace 30m x", &script);
        let daemon = run.line().await.parse().expect("a number");
        run.tell("go").await;
        if let Some(signal) = signal {
            run.send(signal);
        }
        let status = run.exited().await;
        let daemon = Pid::from_raw(daemon).expect("not zero");
        kill_process(daemon, Signal::KILL).expect("it goes on");
        let ended = (status.code(), status.signal());
        let expected = signal.map_or((Some(3), None), |signal| (None, Some(signal.as_raw())));
        assert_eq!(ended, expected, "{ending}");
    }
}

#[tokio::test]
async fn no_zombie_is_left_of_the_watchdog() {
    let fixture = Fixture::new().await;
    let mut run = fixture.run("x", "echo ready; read go");
    run.says("ready").await;
    let watchdog = run.watchdog().await;
    run.hush();
    run.exited().await;
    assert!(!Path::new(&format!("/proc/{watchdog}")).exists());
}

#[tokio::test]
async fn signals_are_passed_on_to_the_whole_group() {
    let fixture = Fixture::new().await;
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("WINCH", Signal::WINCH),
    ] {
        let trap = |who| format!("trap 'echo {who}; exit 4' {name}");
        let script = format!(
            "{}; ({}; echo ready; while :; do sleep 0.01; done)",
            trap("parent"),
            trap("child")
        );
        let mut run = fixture.run(name, &script);
        run.says("ready").await;
        run.send(signal);
        run.says("child").await;
        run.says("parent").await;
        assert_eq!(run.exited().await.code(), Some(4), "{name}");
    }
}

#[tokio::test]
async fn a_signal_that_was_ignored_stays_so() {
    let fixture = Fixture::new().await;
    let script = "trap 'echo got it' HUP; echo ready; cat";
    let mut run = fixture.run_without_hangup("x", script);
    run.says("ready").await;
    run.send(Signal::HUP);
    run.tell("still here").await;
    run.says("still here").await;
    run.hush();
    assert_eq!(run.rest().await.0, "");
    assert_eq!(run.exited().await.code(), Some(0));
}

#[tokio::test]
async fn whoever_is_interrupted_while_it_waits_leaves_the_queue() {
    let fixture = Fixture::new().await;
    let clerk = fixture.pair.clerk().await;
    for signal in [Signal::TERM, Signal::INT, Signal::USR1] {
        let name = format!("{signal:?}");
        let guard = clerk.acquire(&name).await.expect("the pair answers");
        let mut waiter = fixture.run(&format!("--lease 1h {name}"), "echo ran");
        guard.contended().await;
        waiter.send(signal);
        let status = waiter.exited().await;
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
        assert_eq!(waiter.rest().await, (String::new(), String::new()));
        guard.release().await.expect("it is held");
        assert_eq!(fixture.code(&name, "exit 5").await, Some(5));
    }
}

#[tokio::test]
async fn without_a_server_it_ends_with_69() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    let mut command = lockc();
    command.args([
        "--servers",
        &format!("unix:{path}/a,unix:{path}/b"),
        "--timeout",
        "50ms",
    ]);
    command.args(["run", "x", "true"]);
    let mut run = Program::start(command);
    let (_, err) = run.rest().await;
    assert_eq!(run.exited().await.code(), Some(69));
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// The default of `--timeout` is 10 seconds.
#[tokio::test]
async fn without_a_server_it_waits_no_longer_than_it_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().display();
    let begun = Instant::now();
    let runs = ["-n", "-w 0", "-w 0.1", "-w 2"].map(|words| {
        let mut command = lockc();
        command.env("LOCK_SERVERS", format!("unix:{path}/a,unix:{path}/b"));
        command
            .arg("run")
            .args(words.split(' '))
            .args(["x", "true"]);
        Program::start(command)
    });
    for mut run in runs {
        let (_, err) = run.rest().await;
        assert_eq!(run.exited().await.code(), Some(69), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_leaves_the_group_is_not_waited_for_and_that_is_said() {
    let fixture = Fixture::new().await;
    let daemon = "echo $$; exec sleep 1000 </dev/null >/dev/null 2>&1";
    let mut run = fixture.run("x", &format!("setsid sh -c '{daemon}' & read go; exit 3"));
    let number = run.line().await;
    run.tell("go").await;
    assert_eq!(run.exited().await.code(), Some(3));
    assert_eq!(fixture.code("-n x", "true").await, Some(0));
    let daemon = Pid::from_raw(number.parse().expect("a number")).expect("not zero");
    kill_process(daemon, Signal::KILL).expect("it goes on");
    let (_, err) = run.rest().await;
    // It may be named before it has become `sleep`.
    let named = "lockc: left running without the lock, in a session or process group of its own: s";
    let number = format!(" (pid {number})\n");
    assert!(err.starts_with(named) && err.ends_with(&number), "{err}");
}

#[tokio::test]
async fn the_command_ignores_and_blocks_what_lockc_was_started_to() {
    let fixture = Fixture::new().await;
    let script = "exec grep -E '^Sig(Ign|Blk):' /proc/self/status";
    for starter in [
        ["env", "--default-signal=HUP,INT,QUIT,PIPE"],
        ["env", "--ignore-signal=PIPE"],
        [
            "env",
            "--ignore-signal=HUP,INT,QUIT,TERM,USR1,USR2,TSTP,TTIN,TTOU,WINCH,PIPE,ALRM",
        ],
        ["env", "--block-signal=USR1,TTOU,TTIN,PIPE"],
    ] {
        let mut shell = Command::new(starter[0]);
        shell.args([starter[1], "sh", "-c", script]);
        let expected = shell.output().await.expect("it runs").stdout;
        let expected = String::from_utf8(expected).expect("text");
        let mut run = fixture.run_by(&starter, "x", script);
        assert_eq!(run.rest().await, (expected, String::new()), "{starter:?}");
    }
}

#[tokio::test]
async fn a_time_to_wait_is_not_negative() {
    let mut command = lockc();
    command.args(["run", "-w", "-1", "x", "true"]);
    let mut run = Program::start(command);
    let (_, err) = run.rest().await;
    assert_eq!(run.exited().await.code(), Some(2));
    assert!(err.contains("a duration is not negative"), "{err}");
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    for words in [
        "run x",
        "run -n -w 1 x true",
        "run --lease 1s --grace 600ms x true",
        "run --lease 5ms x true",
    ] {
        let mut command = lockc();
        command.args(words.split(' '));
        let mut run = Program::start(command);
        let (out, err) = run.rest().await;
        assert_eq!(run.exited().await.code(), Some(2), "{words}");
        assert!(out.is_empty() && !err.is_empty(), "{words}");
    }
}
