//! How a command is started: watched before its first instruction.
//!
//! Between the start of a process and the moment when the watchdog knows its group, `lockc run` can
//! be killed. So a command is started by way of this program, which asks the kernel to be killed
//! with `lockc run`, stops itself, and becomes the command when it is continued: by then the
//! watchdog has its group.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Parser;
use nix::sys::signal::{SigSet, Signal as PipeSignal};
use nix::unistd::execvp;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal,
};

use super::THIS_PROGRAM;
use super::group::Group;
use super::signals::ignores_broken_pipes;
use crate::exit::{Exit, complain};

/// What this program is called when it is to become a command.
pub(super) const PROGRAM: &str = "lock-launch";

/// The codes that shells have for commands that cannot be run.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Starts `command` with more in its `environment`, in a process group of its own. It stops before
/// it becomes the command, and waits to be continued.
pub(super) fn launch(command: &[OsString], environment: &[(&str, String)]) -> io::Result<Group> {
    let child = Command::new(THIS_PROGRAM)
        .arg0(PROGRAM)
        .arg(getpid().to_string())
        .args(ignores_broken_pipes().then_some("--ignore-broken-pipes"))
        .arg("--")
        .args(command)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .process_group(0)
        .spawn()?;
    Ok(Group::led_by(Pid::from_child(&child)))
}

/// What is to become of this process.
#[derive(Debug, Parser)]
#[command(name = PROGRAM)]
pub(super) struct Launch {
    /// The process that watches over it
    parent: i32,
    /// The command is started to ignore SIGPIPE
    #[arg(long)]
    ignore_broken_pipes: bool,
    /// The command, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes a command once the watchdog knows its group.
pub(super) fn become_command(
    Launch {
        parent,
        ignore_broken_pipes,
        command,
    }: Launch,
) -> Exit {
    if let Err(error) = wait_for_watchdog(parent) {
        complain("lockc", &format!("cannot start a command: {error}"));
        return Exit::Internal;
    }
    let Some((program, args)) = command.split_first() else {
        return Exit::Usage;
    };
    let error = if ignore_broken_pipes {
        exec_as_it_is(program, args)
    } else {
        // This makes SIGPIPE, which Rust ignores, what it is by default.
        Command::new(program).args(args).exec()
    };
    // That has set SIGPIPE to its default: a reader of stderr that has gone must not end this
    // process.
    let _ = SigSet::from(PipeSignal::SIGPIPE).thread_block();
    let program = program.to_string_lossy();
    complain("lockc", &format!("cannot run `{program}`: {error}"));
    Exit::Code(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    })
}

/// Becomes `program`, which ignores the signals that this process ignores. Returns when that is
/// impossible.
fn exec_as_it_is(program: &OsStr, args: &[OsString]) -> io::Error {
    let c_string = |text: &OsStr| CString::new(text.as_bytes());
    let words = [program]
        .into_iter()
        .chain(args.iter().map(OsString::as_os_str));
    match words.map(c_string).collect::<Result<Vec<_>, _>>() {
        Ok(words) => match execvp(&words[0], &words) {
            Ok(never) => match never {},
            Err(error) => error.into(),
        },
        Err(error) => error.into(),
    }
}

fn wait_for_watchdog(parent: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return Err(io::Error::other("lockc was killed"));
    }
    kill_process(getpid(), Signal::STOP)?;
    set_parent_process_death_signal(None)?;
    Ok(())
}
