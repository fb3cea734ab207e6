//! Explains what is wrong with a command line.

use std::error::Error as _;
use std::num::{IntErrorKind, ParseIntError};

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::escape::escaped;
use super::text::abridged;

/// How many columns of an argument are repeated: enough to find it.
const LONGEST_ECHO: usize = 60;

/// Shortens what is repeated of the command line, and says what is expected of a number.
pub(super) fn legible(mut error: Error) -> Error {
    let echoed: Vec<_> = error.context().filter_map(shortened).collect();
    for (kind, text) in echoed {
        error.insert(kind, ContextValue::String(text));
        // The tips repeat it too.
        error.insert(ContextKind::Suggested, ContextValue::None);
    }
    match number(&error) {
        Some(message) => Error::raw(ErrorKind::ValueValidation, message),
        None => error,
    }
}

fn shortened((kind, value): (ContextKind, &ContextValue)) -> Option<(ContextKind, String)> {
    let ContextValue::String(text) = value else {
        return None;
    };
    let is_echo = matches!(
        kind,
        ContextKind::InvalidArg | ContextKind::InvalidValue | ContextKind::InvalidSubcommand
    );
    let short = abridged(&escaped(text).to_string(), LONGEST_ECHO);
    (is_echo && short != *text).then_some((kind, short))
}

/// What to say instead of the standard library's words, which do not name what is expected.
fn number(error: &Error) -> Option<String> {
    let why: &ParseIntError = error.source()?.downcast_ref()?;
    let expected = match why.kind() {
        IntErrorKind::Zero => "it must be at least 1",
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "the number is out of range",
        _ => "it must be a whole number",
    };
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (value, arg) = (
        text(ContextKind::InvalidValue)?,
        text(ContextKind::InvalidArg)?,
    );
    Some(format!(
        "invalid value '{value}' for '{arg}': {expected}\n\nFor more information, try '--help'.\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockc::args::Cli as Lockc;
    use crate::lockd::args::Cli as Lockd;
    use crate::options::tests::parse;

    fn told(line: &str) -> String {
        let error = if line.starts_with("lockd") {
            parse::<Lockd>(line).expect_err(line)
        } else {
            parse::<Lockc>(line).expect_err(line)
        };
        legible(error).to_string()
    }

    #[test]
    fn a_wrong_argument_is_told_with_what_is_expected() {
        for (line, expected) in [
            ("lockc --servers http://a:1,b:2 ls", "without a scheme"),
            (
                "lockc --timeout soon ls",
                "write 500ms, 2s or 1m, or seconds: 2",
            ),
            ("lockc --timeout -1 ls", "a duration is not negative"),
            ("lockc --timeout -1s ls", "a duration is not negative"),
            (
                "lockc break a --token abc --reason b",
                "as `lockc show` prints it",
            ),
            (
                "lockc break a --token -1 --reason b",
                "as `lockc show` prints it",
            ),
            ("lockc torture --seed x", "it must be a whole number"),
            ("lockc torture --clerks x", "it must be a whole number"),
            ("lockc torture --clerks 0", "1..=10000"),
            ("lockc watch --every -1s", "a duration is not negative"),
            (
                "lockd primary --max-locks many",
                "it must be a whole number",
            ),
            (
                "lockd primary --max-locks 99999999999999999999",
                "out of range",
            ),
            (
                "lockd primary --peer-timeout -1s",
                "a duration is not negative",
            ),
            ("lockd primary --busy-poll 60", "write 500us"),
        ] {
            let told = told(line);
            assert!(told.contains(expected), "{line}: {told}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_number_of_permits_is_at_least_one() {
        for (permits, expected) in [
            ("0", "it must be at least 1"),
            ("x", "it must be a whole number"),
            ("4294967296", "out of range"),
        ] {
            let told = told(&format!("lockc run --permits {permits} a ls"));
            assert!(told.contains(expected), "{permits}: {told}");
        }
    }

    #[test]
    fn what_is_repeated_of_a_long_or_strange_argument_is_short_and_one_line() {
        let long = "x".repeat(1_025);
        for line in [
            format!("lockc lock {long}"),
            format!("lockc lock a {long}"),
            format!("lockc {long}"),
            format!("lockc ls --{long}"),
            format!("lockc --servers {long} ls"),
            format!("lockc --servers {long}:1,b ls"),
            format!("lockc --timeout {long} ls"),
        ] {
            let told = told(&line);
            assert!(told.len() < 400, "{line}: {told}");
        }
        let told = told(&format!("lockc lock {long}"));
        assert!(
            told.contains("at most 1024 bytes, this one has 1025"),
            "{told}"
        );
    }
}
