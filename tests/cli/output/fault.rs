//! What can be wrong with an output, and programs that have such a one.

use std::fs::File;
use std::io::{PipeReader, Write as _, pipe};
use std::process::Stdio;
use std::time::Duration;

use rustix::pipe::fcntl_getpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What is wrong with an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Closed,
    /// A full disk.
    Full,
    /// A pipe that is full, and that nobody reads.
    Blocked,
    ReaderGone,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Closed, Self::Full, Self::Blocked, Self::ReaderGone];
}

/// Which output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Stdout,
    Stderr,
}

/// An output with a fault, and the reader that it may have.
pub(crate) struct Output {
    pub(crate) stdio: Stdio,
    pub(crate) reader: Option<PipeReader>,
}

impl Output {
    pub(crate) fn new(fault: Fault) -> Self {
        let (reader, mut writer) = pipe().expect("a pipe");
        match fault {
            // Who closes it is the shell that starts the program.
            Fault::Closed => Self {
                stdio: Stdio::null(),
                reader: None,
            },
            Fault::Full => Self {
                stdio: File::options()
                    .write(true)
                    .open("/dev/full")
                    .expect("there is one")
                    .into(),
                reader: None,
            },
            Fault::Blocked => {
                let size = fcntl_getpipe_size(&writer).expect("it has a size");
                writer.write_all(&vec![b'.'; size]).expect("it fits");
                Self {
                    stdio: writer.into(),
                    reader: Some(reader),
                }
            }
            Fault::ReaderGone => Self {
                stdio: writer.into(),
                reader: None,
            },
        }
    }
}

/// A program that has an output with a fault. It is killed when this is dropped.
pub(crate) struct Faulty {
    pub(crate) child: Child,
    /// Open until this is dropped.
    pub(crate) stdin: ChildStdin,
    pub(crate) reader: Option<PipeReader>,
}

impl Faulty {
    /// Starts `program` with the fault, and the other output as `other`.
    pub(crate) fn start(
        program: &str,
        args: &[&str],
        servers: &str,
        (which, fault): (Which, Fault),
        other: Stdio,
    ) -> Self {
        let script = match (fault, which) {
            (Fault::Closed, Which::Stdout) => "exec \"$0\" \"$@\" >&-",
            (Fault::Closed, Which::Stderr) => "exec \"$0\" \"$@\" 2>&-",
            _ => "exec \"$0\" \"$@\"",
        };
        let mut command = Command::new("sh");
        command.args(["-c", script, program]).args(args);
        command.env_clear().env("LOCK_SERVERS", servers);
        command.stdin(Stdio::piped()).kill_on_drop(true);
        let Output { stdio, reader } = Output::new(fault);
        match which {
            Which::Stdout => command.stdout(stdio).stderr(other),
            Which::Stderr => command.stderr(stdio).stdout(other),
        };
        let mut child = command.spawn().expect("there is a shell");
        Self {
            stdin: child.stdin.take().expect("a pipe"),
            child,
            reader,
        }
    }

    pub(crate) fn send(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        let pid = Pid::from_raw(id.try_into().expect("a number")).expect("not zero");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// The first line of its answer, after which its reader goes.
    pub(crate) async fn first_line(&mut self) -> String {
        let stdout = self.child.stdout.take().expect("a pipe");
        let line = timeout(PATIENCE, BufReader::new(stdout).lines().next_line()).await;
        let line = line.expect("it answers in time").expect("it is text");
        line.expect("a line")
    }

    /// Its exit code, once it has ended.
    pub(crate) async fn code(&mut self) -> Option<i32> {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("it ends in time").expect("it is ours");
        status.code()
    }

    /// Ends its input. Its exit code, and what it wrote to the other output.
    pub(crate) async fn ended(self) -> (Option<i32>, String) {
        drop(self.stdin);
        let output = timeout(PATIENCE, self.child.wait_with_output()).await;
        let output = output.expect("it ends in time").expect("it is ours");
        let written = [output.stdout, output.stderr].concat();
        let written = String::from_utf8(written).expect("it is text");
        (output.status.code(), written)
    }
}

/// Where two servers listen.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn servers(&self) -> String {
        let path = self.0.path().display();
        format!("unix:{path}/a,unix:{path}/b")
    }
}
