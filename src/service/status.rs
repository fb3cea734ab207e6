//! How a server sees itself and its peer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Obstacle, RoleName};
use crate::types::{ClusterId, Digest, OpNumber, ProcessId, ServerId, View};

/// How a server sees itself and its peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Which server of the pair it is.
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
    /// Of a primary: the last op that its backup acknowledged.
    pub acked: Option<OpNumber>,
    /// It trusts its own state and its link with the peer.
    pub in_sync: bool,
    /// Why it does not pair with the other server.
    pub obstacle: Option<Obstacle>,
    /// Open client records.
    pub clients: u64,
    /// Held locks.
    pub locks: u64,
    /// Places in the queues of locks.
    pub waiters: u64,
    /// What locks and records take in memory, in bytes, by a safe estimate.
    pub state_bytes: u64,
    /// From how many bytes on locks are refused; none without a limit of memory.
    pub state_limit: Option<u64>,
    /// How much memory the process may use, in bytes, if that is limited.
    pub memory_limit: Option<u64>,
    /// How long the process has been serving.
    pub uptime: Duration,
    /// Which process it runs in. Two servers of one process, as `lockd dev` runs them, use its time
    /// together.
    pub process: ProcessId,
    /// How much processor time the process has used.
    pub cpu_time: Duration,
    /// How long its thread polls for the next message before it parks. Zero: it parks at once.
    pub busy_poll: Duration,
    /// The version of the server's package.
    pub version: String,
}
