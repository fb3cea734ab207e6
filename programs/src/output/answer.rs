//! Answers, which go to stdout, and what it means that one cannot be written.
//!
//! An answer is written by a thread that may wait for its reader, a pager for instance. Leases are
//! renewed and signals are heeded meanwhile.

use std::future::pending;
use std::io;

use tokio::task::spawn_blocking;

use super::write::{wait_for_end, write_all};
use crate::exit::{Exit, complain};

/// Why an answer was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritten {
    /// The other end of the pipe was closed: its reader has read enough.
    #[error("its reader has gone")]
    ReaderGone,
    #[error("{0}")]
    Failed(io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(error),
        }
    }
}

impl Unwritten {
    /// Says how `program` ends that only looked: as usual if its reader has gone, for then nobody
    /// misses the answer.
    pub(crate) fn end(&self, program: &str, usual: Exit) -> Exit {
        match self {
            Self::ReaderGone => usual,
            Self::Failed(_) | Self::Json(_) => {
                complain(program, &format!("cannot write the answer: {self}"));
                Exit::Unwritten
            }
        }
    }

    /// Says how `program` ends that has changed something: `what`, which nobody has been told.
    pub(crate) fn end_after(&self, program: &str, what: &str) -> Exit {
        complain(
            program,
            &format!("{what}, but the answer could not be written: {self}"),
        );
        Exit::Unwritten
    }
}

/// Writes `text` to stdout.
///
/// # Errors
///
/// [`Unwritten`]. A part of it may have been written.
///
/// # Cancel safety
///
/// Safe in that the text is written all the same, as long as the program runs.
pub(crate) async fn write(text: String) -> Result<(), Unwritten> {
    let written = spawn_blocking(move || write_all(io::stdout(), text.as_bytes()));
    match written.await {
        Ok(written) => Ok(written?),
        Err(error) => Err(Unwritten::Failed(io::Error::other(error))),
    }
}

/// Writes `text` to stdout, where nothing else goes on.
///
/// # Errors
///
/// [`Unwritten`].
pub(crate) fn write_now(text: &[u8]) -> Result<(), Unwritten> {
    Ok(write_all(io::stdout(), text)?)
}

/// Completes when the reader of stdout has gone. Never completes where the system does not tell, as
/// for a file.
///
/// # Cancel safety
///
/// Safe. The thread that waits stays until the program ends.
pub(crate) async fn reader_gone() {
    if let Ok(true) = spawn_blocking(|| wait_for_end(io::stdout())).await {
        return;
    }
    pending::<()>().await;
}
