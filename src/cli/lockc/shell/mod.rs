//! `lockc shell`: commands from a stream, one a line; answers to another, one a line, in order.

mod order;
mod teller;
mod watches;

use std::fmt;
use std::io;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};

pub(super) use self::teller::Teller;

use self::order::{Order, OrderError};
use crate::cli::exit::one_line;

/// The longest line that is looked at, in bytes: room for the longest name and many blanks.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Why a shell ends before its input does.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShellError {
    #[error("cannot read commands: {0}")]
    Input(io::Error),
    #[error("cannot write answers: {0}")]
    Output(io::Error),
}

/// Answers each line of `input` with a line of `output`, until the input ends.
pub(super) async fn run<A: fmt::Display, E: fmt::Display>(
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut execute: impl AsyncFnMut(Order) -> Result<A, E>,
) -> Result<(), ShellError> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)
        .await
        .map_err(ShellError::Input)?
    {
        let answer = match parse(&line) {
            None => continue,
            Some(Ok(order)) => match execute(order).await {
                Ok(answer) => format!("{answer}\n"),
                Err(error) => refusal(&error),
            },
            Some(Err(error)) => refusal(&error),
        };
        output
            .write_all(answer.as_bytes())
            .await
            .map_err(ShellError::Output)?;
        output.flush().await.map_err(ShellError::Output)?;
    }
    Ok(())
}

fn refusal(error: &dyn fmt::Display) -> String {
    format!("error: {}\n", one_line(&error.to_string()))
}

/// None for a line with nothing on it.
fn parse(line: &[u8]) -> Option<Result<Order, OrderError>> {
    if line.len() > MAX_LINE_BYTES {
        return Some(Err(OrderError::TooLong));
    }
    match str::from_utf8(line) {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(text.parse()),
        Err(_) => Some(Err(OrderError::NotUtf8)),
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
    use crate::service::Verb;

    /// The answers to `input`, of a shell that locks in memory.
    async fn answers(input: &[u8]) -> String {
        let mut held = BTreeSet::new();
        let mut output = Vec::new();
        run(input, &mut output, async |order: Order| {
            Ok::<_, &str>(match order {
                Order::Call(Verb::Lock, name) => held.insert(name),
                Order::Call(Verb::Unlock, name) => held.remove(&name),
                _ => return Err("it has no sessions"),
            })
        })
        .await
        .expect("memory can be read and written");
        String::from_utf8(output).expect("answers are text")
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
        let mut output = Vec::new();
        run(&b"lock a\n"[..], &mut output, async |_| {
            Err::<bool, _>("one\ntwo")
        })
        .await
        .expect("memory can be read and written");
        assert_eq!(output, b"error: one two\n");
    }

    #[tokio::test]
    async fn an_input_that_cannot_be_read_is_an_error() {
        let input = broken();
        let ended = run(input, Vec::new(), async |_| Ok::<_, Infallible>(true)).await;
        assert!(matches!(ended, Err(ShellError::Input(_))), "{ended:?}");
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
