//! A running program to talk with.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub(crate) stderr: BufReader<ChildStderr>,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            stderr: BufReader::new(child.stderr.take().expect("a pipe")),
            child,
        }
    }

    pub(crate) async fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        let line = format!("{line}\n");
        stdin.write_all(line.as_bytes()).await.expect("it listens");
    }

    /// Ends its input.
    pub(crate) fn hush(&mut self) {
        self.stdin = None;
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> String {
        next_line(&mut self.stdout).await
    }

    /// All that it still prints, to its output and as errors, once nobody can print more.
    pub(crate) async fn rest(&mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        let read = async {
            self.stdout.read_to_string(&mut out).await.expect("text");
            self.stderr.read_to_string(&mut err).await.expect("text");
        };
        timeout(PATIENCE, read).await.expect("it ends in time");
        (out, err)
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = self.child.id().expect("it runs");
        Pid::from_raw(id.try_into().expect("a number")).expect("not zero")
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it can be signalled");
    }

    /// Waits until it has ended.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await;
        status.expect("it ends in time").expect("it is ours")
    }
}

/// The next line of a stream that has not ended.
pub(crate) async fn next_line(stream: &mut (impl AsyncBufRead + Unpin)) -> String {
    let mut line = String::new();
    let read = timeout(PATIENCE, stream.read_line(&mut line)).await;
    let length = read.expect("it speaks in time").expect("it is text");
    assert!(length > 0, "it has ended");
    line.truncate(line.trim_end().len());
    line
}
