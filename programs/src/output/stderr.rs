//! What the programs say on stderr: logs, messages, progress.
//!
//! Stderr may be a full disk, a pipe that nobody reads, or a terminal that was stopped. A write
//! then fails, or waits for ever; in `lockd` that would hold up the task that owns the state, and
//! cost the server. So a thread of its own writes; every other thread hands its text over and goes
//! on. Lines that cannot be written are counted, and the count is written when stderr works again.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::queue::Queue;
use super::write::{write_all, write_some};

/// How long the end of a program waits for what is still to be written. A second: what is not
/// written by then waits for a reader that does not read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is on its way to stderr. The thread that writes is there when this is.
static STDERR: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts the thread that writes to stderr, unless it runs. `report` says how many lines were lost.
///
/// # Errors
///
/// When the system has no thread to give.
pub(crate) fn start(report: fn(u64)) -> io::Result<()> {
    if STDERR.get().is_some() {
        return Ok(());
    }
    let queue = Arc::new(Queue::default());
    let lines = queue.clone();
    let thread = thread::Builder::new().name("stderr".to_owned());
    thread.spawn(move || {
        let mut output = Output::new(io::stderr());
        loop {
            output.write_next(&lines, report);
        }
    })?;
    STDERR.get_or_init(|| queue);
    Ok(())
}

/// Says something: whole lines, each with its end. Waits for nothing.
pub(crate) fn say(lines: Vec<u8>) {
    // That messages were lost is no message of a program that does not log.
    let started = start(|_| {});
    match STDERR.get() {
        Some(queue) if started.is_ok() => queue.push(lines),
        // There is no thread to be had.
        _ => drop(write_all(io::stderr(), &lines)),
    }
}

/// Waits a moment for what is still to be written.
pub(crate) fn finish() {
    if let Some(queue) = STDERR.get() {
        queue.wait_until_empty(LAST_WORDS);
    }
}

/// Where lines are written.
struct Output<W> {
    to: W,
    /// The last line was broken off.
    is_torn: bool,
}

impl<W: AsFd> Output<W> {
    const fn new(to: W) -> Self {
        Self { to, is_torn: false }
    }

    /// Writes one line, as soon as there is one.
    fn write_next(&mut self, queue: &Queue, report: impl FnOnce(u64)) {
        let line = queue.next();
        match self.write(&line) {
            Ok(()) => match queue.written() {
                0 => {}
                lost => report(lost),
            },
            Err(_) => queue.failed(),
        }
    }

    fn write(&mut self, mut line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            write_all(&self.to, b"\n")?;
            self.is_torn = false;
        }
        while !line.is_empty() {
            let count = write_some(&self.to, line)?;
            line = &line[count..];
            self.is_torn = !line.is_empty();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn lines_that_could_not_be_written_are_reported_when_one_can() {
        let (to, from) = UnixStream::pair().expect("a pair of sockets");
        drop(from);
        let (queue, mut output) = (Queue::default(), Output::new(to));
        let reported = Cell::new(0);
        let write_next = |output: &mut Output<UnixStream>, line: &[u8]| {
            queue.push(line.to_vec());
            output.write_next(&queue, |lost| reported.set(reported.get() + lost));
            reported.get()
        };
        assert_eq!(write_next(&mut output, b"a\n"), 0);
        assert_eq!(write_next(&mut output, b"b\n"), 0);

        let (to, mut from) = UnixStream::pair().expect("a pair of sockets");
        output.to = to;
        assert_eq!(write_next(&mut output, b"c\n"), 2);
        // A line that was broken off is ended before the next one begins.
        output.is_torn = true;
        assert_eq!(write_next(&mut output, b"d\n"), 2);
        drop(output);
        let mut read = String::new();
        from.read_to_string(&mut read).expect("text");
        assert_eq!(read, "c\n\nd\n");
    }
}
