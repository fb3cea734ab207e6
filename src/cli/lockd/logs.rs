//! Where the server's log lines go: stderr, for people or for machines.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::args::{LogFormat, LogOptions};

/// Begins to log. A second call changes nothing.
pub(super) fn init(options: &LogOptions) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&options.log_filter))
        .with_writer(io::stderr);
    // It fails only where something else logs already, which is then as good.
    let _ = match options.log {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
