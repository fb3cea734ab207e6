//! The command line of `lockc run`, which is much like that of flock(1).

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::{ArgAction, Args, ValueHint};

use crate::options::{self, DurationError};
use lockservice::config::LEASE;
use lockservice::types::{LockName, Retention, RetentionError, SessionId};

/// Which part of a lease the grace is, unless it is given.
const GRACE_IN_LEASE: u32 = 5;

/// The part of a lease that the grace is at most. A half: a lock that is renewed in time has more
/// than that left at any moment, and one whose renewal has to be repeated about as much.
const LONGEST_GRACE_IN_LEASE: u32 = 2;

/// The exit code when the lock is held by others, as that of flock(1).
const CONFLICT: u8 = 1;

/// How long an answer of the servers is waited for when the lock is not, or hardly. Twice the
/// default `--peer-timeout`: the backup of a server that has died answers by then.
pub(super) const SHORTEST_ANSWER: Duration = Duration::from_secs(2);

/// What to run, under which lock.
#[derive(Debug, Args)]
pub(in crate::lockc) struct RunOptions {
    /// The lock: 1 to 1,024 bytes of UTF-8
    pub(super) name: LockName,
    /// Fail at once when others hold the lock
    #[arg(short, long, conflicts_with = "wait")]
    pub(super) nonblock: bool,
    /// Fail when the lock is not granted within this many seconds; default: wait for ever
    ///
    /// `0.5`, or a duration: `500ms`
    #[arg(short, long, value_name = "SECS", value_parser = options::span, allow_hyphen_values = true)]
    pub(super) wait: Option<Duration>,
    /// Hold the lock together with others that hold it shared
    #[arg(short, long)]
    pub(super) shared: bool,
    /// Let at most N hold the lock at once; if requests differ, the smallest number applies
    #[arg(long, value_name = "N", conflicts_with = "shared")]
    pub(super) permits: Option<NonZeroU32>,
    /// Exit with this code when others hold the lock; default: 1
    ///
    /// A command can exit with 1 itself. With 0 a held lock is no failure, and nothing is printed.
    #[arg(short = 'E', long, value_name = "CODE", allow_negative_numbers = true)]
    pub(super) conflict_exit_code: Option<u8>,
    /// How long the lock stays held when this machine is gone: 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value_t = LEASE.into(), value_parser = options::lease, allow_hyphen_values = true)]
    lease: humantime::Duration,
    /// How long the command may take to end when the lock is lost; default: a fifth of the lease
    ///
    /// It gets SIGTERM so early that it can be killed after that, before the lease is over.
    #[arg(long, value_name = "DURATION", value_parser = options::duration, allow_hyphen_values = true)]
    grace: Option<Duration>,
    /// Keep the lock taken for at least so long from when it was granted, at most a day
    ///
    /// Also when the command is quicker, or this machine is gone: the servers see to it. For a job
    /// that is to run once a period, on whichever machine begins first, though their clocks differ.
    /// `lockc break` releases the lock before.
    #[arg(long, value_name = "DURATION", value_parser = retention, allow_hyphen_values = true)]
    pub(super) at_least: Option<Duration>,
    /// The session that holds a lock around this program
    #[arg(long, env = "LOCK_SESSION", hide = true, default_value = "")]
    outer: Outer,
    /// The command, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, action = ArgAction::Append,
        value_hint = ValueHint::CommandWithArguments)]
    pub(super) command: Vec<OsString>,
}

/// The session that holds a lock around this program, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outer(Option<SessionId>);

impl From<&str> for Outer {
    /// A value that is no number was not set by `lockc run`.
    fn from(text: &str) -> Self {
        Self(text.parse().ok().map(SessionId))
    }
}

/// Why a text is no time for which a lock can be kept.
#[derive(Debug, PartialEq, thiserror::Error)]
enum RetentionTextError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error(transparent)]
    TooLong(#[from] RetentionError),
}

fn retention(text: &str) -> Result<Duration, RetentionTextError> {
    Ok(Retention::new(options::duration(text)?)?.duration())
}

/// How a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long the lock lasts when it is not renewed.
    pub(super) lease: Duration,
    /// How long the command may take to end.
    pub(super) grace: Duration,
}

/// A command could not be ended in time, or would be while all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "--grace {} is too long for --lease {}: it may be half of it",
    humantime::format_duration(self.0.grace),
    humantime::format_duration(self.0.lease)
)]
pub(super) struct GraceError(Terms);

impl RunOptions {
    /// The exit code when others hold the lock.
    pub(super) fn conflict_exit_code(&self) -> u8 {
        self.conflict_exit_code.unwrap_or(CONFLICT)
    }

    /// How long an answer of the servers is waited for, where it is `timeout` for all commands: no
    /// longer than the lock itself.
    pub(super) fn answer_within(&self, timeout: Duration) -> Duration {
        let wait = if self.nonblock {
            Some(Duration::ZERO)
        } else {
            self.wait
        };
        wait.map_or(timeout, |wait| timeout.min(wait.max(SHORTEST_ANSWER)))
    }

    /// The session that holds a lock around this program, if there is one.
    pub(super) const fn outer(&self) -> Option<SessionId> {
        self.outer.0
    }

    /// Whether the lock is waited for.
    pub(super) fn waits(&self) -> bool {
        !self.nonblock && self.wait != Some(Duration::ZERO)
    }

    /// Whether a holder of the lock in another mode may let this one in beside it.
    pub(super) const fn is_exclusive(&self) -> bool {
        !self.shared && self.permits.is_none()
    }

    pub(super) fn terms(&self) -> Result<Terms, GraceError> {
        let lease = *self.lease;
        let grace = self.grace.unwrap_or(lease / GRACE_IN_LEASE);
        let terms = Terms { lease, grace };
        if grace > lease / LONGEST_GRACE_IN_LEASE {
            return Err(GraceError(terms));
        }
        Ok(terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockc::args::{Cli, Command};
    use crate::options::tests::parse;

    fn run(line: &str) -> RunOptions {
        match parse::<Cli>(line).expect(line).command {
            Command::Run(options) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) {
        let error = parse::<Cli>(line).expect_err(line);
        assert!(error.use_stderr(), "{line}");
    }

    #[test]
    fn what_follows_the_name_and_its_options_belongs_to_the_command() {
        for (line, command) in [
            ("lockc run a ls -n -w 5 a", "ls -n -w 5 a"),
            ("lockc run a -- ls -n --help", "ls -n --help"),
            ("lockc run -n a ls --servers x", "ls --servers x"),
            ("lockc run a -n -s -- ls -- -x", "ls -- -x"),
            ("lockc run a -n -s ls -- -x", "ls -- -x"),
            ("lockc run a -- -odd", "-odd"),
            ("lockc run -- a -odd", "-odd"),
        ] {
            let options = run(line);
            assert_eq!(options.name.as_str(), "a", "{line}");
            assert_eq!(options.command.join(" ".as_ref()), command, "{line}");
        }
        assert!(!run("lockc run a ls -n").nonblock);
    }

    #[test]
    fn options_stand_before_or_after_the_name() {
        for line in [
            "lockc run -s -w 1.5 -E 9 --lease 4s a ls",
            "lockc run a -sw1.5 -E9 --lease 4s -- ls",
            "lockc run -s a -w 1500ms -E 9 --lease 4s ls",
        ] {
            let options = run(line);
            assert!(options.shared, "{line}");
            assert_eq!(options.wait, Some(Duration::from_millis(1_500)), "{line}");
            assert_eq!(options.conflict_exit_code(), 9, "{line}");
            let [lease, grace] = [4_000, 800].map(Duration::from_millis);
            assert_eq!(options.terms(), Ok(Terms { lease, grace }), "{line}");
        }
    }

    #[test]
    fn a_lock_can_have_permits() {
        let permits = run("lockc run --permits 5 a ls").permits;
        assert_eq!(permits.map(NonZeroU32::get), Some(5));
    }

    #[test]
    fn the_defaults_are_those_that_the_help_tells() {
        let options = run("lockc run a ls");
        assert_eq!((options.shared, options.permits), (false, None));
        let [lease, grace] = [10, 2].map(Duration::from_secs);
        assert_eq!(options.terms(), Ok(Terms { lease, grace }));
        assert_eq!((options.wait, options.conflict_exit_code()), (None, 1));
        assert_eq!(run("lockc run -w 0 a ls").wait, Some(Duration::ZERO));
    }

    #[test]
    fn a_wait_is_seconds_or_a_duration_and_not_negative() {
        for (wait, millis) in [("0", 0), ("0.5", 500), ("30", 30_000), ("2m", 120_000)] {
            let options = run(&format!("lockc run -w {wait} a ls"));
            assert_eq!(options.wait, Some(Duration::from_millis(millis)), "{wait}");
        }
        for wait in ["-1", "-0.1", "-1s"] {
            let error = parse::<Cli>(&format!("lockc run -w {wait} a ls")).expect_err(wait);
            assert!(error.to_string().contains("is not negative"), "{error}");
        }
    }

    #[test]
    fn a_lock_is_kept_for_a_day_at_most() {
        let kept = |time: &str| parse::<Cli>(&format!("lockc run --at-least {time} a ls"));
        for (time, seconds) in [("60s", 60), ("24h", 86_400)] {
            assert!(kept(time).is_ok(), "{time}");
            let options = run(&format!("lockc run --at-least {time} a ls"));
            assert_eq!(
                options.at_least,
                Some(Duration::from_secs(seconds)),
                "{time}"
            );
        }
        for (time, why) in [("25h", "at most a day"), ("-1s", "not negative")] {
            let error = kept(time).expect_err(time).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_outer_session_is_a_number_and_anything_else_is_none() {
        assert_eq!(run("lockc run a ls").outer(), None);
        for (text, number) in [("17", Some(17)), ("", None), ("x", None), ("-1", None)] {
            assert_eq!(Outer::from(text), Outer(number.map(SessionId)), "{text}");
        }
    }

    #[test]
    fn an_answer_is_waited_for_no_longer_than_the_lock_but_for_a_failover() {
        for (line, seconds) in [
            ("lockc run a ls", 10),
            ("lockc run -n a ls", 2),
            ("lockc run -w 0.1 a ls", 2),
            ("lockc run -w 3 a ls", 3),
            ("lockc run -w 30 a ls", 10),
        ] {
            let within = run(line).answer_within(Duration::from_secs(10));
            assert_eq!(within, Duration::from_secs(seconds), "{line}");
        }
        let short = Duration::from_millis(50);
        assert_eq!(run("lockc run -n a ls").answer_within(short), short);
    }

    #[test]
    fn a_command_must_have_time_to_end_and_time_to_run() {
        run("lockc run --lease 2s --grace 1s a ls")
            .terms()
            .expect("accepted");
        let error = run("lockc run --lease 2s --grace 1001ms a ls").terms();
        let error = error.expect_err("it is too long").to_string();
        assert!(
            error.starts_with("--grace 1s 1ms is too long for --lease 2s"),
            "{error}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "lockc run",
            "lockc run a",
            "lockc run a --",
            "lockc run -n -w 1 a ls",
            "lockc run -w -1 a ls",
            "lockc run --permits 0 a ls",
            "lockc run --permits 4294967296 a ls",
            "lockc run --permits 2 -s a ls",
            "lockc run -w soon a ls",
            "lockc run -w inf a ls",
            "lockc run -E 256 a ls",
            "lockc run --lease 99ms a ls",
            "lockc run --lease 2h a ls",
            "lockc run --lease 0.05 a ls",
            "lockc run -x a ls",
        ] {
            refused(line);
        }
    }
}
