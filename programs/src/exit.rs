//! How a program ends. Scripts depend on the codes.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit};

#[cfg(target_os = "linux")]
use super::death::SignalDeath;
use super::environment;
use super::escape::escaped;
use super::output::stderr;
use super::usage::legible;

/// How many descriptors a program needs at least.
const DESCRIPTORS: u64 = 16;

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
    Signal(SignalDeath),
    /// A failure of the program or of the machine under it (`EX_SOFTWARE`).
    Internal,
    /// The answer could not be written (`EX_IOERR`).
    Unwritten,
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Unwritten => 74,
            Self::Lost => 75,
            Self::Code(code) => code,
            #[cfg(target_os = "linux")]
            Self::Signal(death) => death.code(),
        }
    }
}

/// Parses the command line and hands it to `run`.
///
/// A panic counts as an internal error, and is reported like one.
pub(super) fn main<C: Parser>(program: &'static str, run: impl FnOnce(C) -> Exit) -> ExitCode {
    set_hook(Box::new(move |panic| {
        complain(
            program,
            &format_args!("internal error: {}", Panicked(panic)),
        );
    }));
    let exit = match environment::parse() {
        Ok(cli) => catch_unwind(AssertUnwindSafe(|| run(cli))).unwrap_or(Exit::Internal),
        Err(answer) => refuse(answer),
    };
    stderr::finish();
    #[cfg(target_os = "linux")]
    if let Exit::Signal(death) = exit {
        death.die();
    }
    ExitCode::from(exit.code())
}

/// Tells what is wrong with the command line. Help and version are such answers too.
fn refuse(answer: clap::Error) -> Exit {
    let answer = legible(answer);
    if !answer.use_stderr() {
        // Nobody is left to tell when they cannot be written.
        let _ = answer.print();
        return Exit::Yes;
    }
    let plain = answer.render().to_string();
    let lines: Vec<_> = plain
        .lines()
        .map(|line| escaped(line).to_string())
        .collect();
    let shown = lines.join("\n");
    if shown == plain.trim_end() {
        let _ = answer.print();
    } else {
        stderr::say(format!("{shown}\n").into_bytes());
    }
    Exit::Usage
}

/// A panic in one line.
pub(super) struct Panicked<'a, 'b>(pub(super) &'a PanicHookInfo<'b>);

impl fmt::Display for Panicked<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0.payload_as_str().unwrap_or("no message");
        match self.0.location() {
            Some(location) => write!(f, "panicked at {location}: {message}"),
            None => write!(f, "panicked: {message}"),
        }
    }
}

/// Runs `program` to its end, on a runtime of one thread: the servers answer quickest on one.
pub(super) fn block_on(name: &str, program: impl Future<Output = Exit>) -> Exit {
    // With fewer, what comes first that needs one fails, in a way that only its author understands.
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < DESCRIPTORS
    {
        let told = format!(
            "this process may have {limit} descriptors, and needs {DESCRIPTORS}: raise the limit (ulimit -n)"
        );
        complain(name, &told);
        return Exit::Internal;
    }
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
pub(super) fn complain(program: &str, what: &dyn fmt::Display) {
    let what = what.to_string();
    stderr::say(format!("{program}: {}\n", escaped(&what)).into_bytes());
}
