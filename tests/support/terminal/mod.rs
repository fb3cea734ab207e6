//! A terminal, which `script` makes: types, and reads what is shown.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program that runs at it is killed when this is dropped.
pub(crate) struct Terminal {
    _child: Child,
    keyboard: ChildStdin,
    pub(crate) screen: ChildStdout,
    /// What was shown, and not waited for yet.
    pub(crate) shown: String,
}

impl Terminal {
    /// Runs `command` at a terminal, by `script`.
    pub(crate) fn start(mut script: Command, command: &str) -> Self {
        let mut child = script
            .args(["-qefc", command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("there is `script`");
        Self {
            keyboard: child.stdin.take().expect("a pipe"),
            screen: child.stdout.take().expect("a pipe"),
            _child: child,
            shown: String::new(),
        }
    }

    pub(crate) async fn types(&mut self, keys: &str) {
        let typed = self.keyboard.write_all(keys.as_bytes()).await;
        typed.expect("it reads");
        self.keyboard.flush().await.expect("it reads");
    }

    /// Waits until `text` is shown, after what was waited for before. Gives what was shown before
    /// it.
    pub(crate) async fn shows(&mut self, text: &str) -> String {
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
