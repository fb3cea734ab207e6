//! Unix sockets, and the files they leave behind.
//!
//! A server that was killed leaves its socket file, and the next one could not bind. So a file that
//! nobody listens behind is replaced. What is not a socket is never deleted, nor is the socket of a
//! server that lives; and a listener that goes away removes the file only if it is still its own.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use tokio::net::{UnixListener, UnixStream};

use super::{Accept, Addr, Listener, Stream};

pub(super) async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await.map(Stream::new)
}

pub(super) async fn listen(path: &Path) -> io::Result<Listener> {
    clear(path).await?;
    let listener = UnixListener::bind(path)?;
    Ok(Listener::new(Incoming {
        file: SocketFile::of(path)?,
        listener,
        accepted: 0,
    }))
}

/// Removes the socket file of a dead server.
async fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(in_use(path, "it exists and is not a socket"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(in_use(path, "a server is listening on it")),
    }
}

fn in_use(path: &Path, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("cannot listen on `{}`: {why}", path.display()),
    )
}

struct Incoming {
    listener: UnixListener,
    file: SocketFile,
    accepted: u64,
}

impl Accept for Incoming {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>> {
        let (stream, _unnamed) = ready!(self.listener.poll_accept(cx))?;
        self.accepted += 1;
        let from = format!("{}#{}", self.local_addr(), self.accepted);
        Poll::Ready(Ok((Stream::new(stream), from)))
    }

    fn local_addr(&self) -> Addr {
        Addr::Unix(self.file.path.clone())
    }
}

/// The file of a bound socket; removed on drop.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_path() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lockd.sock");
        (dir, path)
    }

    #[tokio::test]
    async fn the_socket_file_of_a_dead_server_is_replaced() {
        let (_dir, path) = socket_path();
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(
            path.exists(),
            "std leaves the file, as a killed server does"
        );
        let _listener = listen(&path).await.expect("replaced");
        connect(&path).await.expect("somebody listens");
    }

    #[tokio::test]
    async fn the_socket_of_a_live_server_is_refused() {
        let (_dir, path) = socket_path();
        let _first = listen(&path).await.expect("bound");
        let error = listen(&path).await.expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains("a server is listening"),
            "{error}"
        );
        connect(&path).await.expect("the first one still listens");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let (_dir, path) = socket_path();
        fs::write(&path, "precious").expect("written");
        let error = listen(&path).await.expect_err("in use");
        assert!(error.to_string().contains("not a socket"), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[tokio::test]
    async fn the_file_goes_with_the_listener() {
        let (_dir, path) = socket_path();
        drop(listen(&path).await.expect("bound"));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_file_of_a_successor_stays() {
        let (_dir, path) = socket_path();
        let first = listen(&path).await.expect("bound");
        fs::rename(&path, path.with_extension("old")).expect("moved away");
        let _second = listen(&path).await.expect("bound");
        drop(first);
        connect(&path).await.expect("the second one listens");
    }
}
