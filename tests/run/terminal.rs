//! A command at the terminal of a shell with job control. `script` makes the terminal.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::program::PATIENCE;
use crate::stage::{FROM_A_TERMINAL, Stage, is_stopped};

const CTRL_C: &str = "\u{3}";
const CTRL_Z: &str = "\u{1a}";

/// What a script does after it has said that it is ready: it leaves the terminal alone, or it reads from it.
const FIRST: [&str; 2] = ["", "read a; echo b\"\"ack $a;"];

/// An interactive shell.
struct Shell {
    _child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Shell {
    async fn start(stage: &Stage) -> Self {
        let [env, default] = FROM_A_TERMINAL;
        let mut child = Command::new(env)
            .args([default, "script", "-qefc", "exec sh -i", "/dev/null"])
            .env_clear()
            .env("PS1", "READY> ")
            .env("LOCK_SERVERS", stage.pair.servers().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("there is `script`");
        let mut shell = Self {
            keyboard: child.stdin.take().expect("a pipe"),
            screen: child.stdout.take().expect("a pipe"),
            _child: child,
            shown: String::new(),
        };
        shell.shows("READY> ").await;
        shell
    }

    async fn types(&mut self, keys: &str) {
        let typed = self.keyboard.write_all(keys.as_bytes()).await;
        typed.expect("it reads");
        self.keyboard.flush().await.expect("it reads");
    }

    /// Waits until `text` is shown, after what was waited for before. Gives what was shown before it.
    async fn shows(&mut self, text: &str) -> String {
        let mut bytes = [0; 1024];
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            let read = timeout(PATIENCE, self.screen.read(&mut bytes)).await;
            let length = read
                .unwrap_or_else(|_| panic!("no `{text}` in {:?}", self.shown))
                .expect("it shows");
            assert!(length > 0, "no `{text}` in {:?}", self.shown);
            self.shown += &String::from_utf8_lossy(&bytes[..length]);
        }
    }

    async fn runs(&mut self, script: &str) {
        let lockc = env!("CARGO_BIN_EXE_lockc");
        self.types(&format!("{lockc} run x sh -c '{script}'\n"))
            .await;
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
    let stage = Stage::new().await;
    let mut shell = Shell::start(&stage).await;
    shell.runs("echo re\"\"ady; read a; echo got $a $a").await;
    shell.shows("ready").await;
    shell.types("it\n").await;
    shell.shows("got it it").await;
    shell.shows("READY> ").await;
    shell.types("read b; echo got $b $b\nalso\n").await;
    shell.shows("got also also").await;
}

#[tokio::test]
async fn ctrl_c_interrupts_a_command_whether_it_has_the_terminal_or_not() {
    let stage = Stage::new().await;
    let mut shell = Shell::start(&stage).await;
    for first in FIRST {
        shell
            .runs(&format!(
                "trap \"echo interr\"\"upted; exit 9\" INT; echo re\"\"ady; {first} while :; do sleep 0.01; done"
            ))
            .await;
        shell.does(first).await;
        shell.types(CTRL_C).await;
        shell.shows("interrupted").await;
        shell.shows("READY> ").await;
        shell.types("echo code $?\n").await;
        shell.shows("code 9").await;
    }
}

#[tokio::test]
async fn ctrl_z_suspends_a_command_and_it_goes_on_in_the_foreground() {
    let stage = Stage::new().await;
    let mut shell = Shell::start(&stage).await;
    for first in FIRST {
        shell
            .runs(&format!("echo re\"\"ady; {first} read b; echo and $b $b"))
            .await;
        shell.does(first).await;
        shell.types(CTRL_Z).await;
        shell.shows("Stopped").await;
        shell.shows("READY> ").await;
        shell.types("fg\n").await;
        shell.types("on\n").await;
        shell.shows("and on on").await;
        shell.shows("READY> ").await;
    }
}

#[tokio::test]
async fn a_command_in_the_background_is_stopped_when_it_reads() {
    let stage = Stage::new().await;
    let mut shell = Shell::start(&stage).await;
    let lockc = env!("CARGO_BIN_EXE_lockc");
    shell
        .types(&format!(
            "{lockc} run x sh -c 'read a; echo got $a $a' & echo pi\"\"d $!.\n"
        ))
        .await;
    shell.shows("pid ").await;
    let number = shell.shows(".").await;
    is_stopped(&number).await;
    shell.types("fg\nit\n").await;
    shell.shows("got it it").await;
}
