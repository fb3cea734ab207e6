//! How a program ends. Scripts depend on the codes.

use std::future::Future;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

#[cfg(target_os = "linux")]
use super::death::Death;
use super::usage::legible;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Yes: granted, released, answered, stopped on request.
    Yes,
    /// No: held by someone, or not held.
    No,
    /// The command line is wrong.
    Usage,
    /// No server could answer, or the address could not be bound (`EX_UNAVAILABLE`).
    Unavailable,
    /// The lock was lost while a command ran that needs it (`EX_TEMPFAIL`).
    Lost,
    /// As a command that was run did, or as was asked for.
    Code(u8),
    /// By a signal, as a command that was run did, or as if the signal had not been caught.
    #[cfg(target_os = "linux")]
    Signal(Death),
    /// A failure of the program or of the machine under it (`EX_SOFTWARE`).
    Internal,
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Lost => 75,
            Self::Code(code) => code,
            #[cfg(target_os = "linux")]
            Self::Signal(death) => death.code(),
        }
    }
}

/// Parses the command line and hands it to `run`.
///
/// A panic counts as an internal error; its message is on stderr by then.
pub(super) fn main<C: Parser>(run: impl FnOnce(C) -> Exit) -> ExitCode {
    let exit = match C::try_parse() {
        Ok(cli) => catch_unwind(AssertUnwindSafe(|| run(cli))).unwrap_or(Exit::Internal),
        Err(answer) => {
            // Help and version are such answers too. Nobody is left to tell when they cannot be written.
            let is_error = answer.use_stderr();
            let _ = legible(answer).print();
            if is_error { Exit::Usage } else { Exit::Yes }
        }
    };
    #[cfg(target_os = "linux")]
    if let Exit::Signal(death) = exit {
        death.die();
    }
    ExitCode::from(exit.code())
}

/// Runs `program` to its end, on a runtime of one thread: the servers answer quickest on one.
pub(super) fn block_on(name: &str, program: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(program);
            // A name that is being looked up must not hold up the end.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            complain(name, &error);
            Exit::Internal
        }
    }
}

/// Says on stderr, in one line, what went wrong.
pub(super) fn complain(program: &str, what: &dyn std::fmt::Display) {
    let line = one_line(&what.to_string());
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(io::stderr(), "{program}: {line}");
}

/// Makes one line of `text`, whatever names and messages it holds.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}
