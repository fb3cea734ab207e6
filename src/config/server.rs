//! The timing and the limits of a server.

use std::time::Duration;

use super::CALLS_PER_CONNECTION;

/// The timing of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How long a peer may be silent, and a probe of it unanswered, before it counts as dead. Must
    /// be equal on both servers: with different ones they do not pair, and say why.
    ///
    /// Too low, and a busy machine or a slow network causes needless takeovers; too high, and
    /// clients wait that much longer when a server hangs (a server that *dies* is noticed at once).
    /// Default 1 s: ten times the longest scheduling delay seen on a loaded two-core machine.
    pub peer_timeout: Duration,
    /// How long a backup that answers, but acknowledges nothing that it is sent, is kept. Then it
    /// is asked to step down, so that the primary can go on alone.
    ///
    /// Clients get no answer meanwhile. Too low, and a backup is let go that smaller frames could
    /// have fed; too high, and calls fail. Default 4 s: four `peer_timeout`s, and well below
    /// [`CALL_TIMEOUT`](super::CALL_TIMEOUT).
    pub feed_timeout: Duration,
    /// How long a session without a lease outlives its client's last request, and a connection the
    /// last bytes that were read from it, unless a request waits there.
    ///
    /// Too low, and a client that was cut off for that long can no longer learn the outcome of its
    /// last calls; too high, and sessions of crashed clients take memory that long. Default 10 min.
    pub session_time_to_live: Duration,
    /// How long a new connection may take to send its preface. Default 5 s: a slow link needs less,
    /// and a half-open connection costs a descriptor that long.
    pub preface_timeout: Duration,
    /// How long a graceful stop waits for the answers that are in flight. Default 5 s: they take
    /// milliseconds unless the peer hangs, and then a `peer_timeout` or two.
    pub stop_timeout: Duration,
    /// How long at most the thread polls for the next message before it parks, while the server
    /// finds by trial that more gets done so. The server follows the gaps between messages up to
    /// here. Zero: never.
    ///
    /// Polling makes a call several times as quick where clients make few at a time, and keeps a
    /// core busy while they do. Too low, and the thread parks just before the message comes; too
    /// high, and a core is kept busy for messages that are not worth it. Meant for a runtime of one
    /// thread. Default zero; `lockd`, which has its thread for itself, sets [`BUSY_POLL`].
    pub busy_poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            peer_timeout: Duration::from_secs(1),
            feed_timeout: Duration::from_secs(4),
            session_time_to_live: Duration::from_mins(10),
            preface_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(5),
            busy_poll: Duration::ZERO,
        }
    }
}

/// The limits of a server. A request beyond a limit is refused, and the refusal names the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of clients at a time; those of the peer are not counted. Default 16,384: under
    /// the usual limit of 20,000 descriptors. A connection over it is told that the server is busy.
    pub connections: usize,
    /// Connections beyond that, which have not said yet what they are, or are told that the server
    /// is busy. The oldest of the former makes room for a new one, which may be the peer's. Default
    /// 1,024.
    pub greetings: usize,
    /// Unanswered calls on one connection. Default [`CALLS_PER_CONNECTION`].
    pub calls_per_connection: usize,
    /// Unanswered calls in all. Default 16,384: some 10 MiB, and 50 ms of work. More are
    /// refused; at twice as many, connections with more than a few of them are not read from.
    pub calls: usize,
    /// Sessions; their names and addresses count too, see
    /// [`RECORD_BYTES`](super::RECORD_BYTES). Default 100,000: some 25 MiB, and 120 MiB if each of
    /// them fills its [`CALL_WINDOW`](super::CALL_WINDOW).
    pub clients: u64,
    /// Held locks, places of sessions at locks, and retentions, together: one lock that is owned is
    /// two of them. Default 4,000,000: some 500 MiB of plain locks, or 700 MiB of owned ones, with
    /// short names.
    pub locks: u64,
    /// How much memory the process may use, in bytes; none: as much as there is. `lockd` reads it
    /// from its control group.
    ///
    /// How much the locks and sessions may take follows from it, and how many calls and connections
    /// there may be. Either server may have to keep all locks, so of two values the smaller one
    /// applies to both, as with [`Self::clients`] and [`Self::locks`]. Too low, and calls are
    /// refused that there is room for; too high, and the system kills the server, and then the
    /// other one. Default none.
    pub memory: Option<u64>,
}

impl Limits {
    /// Lowers what the memory has no room for.
    #[must_use]
    pub(crate) fn within_memory(self) -> Self {
        let count = |bytes, bytes_each| usize::try_from(bytes / bytes_each).unwrap_or(usize::MAX);
        Self {
            connections: self.connections.min(count(self.share(2), CONNECTION_BYTES)),
            calls: self.calls.min(count(self.share(1), CALL_BYTES)),
            ..self
        }
    }

    /// How much the locks and sessions may take, in bytes: seven sixteenths of the memory, so that
    /// a copy of every shard fits beside them, as a sync may need. The copy shares the names, and
    /// is half as large.
    #[must_use]
    pub(crate) fn state_bytes(&self) -> u64 {
        self.share(7)
    }

    /// How much of that the locks may take. The rest is for sessions, so that clients can still
    /// connect and free some.
    #[must_use]
    pub(crate) fn lock_bytes(&self) -> u64 {
        self.state_bytes() / 8 * 7
    }

    /// How much the commands that wait for the other server may take, in bytes.
    #[must_use]
    pub(crate) fn unacked_bytes(&self) -> u64 {
        self.share(2)
    }

    /// A number of sixteenths of the memory that is left beside the program.
    fn share(&self, sixteenths: u64) -> u64 {
        let left = |memory: u64| memory.max(MIN_MEMORY) - PROGRAM_BYTES;
        self.memory
            .map_or(u64::MAX, |memory| left(memory) / 16 * sixteenths)
    }

    /// What a backup may relay at a time: every call, and every session's poll.
    #[must_use]
    pub(crate) fn relays(&self) -> usize {
        let polls = usize::try_from(self.clients).unwrap_or(usize::MAX);
        self.calls.saturating_add(polls)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            greetings: 1_024,
            calls_per_connection: CALLS_PER_CONNECTION,
            calls: 16_384,
            clients: 100_000,
            locks: 4_000_000,
            memory: None,
        }
    }
}

/// How long at most `lockd` polls before its thread parks. 500 us: an exchange with the other
/// server, or with a client that calls again at once, takes 20 to 40 us where nobody has to be
/// woken, and up to some hundred where a wake-up is slow.
pub const BUSY_POLL: Duration = Duration::from_micros(500);

/// The smallest memory limit that a server accepts, in bytes: less has no room for locks.
pub const MIN_MEMORY: u64 = 24 * 1024 * 1024;

/// The memory of a server without locks and clients, in bytes: the program, its stacks and buffers,
/// and what the allocator keeps.
const PROGRAM_BYTES: u64 = 12 * 1024 * 1024;

/// The memory of an idle client's connection, in bytes, as measured (`docs/performance.md`).
const CONNECTION_BYTES: u64 = 16 * 1024;

/// The memory of an unanswered call, in bytes: the longest name, its handler, and tarpc's entry.
const CALL_BYTES: u64 = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn of(memory: u64) -> Limits {
        let memory = Some(memory);
        Limits {
            memory,
            ..Limits::default()
        }
        .within_memory()
    }

    #[test]
    fn what_memory_is_shared_out_fits_with_a_copy_of_the_state_beside_it() {
        for memory in [24 * MIB, 64 * MIB, 150 * MIB, 1024 * MIB, 1 << 40] {
            let limits = of(memory);
            let counted = |count: usize, each: u64| count as u64 * each;
            let copy = limits.state_bytes() / 2;
            let clients =
                counted(limits.connections, CONNECTION_BYTES) + counted(limits.calls, CALL_BYTES);
            let taken = limits.state_bytes() + copy + limits.unacked_bytes() + clients;
            assert!(taken + PROGRAM_BYTES <= memory, "{memory}: {limits:?}");
            assert!(limits.lock_bytes() < limits.state_bytes(), "{limits:?}");
            assert!(limits.calls > 0 && limits.connections > 0, "{limits:?}");
        }
    }

    #[test]
    fn without_a_limit_of_memory_nothing_is_lowered() {
        let limits = Limits::default();
        assert_eq!(limits.within_memory(), limits);
        assert_eq!(limits.lock_bytes(), u64::MAX / 8 * 7);
        assert_eq!(limits.unacked_bytes(), u64::MAX);
    }
}
