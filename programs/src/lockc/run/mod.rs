//! `lockc run`: a command that runs while a lock is held, and never without it.
//!
//! ```text
//! lockc run ------ orders, at last EOF -----> watchdog
//!     |                                         :
//!     | its child                               : SIGTERM, SIGKILL, in time
//!     v                                         v
//! the command, leader of a process group with all that it starts
//! ```
//! Either of `lockc run` and its watchdog may be killed, be stopped, or hang: the other one ends
//! the command before the lease can end. What the command moves to a process group of its own is
//! not watched over.

mod acquire;
mod group;
mod launch;
mod left;
mod options;
mod process;
mod signals;
mod supervise;
mod terminal;
mod waiting;
mod watchdog;

use std::env;
use std::fs;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

pub(super) use self::options::RunOptions;
pub(super) use self::signals::note_ignored as note_ignored_signals;

use self::acquire::{acquire, held_around};
use self::options::{GraceError, Terms};
use self::signals::{Signals, stop_job};
use self::supervise::{Cut, Ended, supervise};
use crate::death::SignalDeath;
use crate::exit::{self, Exit, complain};
use crate::lockc::lazy_client::Failure;
use crate::lockc::session_name::session_name;
use crate::output::stderr;
use lockservice::clerk::{Clerk, LossReason, ReleaseError};
use lockservice::transport::Servers;
use lockservice::types::{LockName, SessionId};

/// This very program, also when its file has been replaced since.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Does what a `lockc run` has started this program for, if one has.
pub(super) fn help() -> Option<ExitCode> {
    match env::args_os().next()?.to_str()? {
        watchdog::PROGRAM => Some(exit::main("lockc", watchdog::watch)),
        launch::PROGRAM => Some(exit::main("lockc", launch::become_command)),
        _ => None,
    }
}

/// Why a command did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error(transparent)]
    Grace(#[from] GraceError),
    #[error(transparent)]
    NoLock(#[from] Failure),
    #[error("{name} is held around this command, by session {holder}: it would wait for itself")]
    WaitsForItself { name: LockName, holder: SessionId },
    #[error("lockc run needs /proc, which is not mounted here")]
    NoProc,
    #[error("cannot watch over the command: {0}")]
    System(#[from] io::Error),
    #[error("the command was ended: {0}")]
    CutShort(#[from] Cut),
    #[error("the lock was lost while the command ran: {0}")]
    Lost(ReleaseError),
}

impl Unfinished {
    const fn exit(&self) -> Exit {
        match self {
            Self::Grace(_) | Self::WaitsForItself { .. } => Exit::Usage,
            Self::NoLock(failure) => failure.exit(),
            Self::NoProc | Self::System(_) | Self::CutShort(Cut::NoWatchdog(_)) => Exit::Internal,
            Self::CutShort(_) | Self::Lost(_) => Exit::Lost,
        }
    }
}

/// Runs a command under a lock, and ends as it does.
pub(super) async fn run(servers: Servers, timeout: Duration, options: RunOptions) -> Exit {
    match connect_and_run(servers, timeout, &options).await {
        Ok(exit) => exit,
        Err(unfinished) => {
            complain("lockc", &unfinished);
            unfinished.exit()
        }
    }
}

async fn connect_and_run(
    servers: Servers,
    timeout: Duration,
    options: &RunOptions,
) -> Result<Exit, Unfinished> {
    let terms = options.terms()?;
    if fs::symlink_metadata(THIS_PROGRAM).is_err() {
        return Err(Unfinished::NoProc);
    }
    let mut signals = Signals::catch()?;
    let begun = Instant::now();
    let timeout = options.answer_within(timeout);
    let mut builder = Clerk::builder(servers)
        .timeout(timeout)
        .lease(terms.lease)
        .name(session_name(&options.command));
    if let Some(outer) = options.outer() {
        builder = builder.inside(outer);
    }
    let clerk = tokio::select! {
        biased;
        exit = interruption(&mut signals) => return Ok(exit),
        clerk = builder.connect() => clerk.map_err(Failure::from)?,
    };
    let exit = acquire_and_run(&clerk, &mut signals, terms, options, begun).await;
    clerk.close().await;
    exit
}

async fn acquire_and_run(
    clerk: &Clerk,
    signals: &mut Signals,
    terms: Terms,
    options: &RunOptions,
    begun: Instant,
) -> Result<Exit, Unfinished> {
    let acquired = tokio::select! {
        biased;
        exit = interruption(signals) => return Ok(exit),
        acquired = acquire(clerk, options, begun) => acquired.map_err(Failure::from)?,
        never = waiting::tell(clerk, &options.name) => match never {},
        holder = held_around(clerk, options) => return Err(Unfinished::WaitsForItself {
            name: options.name.clone(),
            holder,
        }),
    };
    let Some(guard) = acquired else {
        return Ok(refuse(clerk, options).await);
    };
    if let Some(time) = options.at_least {
        tokio::select! {
            biased;
            exit = interruption(signals) => return Ok(exit),
            kept = guard.retain(time) => kept.map_err(Failure::from)?,
        }
    }
    // The line that said what was waited for is off the terminal before the command writes there.
    stderr::finish();
    let environment = [
        ("LOCK_NAME", guard.name().to_string()),
        ("LOCK_TOKEN", guard.token().to_string()),
        ("LOCK_SESSION", guard.session().to_string()),
    ];
    let Ended {
        exit,
        cut_short,
        left,
    } = supervise(&options.command, &environment, &guard, signals, terms).await?;
    if !left.is_empty() {
        complain("lockc", &left);
    }
    if let Some(cut) = cut_short {
        return Err(cut.into());
    }
    let released = tokio::select! {
        biased;
        exit = interruption(signals) => return Ok(exit),
        released = guard.release() => released,
    };
    judge(released)?;
    Ok(exit)
}

/// Says that the lock was not granted, unless that is no failure.
async fn refuse(clerk: &Clerk, options: &RunOptions) -> Exit {
    let code = options.conflict_exit_code();
    if code != 0 {
        let is_chosen = options.conflict_exit_code.is_some();
        let refusal = waiting::refusal(clerk, &options.name, code, is_chosen).await;
        complain("lockc", &refusal);
    }
    Exit::Code(code)
}

/// Judges how the lock was given back after the command had ended by itself.
fn judge(released: Result<(), ReleaseError>) -> Result<(), Unfinished> {
    match released {
        Ok(()) => Ok(()),
        // Nobody knows since when.
        Err(
            lost @ (ReleaseError::NotHeld
            | ReleaseError::Lost(
                LossReason::SessionLost | LossReason::Broken | LossReason::Diverged,
            )),
        ) => Err(Unfinished::Lost(lost)),
        Err(error) => {
            complain("lockc", &format!("cannot release the lock: {error}"));
            Ok(())
        }
    }
}

/// Waits for a signal that ends a program that has not caught it.
async fn interruption(signals: &mut Signals) -> Exit {
    loop {
        match signals.next().await {
            Signal::TSTP => {
                stop_job(Signal::STOP);
            }
            Signal::CONT | Signal::WINCH => {}
            signal => return Exit::Signal(SignalDeath::of_this_process(signal.as_raw())),
        }
    }
}
