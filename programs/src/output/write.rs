//! Writing to a descriptor that others share.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Writes all of `bytes`, and waits as long as that takes.
///
/// # Errors
///
/// When nothing more can be written. Some of it may have been.
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = write_some(&to, bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Writes the first of `bytes`, and returns how many.
///
/// Standard output may be shared with a program that has made it non-blocking. Then there is
/// nothing wrong with a write that would block: it is repeated when there is room.
///
/// # Errors
///
/// When none can be written.
pub(super) fn write_some(to: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(&to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for_room(&to)?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for_room(to: impl AsFd) -> io::Result<()> {
    match poll(&mut [PollFd::new(&to, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until nobody reads what is written `to` a pipe or a socket. Returns whether that is so.
pub(super) fn wait_for_end(to: impl AsFd) -> bool {
    loop {
        // The system tells of an end though nothing is asked for.
        match poll(&mut [PollFd::new(&to, PollFlags::empty())], None) {
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn an_output_that_others_have_made_non_blocking_takes_everything() {
        let (to, mut from) = UnixStream::pair().expect("a pair of sockets");
        to.set_nonblocking(true).expect("an option");
        let bytes = vec![b'x'; 4 * 1024 * 1024];
        let expected = bytes.len();
        let writing = thread::spawn(move || write_all(to, &bytes));
        let mut read = Vec::new();
        from.read_to_end(&mut read).expect("it can be read");
        writing.join().expect("no panic").expect("it was written");
        assert_eq!(read.len(), expected);
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error() {
        let (to, from) = UnixStream::pair().expect("a pair of sockets");
        drop(from);
        let error = write_all(to, b"x").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_end_of_a_reader_is_noticed() {
        let (to, from) = UnixStream::pair().expect("a pair of sockets");
        let waiting = thread::spawn(move || wait_for_end(to));
        drop(from);
        assert!(waiting.join().expect("no panic"));
    }
}
