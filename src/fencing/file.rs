//! A gate for processes on one machine, kept in a file.
//!
//! The token has to be on the disk before the write begins: if a crash could keep the write and
//! lose the token, an older writer would be admitted afterwards. So the file is replaced as a whole
//! (a new one, synced, renamed over the old one, the directory synced), and only then the write
//! runs. And it is the lock on another file that keeps writers apart, for a lock on a file that is
//! replaced would be a lock on the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str;

use xxhash_rust::xxh3::xxh3_64;

use super::{Fence, Stale};
use crate::types::Token;

/// More bytes than a gate file has.
const TOO_LONG: u64 = 256;

/// A gate for what processes on one machine write: it keeps the highest token in a file beside the
/// resource.
///
/// ```
/// use lockservice::fencing::{FileGate, GateError};
/// use lockservice::types::Token;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let report = directory.path().join("report.csv");
/// let gate = FileGate::new(directory.path().join("report.csv.fence"));
/// let (paused, next) = (Token::new(33), Token::new(34));
///
/// gate.write(next, || std::fs::write(&report, "complete"))?;
///
/// let late = gate.write(paused, || std::fs::write(&report, "half of it"));
/// assert!(matches!(late, Err(GateError::Stale(_))));
/// assert_eq!(std::fs::read_to_string(&report)?, "complete");
/// # Ok(())
/// # }
/// ```
///
/// It blocks the thread: on a runtime, call [`write`](Self::write) in
/// `tokio::task::spawn_blocking`.
///
/// # What it promises
///
/// - Of the writes through one gate file, by any threads and processes of one machine, one runs at
///   a time, and none with a token below that of one before it.
/// - That outlives crashes of the writers and of the machine: a token is on the disk before its
///   write begins. A killed writer keeps nobody out.
/// - A gate file that is not whole admits nobody.
///
/// # What it does not
///
/// - It does not undo: a writer that crashes inside its write leaves what it had written. Where
///   that matters, write a new file outside the gate, and only rename it inside.
/// - It does not wake who sleeps: a writer that is stopped inside its write (not killed) makes all
///   others wait until it goes on or ends. So do little inside.
/// - Nothing on a network file system (NFS, SMB): there a lock can be lost without a word to its
///   holder, and another machine can see an old file.
/// - Nothing against a process that writes past the gate, or that removes its files. Removing the
///   gate file makes it forget: any token is admitted again. Removing the `.lock` file while
///   writers run lets two in at once.
///
/// Beside the gate file are one of the same name with `.lock` at its end, which is empty and stays,
/// and for moments one with `.new`. All writers have to name the gate file by the same path, not by
/// links to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGate {
    path: PathBuf,
}

impl FileGate {
    /// Names the gate file. Nothing is done yet: the first write makes it, its directory has to
    /// exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Waits for other writers to end, then runs `write` if `token` is not below the highest seen.
    ///
    /// Returns what `write` returned. An error that is not of I/O becomes one by
    /// [`io::Error::other`]. A gate that is used again inside `write` waits for itself for ever.
    ///
    /// # Errors
    ///
    /// [`GateError::Write`] when `write` failed. With any other [`GateError`], it was not run.
    pub fn write<R>(
        &self,
        token: Token,
        write: impl FnOnce() -> io::Result<R>,
    ) -> Result<R, GateError> {
        let _until_written = self.lock().map_err(|error| self.failed(error))?;
        let mut fence = Fence::seen(self.highest()?);
        let known = fence.highest();
        fence.admit(token)?;
        self.record(known, token)
            .map_err(|error| self.failed(error))?;
        write().map_err(GateError::Write)
    }

    /// The highest token seen so far, 0 when there was none: for people and logs. Whether a write
    /// is admitted is only known in [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// [`GateError::Corrupt`] or [`GateError::Io`].
    pub fn highest(&self) -> Result<Token, GateError> {
        let text = match self.read() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Token::new(0)),
            Err(error) => return Err(self.failed(error)),
        };
        decode(&text).ok_or_else(|| GateError::Corrupt {
            path: self.path.clone(),
        })
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(&self.path)?
            .take(TOO_LONG)
            .read_to_end(&mut text)?;
        Ok(text)
    }

    /// Keeps all other writers out while the file that is returned is open. Each call opens it
    /// anew, so that threads which share a gate are kept apart too.
    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.beside(".lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Puts `token` on the disk. A `.new` file that a crash has left behind is overwritten.
    fn record(&self, known: Token, token: Token) -> io::Result<()> {
        if token != known {
            let new = self.beside(".new");
            let mut file = File::create(&new)?;
            file.write_all(encode(token).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
        }
        // Also when the token is known: the process that renamed the file may have been killed
        // before it came here.
        File::open(directory_of(&self.path))?.sync_all()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn failed(&self, source: io::Error) -> GateError {
        GateError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

pub(super) fn directory_of(path: &Path) -> &Path {
    let named = path.parent().filter(|parent| *parent != Path::new(""));
    named.unwrap_or_else(|| Path::new("."))
}

/// One line, which people can read: what it is, the token, a checksum.
pub(super) fn encode(token: Token) -> String {
    let checksum = xxh3_64(&token.get().to_le_bytes());
    format!("lockservice-fence-1 {token} {checksum:016x}\n")
}

/// Nothing but what [`encode`] made is believed: a token cut short would be a lower one.
pub(super) fn decode(text: &[u8]) -> Option<Token> {
    let text = str::from_utf8(text).ok()?;
    let token = text.split(' ').nth(1)?.parse().ok()?;
    (text == encode(token)).then_some(token)
}

/// Why a write through a [`FileGate`] failed.
///
/// With [`Write`](Self::Write), the write was begun and can have happened in part. With any other
/// variant, it was not begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A later holder of the lock has been here.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The gate file does not hold what a gate has written. Nobody is admitted until it is removed,
    /// which is safe once no earlier holder can be about to write.
    #[error("the gate file {} is corrupt; nothing is admitted", .path.display())]
    Corrupt {
        /// The gate file.
        path: PathBuf,
    },
    /// The gate file, or the `.lock` or `.new` file beside it, could not be used.
    #[error("the gate file {}: {source}; the write was not begun", .path.display())]
    Io {
        /// The gate file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The gate admitted the write, which failed. It can have happened in part.
    #[error("the write failed: {0}")]
    Write(#[source] io::Error),
}
