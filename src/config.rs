//! Every limit and timeout: its meaning and unit, its default, and why it is that.

#[cfg(feature = "server")]
mod server;

use std::time::Duration;

#[cfg(feature = "server")]
pub use self::server::{BUSY_POLL, Limits, MIN_MEMORY, Timing};

/// How many servers a list may name. 10: twice the servers of a large cluster, which has five,
/// while it moves to other machines. A clerk that no server answers asks the last of ten after nine
/// times [`PATIENCE`], before it gives up the first one ([`ATTEMPT_TIMEOUT`]).
pub const MAX_SERVERS: usize = 10;

/// How many unanswered calls one connection may have, by default. 1,024: tarpc refuses more.
pub const CALLS_PER_CONNECTION: usize = 1_024;

/// The largest frame on any connection, in bytes. A hostile length costs this much and no more; the
/// largest message that is not cut to fit, a client's request that is relayed, is a sixteenth of
/// it.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// The largest frame that a client may send, in bytes: three times a call with the longest name.
/// A request that a client does not finish takes this much memory, on each of thousands of
/// connections.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// How much of a frame a batch of commands or a chunk of a snapshot may fill, in bytes. The rest is
/// for what tarpc adds.
pub const MAX_PAYLOAD_BYTES: usize = 48 * 1024;

/// How much of a frame a batch may fill once larger ones were lost, in bytes. 1 KiB: with its
/// headers it fits into one packet on any path that carries IPv6.
pub const MIN_PAYLOAD_BYTES: usize = 1024;

/// The size of a TCP segment on a path that loses large packets, in bytes. 500: every path carries
/// that.
pub const SMALL_SEGMENT_BYTES: u32 = 500;

/// How far a client's calls may run ahead of its oldest unanswered one. It bounds the results that
/// a session keeps.
pub const CALL_WINDOW: u64 = 4_096;

/// How many broken locks a session may have that it has not given up; more are not broken. A live
/// client gives them up as soon as it is notified.
pub const MAX_BROKEN: usize = 32;

/// How many holders and waiters of one lock are shown, if they fit into [`MAX_SHOWN_BYTES`].
pub const MAX_PLACES_SHOWN: usize = 256;

/// The size of the holders and waiters of one lock that are shown, in bytes: 256 of them with names
/// of 40 bytes, or 70 with the longest names and addresses.
pub const MAX_SHOWN_BYTES: usize = 32 * 1024;

/// How many of the sessions that a session runs inside are reported, the nearest first. Eight:
/// commands under locks are rarely nested in more than two.
pub const MAX_NESTING: usize = 8;

/// How many bytes of names and addresses of sessions count as one more session against
/// [`Limits::clients`]: the size of a session without them.
pub const RECORD_BYTES: u64 = 256;

/// A primary replicates the rest of a retention after each such part of it, and a new primary
/// continues from there. Four: a failover prolongs a retention by at most a quarter of what was
/// left.
pub const RETENTION_STEPS: u32 = 4;

/// How many holders and waiters of each lock a listing shows. Four: a lock rarely has more, and a
/// page of a listing has hundreds of locks.
pub const MAX_PLACES_LISTED: usize = 4;

/// The size of a page of a listing, in bytes. A server keeps one for each connection whose client
/// does not read it.
pub const MAX_PAGE_BYTES: usize = 16 * 1024;

/// How many shards of the lock table are listed in one step: some thousand locks of a million, so
/// that calls do not wait for a listing.
pub const SHARDS_LISTED: usize = 8;

/// How many notifications one answer to a poll has at most. The next poll gets the rest.
pub const MAX_NOTIFICATIONS: usize = 64;

/// How many queue entries of a session one answer to `holdings` has at most. 512: less than 16 KiB,
/// and a session with thousands of them needs only a few requests after a failover.
pub const MAX_HOLDINGS: usize = 512;

/// The most commands in one batch to the backup: a millisecond of its time, so that a heartbeat or
/// a probe never waits long behind one. A server that is being synced joins when the remaining
/// commands fit into one.
pub const MAX_BATCH_COMMANDS: usize = 1_024;

/// The most commands that may wait for the other server, in all. Past it, a primary refuses calls
/// (its backup does not answer), and a sync is broken off (the receiver is too slow). Some 20 MiB.
pub const MAX_UNACKED_COMMANDS: usize = 256 * 1024;

/// How long a server lets a request wait at most, whatever deadline its caller gives. An hour: no
/// caller waits that long, and tarpc panics at deadlines of years.
pub const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// How long a clerk tries before a call fails, unless its builder says otherwise.
///
/// Too low, and calls fail during a failover that they could have waited for; too high, and a
/// caller learns late that no server answers. 10 s: the slowest failover takes one or two
/// `peer_timeout`s.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a clerk lets one server be silent before it asks the next one as well, unless its
/// builder says otherwise.
///
/// Too low, and a slow answer costs two calls; too high, and a client waits that long when a server
/// hangs. 300 ms: a hundred times an answer on a slow link, and well under a `peer_timeout`.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// How long the dial of one address of a host goes on before the next address is dialled beside it.
/// 250 ms, as RFC 8305 recommends: most connections in the world take less.
pub const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long a TCP connection is idle before the kernel asks whether the other host is there. 15 s:
/// half of [`TCP_USER_TIMEOUT`], and one small packet for each idle connection in that time.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// How long the kernel waits before it asks again. 5 s: three questions in a row may be lost.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How many such questions go unanswered before a connection is closed, where [`TCP_USER_TIMEOUT`]
/// is not known.
pub const KEEPALIVE_QUESTIONS: u32 = 3;

/// How long sent bytes and keepalive questions may go unacknowledged before the kernel closes a TCP
/// connection.
///
/// Too low, and connections do not survive a cut that they could; too high, and the connections of
/// hosts that have vanished take the places of others for that long. 30 s: what waits for an answer
/// has given a connection up long before.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many addresses of one host name are dialled. 64: a lock server has one or two.
pub const MAX_ADDRESSES: usize = 64;

/// How many host names a network remembers the addresses of. 64: a clerk and a server dial one or
/// two.
pub const MAX_NAMES: usize = 64;

/// How often a server looks up its peer's name while nothing makes it dial. 30 s: as long as a
/// record of DNS usually lives where servers move.
pub const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// How long a server waits before it looks up its peer's name again when it knows no address. 1 s:
/// the resolver may be overloaded.
pub const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

/// How long a clerk waits for a connection. 2 s: one lost packet costs one second.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a clerk waits for the answer to one try. Then it gives the connection up and dials
/// anew: it may lead nowhere.
///
/// Too low, and tries are given up that a failover holds back; too high, and a call through a
/// connection that a router has forgotten takes that much longer. 3 s: a failover takes a
/// `peer_timeout` or two.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// The shortest pause before a clerk tries the same server again: the time that a takeover takes.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(5);

/// The longest pause before a clerk tries the same server again. 250 ms: nobody notices it, and a
/// thousand clerks make no more than some thousand tries a second.
pub const RETRY_DELAY_MAX: Duration = Duration::from_millis(250);

/// How long a clerk tries to close its session when it ends. 1 s: the session expires anyway.
pub const CLOSE_SESSION_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a watch inspects the locks, by default.
///
/// Too low, and the servers list them for nothing; too high, and changes are seen late, and a
/// change that is undone in between is not seen at all. 1 s: soon enough for people, and a page has
/// hundreds of locks.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The lease of a clerk's session, by default: how long its owned locks outlive it.
///
/// Too low, and a holder that is merely slow, or cut off for a failover, loses its locks; too high,
/// and the locks of a holder that crashed stay held that long. 10 s: a failover takes a
/// `peer_timeout` or two, and three renewals in a row can fail.
pub const LEASE: Duration = Duration::from_secs(10);

/// How often a session is renewed within a lease: a server answers a poll after that part of the
/// lease at the latest, and the next poll follows at once. Four: a renewal that fails is repeated,
/// also at another server, while half of the lease is left.
pub const RENEWALS_IN_LEASE: u32 = 4;

/// The part of a lease that its holder does not rely on, because the servers' clocks may run faster
/// than its own. A 64th: a clock that is off by a 1,000th is broken, and one that is being
/// corrected is slewed by a 2,000th. (Redlock allows for a 100th.) Readings of two clocks are never
/// compared.
pub const LEASE_MARGIN: u32 = 64;

/// A lease is at risk when less than this part of it is left. A third: while every renewal is in
/// time, about a half is left.
pub const LEASE_AT_RISK: u32 = 3;

/// How many names of locks that it took by `lock` a clerk remembers, to warn a task that waits to
/// acquire one of them. 1,024: some 100 KiB. There is no warning for more.
pub const MAX_REMEMBERED_LOCKS: usize = 1_024;

/// How much of a lease, in percent, is left when the standby thread renews it, because the runtime
/// of its clerk does not run. 40: while every renewal is in time, about a half is left, and 4 s of
/// the default lease are enough to dial twice.
pub const LEASE_LEFT_TO_STANDBY: u32 = 40;

/// How many locks of dropped guards a session releases at a time. 64: enough to keep the servers
/// busy, and few enough not to fill the connection.
pub const RELEASES_IN_FLIGHT: usize = 64;
