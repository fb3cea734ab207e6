//! Signals that `lockc run` is sent, and job control.
//!
//! A signal that was ignored when the program was started stays ignored, by it and by the command,
//! as `nohup` and shells mean it; one that was blocked stays blocked. SIGCHLD alone is not ignored,
//! also by the command.

use std::future::poll_fn;
use std::io;
use std::sync::OnceLock;
use std::task::Poll;

use super::process::Process;
use crate::signals::read_ignored;
use rustix::process::{Signal, getpgid, getpgrp, getppid, getsid, kill_current_process_group};
use tokio::signal::unix::{self, SignalKind, signal};

/// What can be asked of a command by way of `lockc run`.
const CAUGHT: [Signal; 9] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
];

/// The signals that this process is sent.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = ignored()?;
        let heeded = CAUGHT
            .into_iter()
            .filter(|signal| ignored & bit(*signal) == 0);
        let catch = |number: Signal| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?));
        heeded.map(catch).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let caught = self.0.iter_mut().find_map(|(number, signal)| {
                signal.poll_recv(context).is_ready().then_some(*number)
            });
            caught.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

const fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The signals that this program was started to ignore, a bit each.
static IGNORED: OnceLock<u64> = OnceLock::new();

/// Notes which signals this program was started to ignore. To be called before `main`: by then Rust
/// ignores SIGPIPE, and nobody can tell any more.
pub(in crate::lockc) fn note_ignored() {
    if let Ok(ignored) = read_ignored() {
        // It is called once.
        let _ = IGNORED.set(ignored);
    }
}

/// Whether this program was started to ignore SIGPIPE.
pub(super) fn ignores_broken_pipes() -> bool {
    IGNORED.get().is_some_and(|it| it & bit(Signal::PIPE) != 0)
}

fn ignored() -> io::Result<u64> {
    IGNORED.get().copied().map_or_else(read_ignored, Ok)
}

/// Stops the job that this process belongs to by a signal that is not caught, as the terminal does
/// at Ctrl-Z, and returns when it goes on.
///
/// False when nobody would be there to continue it: then nothing is stopped.
pub(super) fn stop_job(by: Signal) -> bool {
    !is_orphaned() && kill_current_process_group(by).is_ok()
}

/// Whether no shell looks after the process group of this process: one of the same session, but of
/// another group.
fn is_orphaned() -> bool {
    let mut ancestor = getppid();
    while let Some(process) = ancestor {
        if getpgid(Some(process)) != Ok(getpgrp()) {
            return getsid(Some(process)) != getsid(None);
        }
        ancestor = Process::read(process).and_then(|process| process.parent);
    }
    true
}
