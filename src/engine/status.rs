//! How a server stands, as its engine knows it.

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
    /// The last op it applied.
    pub op: OpNumber,
    /// Its digest there.
    pub digest: Digest,
    /// Of a primary: what its backup acknowledged.
    pub acked: Option<OpNumber>,
    /// It trusts its own state and its link with the peer.
    pub in_sync: bool,
    /// Why it does not pair with the other server.
    pub obstacle: Option<Obstacle>,
    /// Client records.
    pub clients: u64,
    /// Held locks.
    pub locks: u64,
    /// Places in the queues of locks.
    pub waiters: u64,
    /// What locks and records take in memory, in bytes, by a safe estimate.
    pub state_bytes: u64,
}
