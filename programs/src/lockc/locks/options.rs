//! The options of the commands that inspect and manage locks.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::options;
use lockservice::config::LEASE;
use lockservice::types::{LockName, NameError, Token};

const JSON_OF_LS: &str = "\
Print JSON

{ \"locks\": [ { \"name\", \"state\": \"owned\" or \"plain\", \"holders\": [ { \"client\", \"session\", \"mode\", \"token\", \
\"since\" } ], \"waiters\" } ] }; \"since\" in seconds since 1970, and where \"mode\" is \"permits\", also how many, in \
\"permits\"; where they are known, also \"session_name\", \"address\" and \"inside\", the sessions that it runs inside; \
\"retained_seconds\" where the lock stays held so long whatever becomes of the session, and \"is_left\": true where \
that has let go of it already";

const JSON_OF_WHY: &str = "\
Print JSON

{ \"deadlock\": bool, \"locks\": [ as those of `ls` ], \"waits\": [ { \"client\", \"session\", \"mode\", \"holds\", \
\"waits_for\", \"place\" } ], \"cycle\": [ { \"client\", \"session\", \"waits_for\", \"held_by\", \"token\" } ] }; \
where they are known, also \"session_name\", and in \"inside\" the holder, or the sessions, that it runs inside";

/// Which locks to list.
#[derive(Debug, Args)]
pub(in crate::lockc) struct LsOptions {
    /// Only those whose names begin with this
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true, value_parser = prefix)]
    pub(super) prefix: String,
    /// Print JSON
    #[arg(long, long_help = JSON_OF_LS)]
    pub(super) json: bool,
}

/// The lock to inspect.
#[derive(Debug, Args)]
pub(in crate::lockc) struct ShowOptions {
    /// The lock: 1 to 1,024 bytes of UTF-8
    pub(super) name: LockName,
    /// Print JSON
    ///
    /// As one of `ls`, with the queue; "state" can be "free".
    #[arg(long)]
    pub(super) json: bool,
}

/// Which lock to begin with.
#[derive(Debug, Args)]
pub(in crate::lockc) struct WhyOptions {
    /// The lock to begin with: 1 to 1,024 bytes of UTF-8
    pub(super) name: LockName,
    /// Print JSON
    #[arg(long, long_help = JSON_OF_WHY)]
    pub(super) json: bool,
}

/// Which grant to end, and why.
#[derive(Debug, Args)]
pub(in crate::lockc) struct BreakOptions {
    /// The lock: 1 to 1,024 bytes of UTF-8
    pub(super) name: LockName,
    /// The token by which it is held, as `lockc show` tells it: nothing happens if it is held by
    /// another one
    #[arg(long, value_name = "TOKEN", value_parser = options::token, allow_hyphen_values = true)]
    pub(super) token: Token,
    /// Why, for the log of the servers: up to 1,024 bytes
    #[arg(long, value_name = "WHY")]
    pub(super) reason: Reason,
}

/// Which locks to watch.
#[derive(Debug, Args)]
pub(in crate::lockc) struct WatchOptions {
    /// Only those whose names begin with this
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true, value_parser = prefix)]
    pub(super) prefix: String,
    /// Print JSON, an object a line
    ///
    /// { "event", "name" }, with "client", "session" and "mode" where it is somebody's, and "token"
    /// and "since" where it is a holder's.
    #[arg(long)]
    pub(super) json: bool,
    /// How often to inspect the locks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = options::duration,
        allow_hyphen_values = true)]
    pub(super) every: Duration,
}

/// What to be the leader of.
#[derive(Debug, Args)]
pub(in crate::lockc) struct ElectOptions {
    /// The lock that the leader holds: 1 to 1,024 bytes of UTF-8
    pub(super) name: LockName,
    /// How long nobody else is elected when this machine is gone: 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value_t = LEASE.into(), value_parser = options::lease,
        allow_hyphen_values = true)]
    pub(super) lease: humantime::Duration,
}

/// Why a lock is broken: 1 to 1,024 bytes, without blanks at its ends. Logs show it escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lockc) struct Reason(String);

/// Why a text is no [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::lockc) enum ReasonError {
    #[error("a reason must be given, for the log of the servers")]
    Empty,
    #[error(
        "a reason has at most {} bytes, this one has {bytes}",
        Reason::MAX_BYTES
    )]
    TooLong { bytes: usize },
}

impl Reason {
    const MAX_BYTES: usize = 1_024;

    pub(in crate::lockc) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        match text.trim() {
            "" => Err(ReasonError::Empty),
            text if text.len() > Self::MAX_BYTES => Err(ReasonError::TooLong { bytes: text.len() }),
            text => Ok(Self(text.to_owned())),
        }
    }
}

/// The beginning of a name; it may be empty.
pub(in crate::lockc) fn prefix(text: &str) -> Result<String, NameError> {
    match text.len() {
        bytes if bytes > LockName::MAX_BYTES => Err(NameError::TooLong { bytes }),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockc::args::{Cli, Command};
    use crate::options::tests::parse;

    fn command(line: &str) -> Command {
        parse::<Cli>(line).expect(line).command
    }

    #[test]
    fn without_a_prefix_it_is_about_all_locks() {
        for (line, expected) in [("lockc ls", ""), ("lockc ls a/", "a/")] {
            let Command::Ls(LsOptions { prefix, json }) = command(line) else {
                panic!("{line}");
            };
            assert_eq!((prefix.as_str(), json), (expected, false));
        }
        let Command::Watch(options) = command("lockc watch --json") else {
            panic!("it is no watch");
        };
        assert_eq!((options.prefix.as_str(), options.json), ("", true));
        assert_eq!(options.every, Duration::from_secs(1));
    }

    #[test]
    fn a_lease_is_that_of_the_library_unless_it_is_given() {
        for (line, expected) in [
            ("lockc elect a", LEASE),
            ("lockc elect a --lease 200ms", Duration::from_millis(200)),
            ("lockc elect a --lease 5", Duration::from_secs(5)),
        ] {
            let Command::Elect(options) = command(line) else {
                panic!("{line}");
            };
            assert_eq!(*options.lease, expected);
        }
    }

    #[test]
    fn a_reason_is_kept_as_it_was_given_and_is_not_empty() {
        let reason: Reason = " one\ntwo ".parse().expect("a good reason");
        assert_eq!(reason.as_str(), "one\ntwo");
        assert_eq!(" \n".parse::<Reason>(), Err(ReasonError::Empty));
        let long = "x".repeat(1_025).parse::<Reason>();
        assert_eq!(long, Err(ReasonError::TooLong { bytes: 1_025 }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = format!("lockc ls {}", "x".repeat(LockName::MAX_BYTES + 1));
        for line in [
            "lockc ls a b",
            "lockc show",
            "lockc why",
            "lockc break a",
            "lockc break a --token 1",
            "lockc break a --reason why",
            "lockc break a --token x --reason why",
            "lockc break a --token 1 --reason ",
            "lockc watch --every 0s",
            "lockc elect",
            "lockc elect a --lease 99ms",
            "lockc elect a --lease 2h",
            "lockc elect a --lease 0.05",
            long.as_str(),
        ] {
            assert!(parse::<Cli>(line).expect_err(line).use_stderr(), "{line}");
        }
    }
}
