//! Every limit and timeout: its meaning and unit, its default, and why it is that.

use std::time::Duration;

/// The timing of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How long a peer may be silent, and a probe of it unanswered, before it counts as dead. Must be
    /// equal on both servers.
    ///
    /// Too low, and a busy machine or a slow network causes needless takeovers; too high, and clients
    /// wait that much longer when a server hangs (a server that *dies* is noticed at once). Default
    /// 1 s: ten times the longest scheduling delay seen on a loaded two-core machine.
    pub peer_timeout: Duration,
    /// How long a client's record is kept when nothing is heard of the client.
    ///
    /// Too low, and a client that was cut off for that long can no longer be told the outcome of its
    /// last calls; too high, and records of crashed clients take memory that long. Default 10 min.
    pub record_time_to_live: Duration,
    /// How long a new connection may take to say what it is. Default 5 s: a slow link needs less, and
    /// a half-open connection costs a descriptor that long.
    pub preface_timeout: Duration,
    /// How long a graceful stop waits for the answers that are in flight. Default 5 s: they take
    /// milliseconds unless the peer hangs, and then a `peer_timeout` or two.
    pub stop_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            peer_timeout: Duration::from_secs(1),
            record_time_to_live: Duration::from_secs(600),
            preface_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// What a server accepts at the most. Past a limit a caller gets a named refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of clients at a time; those of the peer are not counted. Default 16,384: under the
    /// usual limit of 20,000 descriptors. A connection over it is told that the server is busy.
    pub connections: usize,
    /// Unanswered calls on one connection. Default 1,024. tarpc refuses more at once.
    pub calls_per_connection: usize,
    /// Unanswered calls in all. Default 16,384: some 10 MiB, and 50 ms of work.
    pub calls: usize,
    /// Client records. Default 100,000: some 25 MiB.
    pub clients: u64,
    /// Held locks. Default 4,000,000: some 500 MiB with short names.
    pub locks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            calls_per_connection: 1_024,
            calls: 16_384,
            clients: 100_000,
            locks: 4_000_000,
        }
    }
}

/// The largest frame on any connection, in bytes. A hostile length costs this much and no more; the
/// largest message that is not cut to fit, a call with the longest name, is a twentieth of it.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// How much of a frame a batch of commands or a chunk of a copy may fill, in bytes. The rest is for
/// what tarpc puts around it.
pub const MAX_PAYLOAD_BYTES: usize = 48 * 1024;

/// How far a client's calls may run ahead of its oldest unanswered one. Bounds what a record holds.
pub const CALL_WINDOW: u64 = 4_096;

/// The most commands in one batch to the backup: a millisecond of its time, so that a heartbeat or a
/// probe never waits long behind one. A server that is synced joins when what is left fits into one.
pub const MAX_BATCH_COMMANDS: usize = 1_024;

/// The most commands that may wait for the other server, in all. Past it, a primary refuses calls (its
/// backup does not answer), and a sync is broken off (the receiver is too slow). Some 20 MiB.
pub const MAX_UNACKED_COMMANDS: usize = 256 * 1024;
