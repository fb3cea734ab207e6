//! How a server sees itself and its peer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Obstacle, RoleName};
use crate::types::{ClusterId, Digest, OpNumber, ProcessId, ServerId, View};

/// How a server sees itself and its peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The server's place in the list.
    pub server: ServerId,
    /// The cluster that it is a member of; none while it is starting.
    pub cluster: Option<ClusterId>,
    /// Its role.
    pub role: RoleName,
    /// Its view; none while it is starting.
    pub view: Option<View>,
    /// The last op that it applied.
    pub op: OpNumber,
    /// The digest of its state at that op.
    pub digest: Digest,
    /// The last op that the backup acknowledged; only at a primary.
    pub acked: Option<OpNumber>,
    /// Whether it is confirmed, and its stream with the peer works.
    pub in_sync: bool,
    /// Why it does not pair with the other server.
    pub obstacle: Option<Obstacle>,
    /// Open sessions.
    pub clients: u64,
    /// Held locks.
    pub locks: u64,
    /// Waiters in the queues of all locks.
    pub waiters: u64,
    /// An upper estimate of the memory that locks and sessions take, in bytes.
    pub state_bytes: u64,
    /// New locks are refused from this estimate on; none without a memory limit.
    pub state_limit: Option<u64>,
    /// The memory limit of the process, in bytes; none if there is no limit.
    pub memory_limit: Option<u64>,
    /// How long the process has been serving.
    pub uptime: Duration,
    /// Identifies the process. Two servers of one process, as `lockd dev` runs them, share its
    /// processor time.
    pub process: ProcessId,
    /// How much processor time the process has used.
    pub cpu_time: Duration,
    /// How long its thread polls for the next message before it parks. Zero: it parks at once.
    pub busy_poll: Duration,
    /// The version of the server's package.
    pub version: String,
}

#[cfg(feature = "internals")]
#[doc(hidden)]
impl ServerStatus {
    /// Makes the status of a server that has just started, for tests of what is made of it.
    #[must_use]
    pub fn starting(server: ServerId) -> Self {
        Self {
            server,
            cluster: None,
            role: RoleName::Starting,
            view: None,
            op: OpNumber(0),
            digest: Digest(0),
            acked: None,
            in_sync: false,
            obstacle: None,
            clients: 0,
            locks: 0,
            waiters: 0,
            state_bytes: 0,
            state_limit: None,
            memory_limit: None,
            uptime: Duration::ZERO,
            process: ProcessId::from_u128(1),
            cpu_time: Duration::ZERO,
            busy_poll: Duration::ZERO,
            version: String::new(),
        }
    }
}
