//! Dials a host that has several addresses, as RFC 8305 ("Happy Eyeballs") has it: the next address
//! after a moment, while the first goes on, and at once when one fails.
//!
//! A server takes "refused" for the death of its peer, so that is said with care. It is said only
//! when a look-up that ended after the dial began has confirmed what is known, and every address
//! refused. When the name cannot be looked up, a stranger may refuse, at an address that the host
//! has left: the host then counts as silent, and the caller asks on.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustix::io::Errno;
use tokio::time::{Instant, sleep_until};

use crate::config::CONNECTION_ATTEMPT_DELAY;

/// Dials the `known` addresses, and those that `look_up` adds, until one answers.
///
/// The look-up may hang: then this does not wait for it for longer than for an address.
pub(super) async fn race<C, F>(
    known: Vec<SocketAddr>,
    look_up: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    dial: impl Fn(SocketAddr) -> F,
) -> io::Result<(SocketAddr, C)>
where
    F: Future<Output = io::Result<C>>,
{
    let mut seen = known.clone();
    let mut waiting = VecDeque::from(known);
    let mut dials = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut look_up = std::pin::pin!(look_up.fuse());
    let mut looked_up = None;
    let (mut next_due, mut give_up) = (Instant::now(), Instant::now());
    loop {
        if (dials.is_empty() || Instant::now() >= next_due)
            && let Some(addr) = waiting.pop_front()
        {
            dials.push(dial(addr).map(move |dialled| (addr, dialled)));
            next_due = Instant::now() + CONNECTION_ATTEMPT_DELAY;
        }
        let all_failed = dials.is_empty() && waiting.is_empty();
        if all_failed && let Some(looked_up) = looked_up {
            return Err(conclude(failures, looked_up));
        }
        tokio::select! {
            biased;
            Some((addr, dialled)) = dials.next() => match dialled {
                Ok(connection) => return Ok((addr, connection)),
                Err(failure) => {
                    failures.push(failure);
                    next_due = Instant::now();
                    give_up = Instant::now() + CONNECTION_ATTEMPT_DELAY;
                }
            },
            found = &mut look_up, if looked_up.is_none() => {
                looked_up = Some(found.map(|addrs| {
                    for addr in addrs {
                        if !seen.contains(&addr) {
                            seen.push(addr);
                            waiting.push_back(addr);
                        }
                    }
                }));
            }
            () = sleep_until(next_due), if !waiting.is_empty() => {}
            () = sleep_until(give_up), if all_failed && !failures.is_empty() => {
                let hangs = io::Error::new(io::ErrorKind::AddrNotAvailable, "its look-up hangs");
                return Err(conclude(failures, Err(hangs)));
            }
        }
    }
}

/// What a failed dial says of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Nothing: this side lacks what it takes to dial.
    Own,
    /// Nothing: this machine has no address from which to dial this one, such as of its family.
    NotFromHere,
    /// Nobody listens.
    Refused,
    /// The host does not answer.
    Silent,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Own,
            Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Self::NotFromHere,
            _ if error.kind() == io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Silent,
        }
    }
}

/// Whether a failed `connect` says nothing of the other side, because this side could not even ask.
pub(crate) fn was_not_asked(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    matches!(Failure::of(error), Failure::Own | Failure::NotFromHere)
        || matches!(error.kind(), AddrNotAvailable | Unsupported)
}

/// The error that says least of the host.
fn conclude(mut failures: Vec<io::Error>, looked_up: io::Result<()>) -> io::Error {
    let mut first = |kind| {
        let found = failures
            .iter()
            .position(|failure| Failure::of(failure) == kind);
        found.map(|at| failures.swap_remove(at))
    };
    if let Some(failure) = first(Failure::Own).or_else(|| first(Failure::Silent)) {
        return failure;
    }
    let (refused, elsewhere) = (first(Failure::Refused), first(Failure::NotFromHere));
    let unsure = looked_up.err().or(elsewhere);
    match (refused, unsure) {
        (Some(refused), None) => refused,
        (Some(refused), Some(why)) => io::Error::new(
            io::ErrorKind::HostUnreachable,
            format!("{refused}; perhaps not where it is now: {why}"),
        ),
        (None, Some(why)) => why,
        (None, None) => io::Error::new(io::ErrorKind::AddrNotAvailable, "no address is known"),
    }
}

#[cfg(test)]
mod tests;
