//! What both command lines have in common: addresses, durations, completions.

use std::time::Duration;

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::answer::{self, Unwritten};
use lockservice::transport::{Addr, AddrError, Servers};
use lockservice::types::{Lease, LeaseError, Token};

/// The heading of the options that every command has.
pub(super) const GLOBAL: &str = "Global options";

/// Which servers it is about.
#[derive(Debug, Args)]
pub(super) struct ClusterOptions {
    /// The servers, in one order everywhere
    ///
    /// A pair has two; a list has at most ten. An address is HOST:PORT or unix:PATH. The order
    /// matters only when both servers of a pair start empty: then the first becomes primary.
    #[arg(
        long,
        value_name = "PRIMARY,BACKUP",
        env = "LOCK_SERVERS",
        default_value_t,
        value_parser = servers,
        global = true,
        help_heading = GLOBAL
    )]
    pub(super) servers: Servers,
}

/// Why a text is no duration that a program can use.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum DurationError {
    #[error("{0}; write 500ms, 2s or 1m, or seconds: 2")]
    Malformed(#[from] humantime::DurationError),
    #[error("a duration is not negative; write 500ms, 2s or 1m, or seconds: 2")]
    Negative,
    #[error("it must be from 1ms to 365days")]
    OutOfRange,
}

/// Parses `500ms`, `2s`, `1m`, or seconds without a unit, as `2` or `0.5`.
pub(super) fn duration(text: &str) -> Result<Duration, DurationError> {
    let duration = span(text)?;
    let useful = Duration::from_millis(1)..=Duration::from_hours(365 * 24);
    if useful.contains(&duration) {
        Ok(duration)
    } else {
        Err(DurationError::OutOfRange)
    }
}

/// Parses a duration, which may be zero.
pub(super) fn span(text: &str) -> Result<Duration, DurationError> {
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::OutOfRange),
        Err(_) => Ok(humantime::parse_duration(text)?),
    }
}

/// A text is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is a whole number, as `lockc show` prints it")]
pub(super) struct TokenError;

/// Parses a token.
pub(super) fn token(text: &str) -> Result<Token, TokenError> {
    text.parse().map_err(|_| TokenError)
}

/// Why a text is no lease.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum LeaseTextError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// Parses a lease, which is written as a duration.
pub(super) fn lease(text: &str) -> Result<humantime::Duration, LeaseTextError> {
    let duration = duration(text)?;
    Ok(Lease::new(duration)?.duration().into())
}

/// Why a text is no address that a program can use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error(transparent)]
    Malformed(#[from] AddrError),
    #[error("`{0}` is in another process: an address is HOST:PORT or unix:PATH")]
    InMemory(Addr),
    #[error("it has {bytes} bytes: no address is that long")]
    TooLong { bytes: usize },
}

/// More than the longest host name and the longest path of a socket together.
const LONGEST_ADDRESS: usize = 512;

/// Parses an address that can be reached from another process.
pub(super) fn address(text: &str) -> Result<Addr, AddressError> {
    check_length(text)?;
    match text.parse()? {
        memory @ Addr::Memory(_) => Err(AddressError::InMemory(memory)),
        addr => Ok(addr),
    }
}

fn check_length(text: &str) -> Result<(), AddressError> {
    match text.len() {
        bytes if bytes > LONGEST_ADDRESS => Err(AddressError::TooLong { bytes }),
        _ => Ok(()),
    }
}

pub(super) fn servers(text: &str) -> Result<Servers, AddressError> {
    text.split(',').try_for_each(check_length)?;
    let servers: Servers = text.parse()?;
    let is_memory = |addr: &&Addr| matches!(addr, Addr::Memory(_));
    match servers.addresses().iter().find(is_memory) {
        Some(memory) => Err(AddressError::InMemory(memory.clone())),
        None => Ok(servers),
    }
}

/// Writes the completion script of `command` to stdout.
pub(super) fn print_completions(mut command: Command, shell: Shell) -> Result<(), Unwritten> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    answer::write_now(&script)
}

#[cfg(test)]
pub(super) mod tests {
    use clap::builder::Resettable;
    use clap::{Arg, Parser};

    use super::*;

    /// Parses a command line, whatever the environment of the tests says.
    pub(crate) fn parse<C: Parser>(line: &str) -> Result<C, clap::Error> {
        let deaf = |arg: Arg| arg.env(Resettable::Reset);
        let command = C::command()
            .mut_args(deaf)
            .mut_subcommands(|command| command.mut_args(deaf));
        let mut matches = command.try_get_matches_from(line.split(' '))?;
        C::from_arg_matches_mut(&mut matches)
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("1m", 60_000),
            ("1s 500ms", 1_500),
            ("5", 5_000),
            ("0.5", 500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn a_duration_is_neither_nothing_nor_for_ever_nor_negative() {
        for text in ["-1", "-1s", "-inf"] {
            assert_eq!(duration(text), Err(DurationError::Negative), "{text}");
        }
        for text in ["", "1 fortnight", "soon"] {
            assert!(
                matches!(duration(text), Err(DurationError::Malformed(_))),
                "{text}"
            );
        }
        for text in ["0s", "0", "999us", "366days", "inf", "nan", "1e99"] {
            assert_eq!(duration(text), Err(DurationError::OutOfRange));
        }
    }

    #[test]
    fn an_address_in_this_process_is_of_no_use_to_a_program() {
        address("unix:/run/lock").expect("accepted");
        assert!(matches!(
            address("memory:a"),
            Err(AddressError::InMemory(_))
        ));
        assert!(matches!(
            servers("a:1,memory:b"),
            Err(AddressError::InMemory(_))
        ));
        assert!(matches!(servers("a:1"), Err(AddressError::Malformed(_))));
        servers("a:1,b:1,c:1").expect("accepted");
        let bytes = 513;
        let long = "x".repeat(bytes);
        for list in [long.clone(), format!("a:1,{long}"), format!("{long},a:1")] {
            assert_eq!(servers(&list), Err(AddressError::TooLong { bytes }));
        }
        assert_eq!(address(&long), Err(AddressError::TooLong { bytes }));
    }
}
