//! The text form of a history: one `cCLIENT VERB CALLED..ANSWERED RESULT NAME` per line.
//!
//! A moment is `TICK` or `TICK@SECONDS`. An unanswered call has `?` and `unknown`. The name comes
//! last; only line breaks and backslashes in it are escaped. A line that begins with `#` is a
//! comment.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{History, Moment, Operation, Outcome};
use crate::service::Verb;
use crate::types::LockName;

/// A line is not a call of a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a call of a history: {line:?}")]
pub struct HistoryError {
    line: String,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tick)?;
        if self.since_start.is_zero() {
            return Ok(());
        }
        write!(f, "@{:.6}", self.since_start.as_secs_f64())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Lock => "lock",
            Verb::Unlock => "unlock",
        };
        write!(f, "c{} {verb} {}..", self.client, self.called)?;
        match self.outcome {
            Outcome::Answered { result, at } => write!(f, "{at} {result} ")?,
            Outcome::Unknown => f.write_str("? unknown ")?,
        }
        f.write_str(&escape(self.name.as_str()))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations
            .iter()
            .try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

impl FromStr for History {
    type Err = HistoryError;

    fn from_str(text: &str) -> Result<Self, HistoryError> {
        text.lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                operation(line).ok_or_else(|| HistoryError {
                    line: line.to_owned(),
                })
            })
            .collect()
    }
}

fn operation(line: &str) -> Option<Operation> {
    let mut words = line.splitn(5, ' ');
    let client = words.next()?.strip_prefix('c')?.parse().ok()?;
    let verb = match words.next()? {
        "lock" => Verb::Lock,
        "unlock" => Verb::Unlock,
        _ => return None,
    };
    let (called, answered) = words.next()?.split_once("..")?;
    let outcome = match words.next()? {
        "unknown" if answered == "?" => Outcome::Unknown,
        result => Outcome::Answered {
            result: result.parse().ok()?,
            at: moment(answered)?,
        },
    };
    Some(Operation {
        client,
        verb,
        name: LockName::new(unescape(words.next()?)?).ok()?,
        called: moment(called)?,
        outcome,
    })
}

fn moment(text: &str) -> Option<Moment> {
    let (tick, seconds) = text.split_once('@').unwrap_or((text, "0"));
    let since_start = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some(Moment {
        tick: tick.parse().ok()?,
        since_start,
    })
}

fn escape(name: &str) -> String {
    name.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

fn unescape(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name)
}
