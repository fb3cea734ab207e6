//! A command at the terminal of a shell with job control.

use std::fs;

use lockservice::Clerk;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fixture::{FROM_A_TERMINAL, Fixture, is_stopped};
use crate::program::PATIENCE;
use crate::terminal::Terminal;

const LOCKC: &str = env!("CARGO_BIN_EXE_lockc");

const CTRL_C: &str = "\u{3}";
const CTRL_Z: &str = "\u{1a}";

/// What clears a line of a terminal, and goes to its beginning.
const CLEARED: &str = "\r\u{1b}[2K";

/// What a script does after it has said that it is ready: it leaves the terminal alone, or it reads
/// from it.
const FIRST: [&str; 2] = ["", "read a; echo b\"\"ack $a;"];

/// An interactive shell.
struct Shell(Terminal);

impl Shell {
    async fn start(fixture: &Fixture) -> Self {
        let mut shell = Self::running(fixture, "exec sh -i");
        shell.shows("READY> ").await;
        shell
    }

    /// One that carries out a script.
    fn carries_out(fixture: &Fixture, shell: &str, script: &str) -> Self {
        let path = fixture.path("script");
        fs::write(&path, script).expect("a file");
        Self::running(fixture, &format!("exec {shell} {}", path.display()))
    }

    fn running(fixture: &Fixture, command: &str) -> Self {
        let [env, default] = FROM_A_TERMINAL;
        let mut script = Command::new(env);
        script
            .args([default, "script"])
            .env_clear()
            .env("PS1", "READY> ")
            .env("TERM", "xterm")
            .env("LOCK_SERVERS", fixture.pair.servers().to_string());
        Self(Terminal::start(script, command))
    }

    async fn types(&mut self, keys: &str) {
        self.0.types(keys).await;
    }

    async fn shows(&mut self, text: &str) -> String {
        self.0.shows(text).await
    }

    async fn runs(&mut self, script: &str) {
        self.runs_under("run x", script).await;
    }

    async fn runs_under(&mut self, words: &str, script: &str) {
        self.types(&format!("{LOCKC} {words} sh -c '{script}'\n"))
            .await;
    }

    /// Waits until the command is over, and has ended with `code`.
    async fn has_code(&mut self, code: u8) {
        self.shows("READY> ").await;
        self.types("echo code $?\n").await;
        self.shows(&format!("code {code}")).await;
    }

    /// Suspends the command.
    async fn suspends(&mut self) {
        self.types(CTRL_Z).await;
        self.shows("Stopped").await;
        self.shows("READY> ").await;
    }

    /// Waits until the command is over, and the next one can read from the terminal.
    async fn reads(&mut self) {
        self.shows("READY> ").await;
        self.types("read b; echo got $b $b\nalso\n").await;
        self.shows("got also also").await;
    }

    /// Waits until it has ended, and gives the rest of what it shows.
    async fn ends(&mut self) -> String {
        let Terminal { screen, shown, .. } = &mut self.0;
        let rest = timeout(PATIENCE, screen.read_to_string(shown)).await;
        rest.expect("it ends in time").expect("it shows text");
        shown.clone()
    }

    /// Waits until the script that it runs is ready, and has done one of [`FIRST`].
    async fn does(&mut self, first: &str) {
        self.shows("ready").await;
        if !first.is_empty() {
            self.types("it\n").await;
            self.shows("back it").await;
        }
    }
}

#[tokio::test]
async fn a_command_can_read_from_the_terminal_and_the_next_one_too() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    shell.runs("echo re\"\"ady; read a; echo got $a $a").await;
    shell.shows("ready").await;
    shell.types("it\n").await;
    shell.shows("got it it").await;
    shell.reads().await;
}

#[tokio::test]
async fn ctrl_c_interrupts_a_command_whether_it_has_the_terminal_or_not() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    for first in FIRST {
        shell
            .runs(&format!(
                "trap \"echo interr\"\"upted; exit 9\" INT; echo re\"\"ady; {first} while :; do sleep 0.01; done"
            ))
            .await;
        shell.does(first).await;
        shell.types(CTRL_C).await;
        shell.shows("interrupted").await;
        shell.has_code(9).await;
    }
}

#[tokio::test]
async fn ctrl_z_suspends_a_command_and_it_goes_on_in_the_foreground() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    for first in FIRST {
        shell
            .runs(&format!("echo re\"\"ady; {first} read b; echo and $b $b"))
            .await;
        shell.does(first).await;
        shell.suspends().await;
        shell.types("fg\n").await;
        shell.types("on\n").await;
        shell.shows("and on on").await;
        shell.shows("READY> ").await;
    }
}

#[tokio::test]
async fn a_command_in_the_background_is_stopped_when_it_reads() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    shell
        .types(&format!(
            "{LOCKC} run x sh -c 'read a; echo got $a $a' & echo pi\"\"d $!.\n"
        ))
        .await;
    shell.shows("pid ").await;
    let number = shell.shows(".").await;
    is_stopped(&number).await;
    shell.types("fg\nit\n").await;
    shell.shows("got it it").await;
}

/// What runs a command under two locks.
fn nested() -> String {
    format!("run --lease 3s a -- {LOCKC} run --lease 3s b --")
}

#[tokio::test]
async fn a_command_under_two_locks_can_use_the_terminal() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    shell
        .runs_under(&nested(), "read a; read b; echo got $a $b $b")
        .await;
    shell.types("it\nall\n").await;
    shell.shows("got it all all").await;
    shell.reads().await;
}

#[tokio::test]
async fn ctrl_c_and_ctrl_z_reach_a_command_under_two_locks() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    for first in FIRST {
        shell
            .runs_under(
                &nested(),
                &format!("echo re\"\"ady; {first} exec sleep 1000"),
            )
            .await;
        shell.does(first).await;
        shell.suspends().await;
        shell.types("fg\n").await;
        shell.shows("fg").await;
        shell.shows(LOCKC).await;
        shell.types(CTRL_C).await;
        shell.has_code(130).await;
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_script_around_it_too() {
    let fixture = Fixture::new().await;
    for (sh, first) in [
        ("bash", FIRST[0]),
        ("bash", FIRST[1]),
        ("dash", FIRST[0]),
        ("dash", FIRST[1]),
    ] {
        let script = format!(
            "{LOCKC} run x sh -c 'echo re\"\"ady; {first} exec sleep 1000'; echo went \"\"on"
        );
        let mut shell = Shell::carries_out(&fixture, sh, &script);
        shell.does(first).await;
        shell.types(CTRL_C).await;
        let rest = shell.ends().await;
        assert!(!rest.contains("went on"), "{sh}, {first}: {rest}");
        assert_eq!(fixture.code("-n x", "true").await, Some(0));
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_script_around_one_that_waits_too() {
    let fixture = Fixture::new().await;
    let clerk = fixture.pair.clerk().await;
    for sh in ["bash", "dash"] {
        let guard = clerk.acquire("x").await.expect("the pair answers");
        let script = format!("{LOCKC} run x echo ran; echo went \"\"on");
        let mut shell = Shell::carries_out(&fixture, sh, &script);
        guard.contended().await;
        shell.types(CTRL_C).await;
        let rest = shell.ends().await;
        assert!(
            !rest.contains("on") && !rest.contains("ran"),
            "{sh}: {rest}"
        );
        guard.release().await.expect("it is held");
    }
}

/// It makes up its mind itself, as an editor does.
#[tokio::test]
async fn ctrl_c_does_not_end_the_script_around_a_command_that_handles_it() {
    let fixture = Fixture::new().await;
    // Not dash, which dies of the interrupt without waiting for the command.
    for first in FIRST {
        let script = format!(
            "{LOCKC} run x sh -c 'trap \"exit 5\" INT; echo ready; {first} \
             while :; do sleep 0.01; done'; echo went \"\"on $?"
        );
        let mut shell = Shell::carries_out(&fixture, "bash", &script);
        shell.does(first).await;
        shell.types(CTRL_C).await;
        let rest = shell.ends().await;
        assert!(rest.contains("went on 5"), "{first}: {rest}");
    }
}

#[tokio::test]
async fn a_command_that_was_suspended_for_longer_than_its_lease_has_lost_its_lock() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    for first in FIRST {
        let witness = fixture.witness("witness");
        let script = witness.of(&format!("echo re\"\"ady; {first} exec sleep 1000"));
        shell.runs_under("run --lease 1s x", &script).await;
        shell.does(first).await;
        shell.suspends().await;
        witness.is_freed().await;
        shell.types("fg\n").await;
        shell.shows("the lock was not renewed in time").await;
        shell.has_code(75).await;
    }
}

#[tokio::test]
async fn when_lockc_is_killed_its_shell_has_the_terminal_again() {
    let fixture = Fixture::new().await;
    let script = format!(
        "{LOCKC} run x sh -c 'echo re\"\"ady; {} kill -KILL $PPID; exec sleep 1000'
         until read b; do :; done 2>/dev/null; echo got $b $b",
        FIRST[1]
    );
    let mut shell = Shell::carries_out(&fixture, "sh", &script);
    shell.does(FIRST[1]).await;
    shell.types("on\n").await;
    shell.shows("got on on").await;
}

#[tokio::test]
async fn it_says_what_it_waits_for_until_the_command_starts() {
    let fixture = Fixture::new().await;
    let clerk = fixture.pair.clerk().await;
    let guard = clerk.acquire("x").await.expect("the pair answers");
    let mut first = fixture.run("x", "echo mine; cat");
    guard.contended().await;
    let mut shell = Shell::start(&fixture).await;
    shell.runs("echo mi\"\"ne").await;
    shell.shows("waiting for x, held by ").await;
    shell.shows("1 ahead").await;
    guard.release().await.expect("it is held");
    first.says("mine").await;
    shell.shows("waiting for x, held by ").await;
    shell.shows("0 ahead").await;
    first.hush();
    let before = shell.shows("mine").await;
    assert!(before.ends_with(CLEARED), "{before:?}");
    shell.shows("READY> ").await;
}

#[tokio::test]
async fn the_name_of_the_holder_cannot_write_to_the_terminal() {
    let fixture = Fixture::new().await;
    let builder = Clerk::builder(fixture.pair.servers().clone());
    let connect = builder.name("a\x1b[31m\nb\u{202e}\tc").connect();
    let clerk = connect.await.expect("the pair answers");
    let guard = clerk.acquire("x").await.expect("it is free");
    let mut shell = Shell::start(&fixture).await;
    shell.runs("echo mi\"\"ne").await;
    shell.shows("waiting for x, held by ").await;
    let name = shell.shows(" for ").await;
    assert_eq!(name, r"a\u{1b}[31m\nb\u{202e}\tc");
    guard.release().await.expect("it is held");
    shell.shows("mine").await;
}

#[tokio::test]
async fn the_command_does_not_get_a_mask_that_is_lockcs_own() {
    let fixture = Fixture::new().await;
    let mut shell = Shell::start(&fixture).await;
    shell.runs("exec grep SigBlk /proc/self/status").await;
    shell.shows("SigBlk:\t0000000000000000").await;
}
