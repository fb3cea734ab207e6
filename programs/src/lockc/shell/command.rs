//! What a line asks for.

use std::num::NonZeroU32;
use std::str::FromStr;

use crate::lockc::locks::{Reason, ReasonError, prefix};
use crate::lockc::{broken, change};
use crate::text::abridged;
use lockservice::service::Verb;
use lockservice::types::{LockName, NameError, Token};

/// One line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lockc) enum ShellCommand {
    /// Lock or unlock, without an owner.
    Call(Verb, LockName),
    /// Acquire, and wait for it.
    Acquire(LockName),
    /// Acquire if that is possible at once.
    Try(LockName),
    /// Acquire one of this many permits, and wait for it.
    Permit(NonZeroU32, LockName),
    /// Acquire one of this many permits if that is possible at once.
    TryPermit(NonZeroU32, LockName),
    /// Be the leader, and wait for that.
    Elect(LockName),
    /// Give back what was acquired.
    Release(LockName),
    /// Tell which commands there are.
    Help,
    /// Tell who holds it.
    Show(LockName),
    /// Tell who holds those that begin with this.
    Ls(String),
    /// Tell what has changed of those that begin with this, and wait for that.
    Watch(String),
    /// Tell who waits for whom.
    Why(LockName),
    /// Take it from its holder.
    Break(LockName, Token, Reason),
}

/// How many columns of a word are repeated: enough to find it.
const LONGEST_ECHO: usize = 60;

/// What `help` answers, in the one line that an answer has.
pub(super) const HELP: &str = "acquire NAME | try NAME | permit N NAME | try-permit N NAME | elect NAME | \
    release NAME | lock NAME | unlock NAME | ls [PREFIX] | show NAME | why NAME | watch [PREFIX] | \
    break NAME TOKEN REASON | help; each is answered in one line";

/// Why a line is no [`ShellCommand`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::lockc) enum ShellCommandError {
    #[error("unknown command `{}`; `help` names those there are", abridged(.0, LONGEST_ECHO))]
    UnknownCommand(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "`{}` is no token, which is a whole number, as show tells it; write break NAME TOKEN REASON",
        abridged(text, LONGEST_ECHO)
    )]
    Token { text: String },
    #[error(
        "`{}` is no number of permits: write permit N NAME, with an N from 1 to {}",
        abridged(text, LONGEST_ECHO),
        u32::MAX
    )]
    Permits { text: String },
    #[error(transparent)]
    Reason(#[from] ReasonError),
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("the line has more than {} bytes", super::MAX_LINE_BYTES)]
    TooLong,
}

impl ShellCommand {
    /// What has changed when the answer is yes, and stays so when the shell ends.
    pub(super) fn change(&self) -> Option<String> {
        match self {
            Self::Call(verb, name) => Some(change(*verb, name)),
            Self::Break(name, ..) => Some(broken(name)),
            _ => None,
        }
    }
}

impl FromStr for ShellCommand {
    type Err = ShellCommandError;

    /// The name is the rest of the line, for names may have blanks within. Not so where more
    /// follows it.
    fn from_str(line: &str) -> Result<Self, ShellCommandError> {
        let (word, rest) = split(line.trim());
        let name = || LockName::new(rest);
        match word {
            "lock" => Ok(Self::Call(Verb::Lock, name()?)),
            "unlock" => Ok(Self::Call(Verb::Unlock, name()?)),
            "acquire" => Ok(Self::Acquire(name()?)),
            "try" => Ok(Self::Try(name()?)),
            "permit" => permits(rest).map(|(most, name)| Self::Permit(most, name)),
            "try-permit" => permits(rest).map(|(most, name)| Self::TryPermit(most, name)),
            "elect" => Ok(Self::Elect(name()?)),
            "release" => Ok(Self::Release(name()?)),
            "help" if rest.is_empty() => Ok(Self::Help),
            "show" => Ok(Self::Show(name()?)),
            "ls" => Ok(Self::Ls(prefix(rest)?)),
            "watch" => Ok(Self::Watch(prefix(rest)?)),
            "why" => Ok(Self::Why(name()?)),
            "break" => breaking(rest),
            _ => Err(ShellCommandError::UnknownCommand(word.to_owned())),
        }
    }
}

fn permits(rest: &str) -> Result<(NonZeroU32, LockName), ShellCommandError> {
    let (most, name) = split(rest);
    let most = most.parse().map_err(|_| ShellCommandError::Permits {
        text: most.to_owned(),
    })?;
    Ok((most, LockName::new(name)?))
}

fn breaking(rest: &str) -> Result<ShellCommand, ShellCommandError> {
    let (name, rest) = split(rest);
    let (token, reason) = split(rest);
    let name = LockName::new(name)?;
    let token = token.parse().map_err(|_| ShellCommandError::Token {
        text: token.to_owned(),
    })?;
    Ok(ShellCommand::Break(name, token, reason.parse()?))
}

/// The first word, and what follows the blanks behind it.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<ShellCommand, ShellCommandError> {
        line.parse()
    }

    fn name(name: &str) -> LockName {
        name.parse().expect("a good name")
    }

    fn number(number: u32) -> NonZeroU32 {
        number.try_into().expect("not zero")
    }

    #[test]
    fn a_name_is_the_rest_of_its_line() {
        for (line, expected) in [
            ("lock a", ShellCommand::Call(Verb::Lock, name("a"))),
            ("unlock a", ShellCommand::Call(Verb::Unlock, name("a"))),
            (
                "  lock \t a b  \r",
                ShellCommand::Call(Verb::Lock, name("a b")),
            ),
            ("lock lock", ShellCommand::Call(Verb::Lock, name("lock"))),
            ("lock \"ä\"", ShellCommand::Call(Verb::Lock, name("\"ä\""))),
            ("acquire a b", ShellCommand::Acquire(name("a b"))),
            ("try a", ShellCommand::Try(name("a"))),
            ("permit 5 a b", ShellCommand::Permit(number(5), name("a b"))),
            (
                "try-permit  1  2",
                ShellCommand::TryPermit(number(1), name("2")),
            ),
            ("release a  b", ShellCommand::Release(name("a  b"))),
            ("elect a b", ShellCommand::Elect(name("a b"))),
            ("show a", ShellCommand::Show(name("a"))),
            ("why a b", ShellCommand::Why(name("a b"))),
        ] {
            assert_eq!(command(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_prefix_is_the_rest_of_its_line_or_nothing() {
        for (rest, prefix) in [("", ""), ("  ", ""), (" a/", "a/"), ("  a b ", "a b")] {
            let prefix = prefix.to_owned();
            assert_eq!(
                command(&format!("ls{rest}")),
                Ok(ShellCommand::Ls(prefix.clone()))
            );
            assert_eq!(
                command(&format!("watch{rest}")),
                Ok(ShellCommand::Watch(prefix))
            );
        }
        for word in ["ls", "watch"] {
            let long = command(&format!("{word} {}", "x".repeat(1_025)));
            let too_long = NameError::TooLong { bytes: 1_025 };
            assert_eq!(long, Err(ShellCommandError::Name(too_long)), "{word}");
        }
    }

    #[test]
    fn to_break_a_lock_takes_its_name_its_token_and_a_reason_in_words() {
        let reason = "its holder  hangs".parse().expect("a good reason");
        assert_eq!(
            command("break  a/b  17 its holder  hangs "),
            Ok(ShellCommand::Break(name("a/b"), Token::new(17), reason))
        );
        assert!(matches!(command("break"), Err(ShellCommandError::Name(_))));
        for line in ["break a", "break a b 17 why", "break a -1 why"] {
            assert!(
                matches!(command(line), Err(ShellCommandError::Token { .. })),
                "{line}"
            );
        }
        assert_eq!(
            command("break a 17"),
            Err(ShellCommandError::Reason(ReasonError::Empty))
        );
    }

    #[test]
    fn help_names_every_command() {
        assert_eq!(command(" help "), Ok(ShellCommand::Help));
        for line in HELP.split(" | ") {
            let word = line.split([' ', ';']).next().expect("a word");
            let error = command(word);
            let unknown = matches!(error, Err(ShellCommandError::UnknownCommand(_)));
            assert!(!unknown, "{word}");
        }
    }

    #[test]
    fn a_word_that_is_no_command_is_repeated_only_in_part() {
        for line in ["", "break a ", "permit "] {
            let error = command(&format!("{line}{}", "x".repeat(1_025)));
            let told = error.expect_err("no order").to_string();
            assert!(told.len() < 200, "{told}");
        }
    }

    #[test]
    fn a_line_that_is_no_order_is_told_why() {
        for line in ["lock", "show", "why", "elect"] {
            let error = Err(ShellCommandError::Name(NameError::Empty));
            assert_eq!(command(line), error, "{line}");
        }
        assert_eq!(
            command("Lock a"),
            Err(ShellCommandError::UnknownCommand("Lock".to_owned()))
        );
        for line in ["permit", "permit a", "permit 0 a", "try-permit -1 a"] {
            let error = command(line);
            assert!(
                matches!(error, Err(ShellCommandError::Permits { .. })),
                "{line}"
            );
        }
        assert_eq!(
            command("permit 5"),
            Err(ShellCommandError::Name(NameError::Empty))
        );
        let long = command(&format!("lock {}", "x".repeat(1_025)));
        assert_eq!(
            long,
            Err(ShellCommandError::Name(NameError::TooLong { bytes: 1_025 }))
        );
    }
}
