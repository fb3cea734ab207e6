//! An interactive shell at a terminal, which `script` makes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Goes to the beginning of the line, and has the shell print its words and not run it.
const PRINT: &str = "\u{1}printf '{%s}' WORDS: ";

/// The prompt, which nothing that is typed holds.
const PROMPT: &str = "READY> ";

pub(crate) struct Terminal {
    _child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Terminal {
    /// Runs `shell` by `script`.
    pub(crate) async fn start(mut script: Command, shell: &str) -> Self {
        let mut child = script
            .args(["-qefc", &format!("exec {shell}"), "/dev/null"])
            .env("PS1", PROMPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("there is `script`");
        let mut terminal = Self {
            keyboard: child.stdin.take().expect("a pipe"),
            screen: child.stdout.take().expect("a pipe"),
            _child: child,
            shown: String::new(),
        };
        terminal.shows(PROMPT).await;
        terminal
    }

    /// Runs a command to its end.
    pub(crate) async fn runs(&mut self, command: &str) {
        self.types(&format!("{command}; echo do\"\"ne\n")).await;
        self.shows("done").await;
        self.shows(PROMPT).await;
    }

    /// The words of the line, for the shell itself, when this has been typed.
    pub(crate) async fn words(&mut self, typed: &str) -> Vec<String> {
        self.types(&format!("{typed}{PRINT}\n")).await;
        self.shows("{WORDS:}").await;
        let words = self.shows(PROMPT).await;
        let words = words.trim_end().strip_prefix('{').expect("words");
        let (words, _) = words.rsplit_once('}').expect("words");
        words.split("}{").map(str::to_owned).collect()
    }

    async fn types(&mut self, keys: &str) {
        let typed = self.keyboard.write_all(keys.as_bytes()).await;
        typed.expect("it reads");
        self.keyboard.flush().await.expect("it reads");
    }

    /// Waits until `text` is shown, and gives what was shown before it.
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
}
