//! Where the server's log lines go: stderr, for people or for machines.
//!
//! Nothing of `lockd` writes there but the thread of [`stderr`]: a log that cannot be written costs
//! lines, and nothing else.

use std::fmt;
use std::io;
use std::panic::set_hook;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use super::args::{LogFormat, LogOptions};
use crate::escape::escaped;
use crate::exit::Panicked;
use crate::output::stderr;

/// Begins to log.
///
/// # Errors
///
/// When the system has no thread to give.
pub(super) fn init(options: &LogOptions) -> io::Result<()> {
    stderr::start(|lost| tracing::error!(lost, "log lines were lost: stderr did not take them"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&options.log_filter))
        // It would tell by printing to stderr.
        .log_internal_errors(false)
        .with_writer(|| Lines);
    // It fails only where something else logs already, which is then as good.
    let _ = match options.log {
        LogFormat::Text => builder
            .with_ansi(io::stderr().is_terminal())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    set_hook(Box::new(|panic| tracing::error!("{}", Panicked(panic))));
    Ok(())
}

/// Writes a field of an event, on one line whatever its value is.
fn write_field(
    writer: &mut Writer<'_>,
    field: &tracing::field::Field,
    value: &dyn fmt::Debug,
) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => write!(writer, "{}", escaped(&text)),
        name => write!(writer, "{name}={}", escaped(&text)),
    }
}

/// Takes whole lines, for they are written by another thread.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::say(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
