//! `lockc shell`: commands from a stream, one a line; answers to another, one a line, in order.

mod command;
mod executor;
mod watches;

use std::fmt;
use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

pub(super) use self::executor::Executor;

use self::command::{ShellCommand, ShellCommandError};
use crate::escape::escaped;
use crate::output::Unwritten;

/// The longest line that is looked at, in bytes: room for the longest name and many blanks.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Why a shell ends before its input does.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShellError {
    #[error("cannot read commands: {0}")]
    Input(io::Error),
    #[error("cannot write answers: {0}")]
    Output(Unwritten),
    /// Nobody was told `what` has changed.
    #[error("{what}, but the answer could not be written: {error}")]
    Unheard { what: String, error: Unwritten },
}

/// Answers each line of `input` with a line that it hands to `write`, until the input ends.
pub(super) async fn run<A: fmt::Display, E: fmt::Display>(
    mut input: impl AsyncBufRead + Unpin,
    mut write: impl AsyncFnMut(String) -> Result<(), Unwritten>,
    mut execute: impl AsyncFnMut(ShellCommand) -> Result<A, E>,
) -> Result<(), ShellError> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)
        .await
        .map_err(ShellError::Input)?
    {
        let mut change = None;
        let answer = match parse(&line) {
            None => continue,
            Some(Ok(order)) => {
                change = order.change();
                match execute(order).await {
                    Ok(answer) => format!("{answer}\n"),
                    Err(error) => refusal(&error),
                }
            }
            Some(Err(error)) => refusal(&error),
        };
        let changed = change.filter(|_| answer == "true\n");
        write(answer).await.map_err(|error| match changed {
            Some(what) => ShellError::Unheard { what, error },
            None => ShellError::Output(error),
        })?;
    }
    Ok(())
}

fn refusal(error: &dyn fmt::Display) -> String {
    format!("error: {}\n", escaped(&error.to_string()))
}

/// None for a line with nothing on it.
fn parse(line: &[u8]) -> Option<Result<ShellCommand, ShellCommandError>> {
    if line.len() > MAX_LINE_BYTES {
        return Some(Err(ShellCommandError::TooLong));
    }
    match str::from_utf8(line) {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(text.parse()),
        Err(_) => Some(Err(ShellCommandError::NotUtf8)),
    }
}

/// Reads up to the next end of line, and keeps of it as much as can matter. False at the end.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    line.clear();
    let mut rest = Vec::new();
    let most = MAX_LINE_BYTES as u64 + 1;
    let mut read = (&mut *input).take(most).read_until(b'\n', line).await?;
    let is_some = read > 0;
    let mut ended = line.ends_with(b"\n");
    while !ended && read > 0 {
        rest.clear();
        read = (&mut *input)
            .take(most)
            .read_until(b'\n', &mut rest)
            .await?;
        ended = rest.ends_with(b"\n");
    }
    Ok(is_some)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use super::*;
    use lockservice::service::Verb;

    /// The answers to `input`, of a shell that locks in memory.
    async fn answers(input: &[u8]) -> String {
        let mut held = BTreeSet::new();
        told(input, async |order: ShellCommand| {
            Ok::<_, &str>(match order {
                ShellCommand::Call(Verb::Lock, name) => held.insert(name),
                ShellCommand::Call(Verb::Unlock, name) => held.remove(&name),
                _ => return Err("it has no sessions"),
            })
        })
        .await
    }

    /// All answers to `input`.
    async fn told<E: fmt::Display>(
        input: &[u8],
        execute: impl AsyncFnMut(ShellCommand) -> Result<bool, E>,
    ) -> String {
        let mut output = String::new();
        let write = async |answer: String| {
            output.push_str(&answer);
            Ok(())
        };
        let ended = run(input, write, execute).await;
        ended.expect("memory can be read and written");
        output
    }

    #[tokio::test]
    async fn every_command_is_answered_in_order_with_one_line() {
        assert_eq!(
            answers(b"lock a\nlock a\nunlock a\n\n  \nunlock a\nlock b").await,
            "true\nfalse\ntrue\nfalse\ntrue\n"
        );
    }

    #[tokio::test]
    async fn a_bad_line_is_answered_and_does_not_end_the_shell() {
        let mut input = b"what?\nlock \xff\nlock ".to_vec();
        input.extend(vec![b'x'; 3 * MAX_LINE_BYTES]);
        input.extend(b"\nlock a\n");
        let answers = answers(&input).await;
        let lines: Vec<_> = answers.lines().collect();
        assert_eq!(lines.len(), 4, "{answers}");
        assert!(lines[0].starts_with("error: unknown command `what?`"));
        assert!(lines[1].starts_with("error: the line is not UTF-8"));
        assert!(lines[2].starts_with("error: the line has more than"));
        assert_eq!(lines[3], "true");
    }

    #[tokio::test]
    async fn an_error_is_one_line_whatever_it_says() {
        let told = told(b"lock a\n", async |_| Err("one\ntwo")).await;
        assert_eq!(told, "error: one\\ntwo\n");
    }

    #[tokio::test]
    async fn an_input_that_cannot_be_read_is_an_error() {
        let write = async |_| Ok(());
        let ended = run(broken(), write, async |_| Ok::<_, Infallible>(true)).await;
        assert!(matches!(ended, Err(ShellError::Input(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn what_has_changed_is_told_when_its_answer_cannot_be_written() {
        let failed = async |input: &'static [u8], answer: bool| {
            let write = async |_| Err(Unwritten::ReaderGone);
            let execute = async |_| Ok::<_, Infallible>(answer);
            run(input, write, execute).await.expect_err("nobody reads")
        };
        for (line, what) in [
            (&b"lock a"[..], "the lock `a` is now held"),
            (b"unlock a", "the lock `a` is now free"),
            (b"break a 7 why", "the lock `a` was taken from its holder"),
        ] {
            let ended = failed(line, true).await.to_string();
            let expected =
                format!("{what}, but the answer could not be written: its reader has gone");
            assert_eq!(ended, expected);
            let ended = failed(line, false).await;
            assert!(matches!(ended, ShellError::Output(_)), "{ended}");
        }
        // The shell gives it back when it ends.
        let ended = failed(b"release a", true).await;
        assert!(matches!(ended, ShellError::Output(_)), "{ended}");
    }

    /// A reader that fails at once.
    fn broken() -> impl AsyncBufRead + Unpin {
        struct Broken;
        impl tokio::io::AsyncRead for Broken {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Err(io::Error::other("broken")))
            }
        }
        tokio::io::BufReader::new(Broken)
    }
}
