//! The engine's part of a server's status.

use crate::service::{Obstacle, RoleName};
use crate::types::{ClusterId, Digest, OpNumber, View};

/// The part of [`ServerStatus`](crate::service::ServerStatus) that the engine knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct EngineStatus {
    /// The cluster that it is a member of.
    pub cluster: Option<ClusterId>,
    /// Its role.
    pub role: RoleName,
    /// Its view.
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
}
