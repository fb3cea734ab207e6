//! The completion of `lockc` in real shells, with a real pair of servers. A shell that is not
//! installed is skipped, and its tests say so.
#![cfg(target_os = "linux")]

mod shell;
#[path = "../../support/terminal/mod.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lockservice::Clerk;
use lockservice::testkit::{Pair, PairOptions};
use tempfile::TempDir;
use tokio::process::Command;

use self::shell::Shell;

const LOCKC: &str = env!("CARGO_BIN_EXE_lockc");

/// What every shell would split, expand or end a command at.
const STRANGE: &str = "my lock; it's \"a\" $HOME *";

/// What would act on the terminal.
const HOSTILE: &str = "hostile\x1b[31m\nname";

/// Servers that do not run.
const NOBODY: &str = "unix:/nobody/1,unix:/nobody/2";

/// A pair on which some locks are held, and a directory with `lockc`, a command and a file.
struct Stage {
    pair: Pair,
    directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let options = PairOptions::processes(env!("CARGO_BIN_EXE_lockd")).unix();
        let pair = Pair::start(options).await;
        let clerk = Clerk::connect(pair.servers().clone()).await;
        let clerk = clerk.expect("a server answers");
        for name in ["jobs/nightly", "jobs:tables", STRANGE, HOSTILE] {
            assert!(clerk.lock(name).await.expect("an answer"), "{name}");
        }
        clerk.close().await;
        let directory = tempfile::tempdir().expect("a directory");
        let stage = Self { pair, directory };
        symlink(LOCKC, stage.path("lockc")).expect("a link");
        let command = stage.path("nightlyjob");
        fs::write(&command, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::write(stage.path("one file"), "").expect("a file");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program that finds `lockc`, the servers and the file.
    fn command(&self, program: &str) -> Command {
        let directory = self.directory.path();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
            .env("HOME", directory)
            .env("TERM", "xterm")
            .env("LOCK_SERVERS", self.pair.servers().to_string())
            .env("LOCK_COMPLETION_TIMEOUT", "1m")
            .current_dir(directory);
        command
    }

    /// What is typed, and the words that have come of it.
    fn cases(&self) -> Vec<(String, Vec<String>)> {
        let servers = self.pair.servers().to_string();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let strange = |words: &str| {
            let words = words.split(' ').chain([STRANGE]);
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut file = words("lockc run jobs:tables -- cat");
        file.push("one file".to_owned());
        vec![
            ("lockc sho\t".into(), words("lockc show")),
            ("lockc ls --js\t".into(), words("lockc ls --json")),
            (
                "lockc show jobs/ni\t".into(),
                words("lockc show jobs/nightly"),
            ),
            (
                "lockc show jobs:t\t".into(),
                words("lockc show jobs:tables"),
            ),
            (
                "lockc show \"jobs:t\t".into(),
                words("lockc show jobs:tables"),
            ),
            ("lockc show my\t".into(), strange("lockc show")),
            ("lockc show my\\ lo\t".into(), strange("lockc show")),
            ("lockc show \"my lo\t".into(), strange("lockc show")),
            ("lockc show 'my lo\t".into(), strange("lockc show")),
            ("lockc show hos\t".into(), words("lockc show hos")),
            (
                format!("lockc ls --servers={servers} jobs/\t"),
                words(&format!("lockc ls --servers={servers} jobs/nightly")),
            ),
            (
                "lockc run -n jobs/ni\t-- nightlyj\t-\t".into(),
                words("lockc run -n jobs/nightly -- nightlyjob -"),
            ),
            (
                "lockc run jobs:tables -- nightlyj\t".into(),
                words("lockc run jobs:tables -- nightlyjob"),
            ),
            ("lockc run jobs:tables -- cat one\t".into(), file),
        ]
    }
}

fn is_installed(shell: &str) -> bool {
    let there = ["/bin", "/usr/bin", "/usr/local/bin"];
    let is_there = there
        .iter()
        .any(|path| Path::new(path).join(shell).exists());
    if !is_there {
        eprintln!("skipped: {shell} is not installed");
    }
    is_there
}

/// Types each case into the shell, and has the shell itself say which words have come of it.
async fn completes(stage: &Stage, program: &str, setup: &str) {
    let mut shell = Shell::start(stage.command("script"), program).await;
    shell.runs(setup).await;
    for (typed, expected) in stage.cases() {
        let words = shell.words(&typed).await;
        assert_eq!(words, expected, "{program}: {typed:?}");
    }
    shell.runs("export LOCK_COMPLETION_TIMEOUT=1ms").await;
    let line = format!("lockc --servers {NOBODY} ls jobs/");
    let words = shell.words(&format!("{line}\t")).await;
    assert_eq!(words.join(" "), line, "{program}");
}

#[tokio::test]
async fn bash_completes_names_of_locks_and_the_command_under_one() {
    if !is_installed("bash") {
        return;
    }
    let stage = Stage::new().await;
    let setup = "source <(lockc completions bash)";
    completes(&stage, "bash --norc --noprofile -i", setup).await;
}

#[tokio::test]
async fn zsh_completes_names_of_locks_and_the_command_under_one() {
    if !is_installed("zsh") {
        return;
    }
    let stage = Stage::new().await;
    let setup = "bindkey -e; autoload -U compinit; compinit -u -D; source <(lockc completions zsh)";
    completes(&stage, "zsh -f -i", setup).await;
}

/// It can be asked for completions, so it needs no terminal.
#[tokio::test]
async fn fish_completes_names_of_locks_and_the_command_under_one() {
    if !is_installed("fish") {
        return;
    }
    let stage = Stage::new().await;
    for (line, expected) in [
        ("lockc sho", &["show"][..]),
        ("lockc ls --js", &["--json"]),
        ("lockc show jobs", &["jobs/nightly", "jobs:tables"]),
        ("lockc show my", &[STRANGE]),
        ("lockc show \"my lo", &[STRANGE]),
        ("lockc show hos", &[]),
        ("lockc run jobs/nightly -- nightlyj", &["nightlyjob"]),
        ("lockc run jobs/nightly -- cat one", &["one file"]),
    ] {
        assert_eq!(
            completed_by_fish(&stage, "1m", line).await,
            expected,
            "{line}"
        );
    }
    let line = format!("lockc --servers {NOBODY} ls jobs/");
    assert_eq!(completed_by_fish(&stage, "1ms", &line).await, [""; 0]);
}

async fn completed_by_fish(stage: &Stage, within: &str, line: &str) -> Vec<String> {
    let mut command = stage.command("fish");
    let script = "lockc completions fish | source; complete -C $argv[1]";
    command.args(["--no-config", "-c", script, line]);
    command
        .env("LOCK_COMPLETION_TIMEOUT", within)
        .stdin(Stdio::null());
    let output = command.output().await.expect("fish runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    let shown = String::from_utf8(output.stdout).expect("it is text");
    let words = shown.lines().filter_map(|line| line.split('\t').next());
    words.map(str::to_owned).collect()
}
