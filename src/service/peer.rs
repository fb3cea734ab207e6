//! What a server says of itself to the other server, and what keeps two of them apart.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{OpNumber, View};

/// The question of a probe, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Introduction {
    /// Where the server stands.
    pub standing: Standing,
    /// The server's `peer_timeout`; two servers only pair if they have the same.
    pub peer_timeout: Duration,
}

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It has no view and no state.
    Starting,
    /// It is the primary of `view`.
    Primary {
        /// Its view.
        view: View,
        /// The last op it applied.
        op: OpNumber,
    },
    /// It is the backup of `view`.
    Backup {
        /// Its view.
        view: View,
        /// The last op it applied.
        op: OpNumber,
    },
    /// It was asked to end, and has given up its role and its state.
    Retired {
        /// The view that it was in, if any.
        view: Option<View>,
    },
}

impl Standing {
    /// The view that the server is in, or was in when it retired; none while it is starting.
    #[must_use]
    pub const fn view(self) -> Option<View> {
        match self {
            Self::Starting => None,
            Self::Primary { view, .. } | Self::Backup { view, .. } => Some(view),
            Self::Retired { view } => view,
        }
    }
}

/// Why a server does not pair with what it finds at the other server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Obstacle {
    /// The two servers have different `peer_timeout`s.
    PeerTimeout {
        /// Of the server that reports this.
        ours: Duration,
        /// Of the other one.
        theirs: Duration,
    },
    /// The process there was started as the same server of the pair.
    SameServer,
    /// The process there is the one that reports this.
    Itself,
    /// The process there was given another list of servers.
    OtherServers,
    /// The process there speaks another version of the protocol.
    Version {
        /// Its version.
        theirs: u16,
    },
    /// The process there is no lock server.
    NotALockServer,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerTimeout { ours, theirs } => write!(
                f,
                "the peer timeouts differ, {ours:?} here and {theirs:?} there: \
                 start both servers with the same --peer-timeout"
            ),
            Self::SameServer => f.write_str(
                "the process there was started as the same server of the pair as this one: \
                 start one as `primary` and the other as `backup`",
            ),
            Self::Itself => f.write_str(
                "this very process answers there: start one server as `primary` and the other as \
                 `backup`, and let --listen and --peer-addr name the right addresses",
            ),
            Self::OtherServers => f.write_str(
                "the process there belongs to another pair: \
                 start both servers with the same --servers list",
            ),
            Self::Version { theirs } => write!(
                f,
                "the process there speaks version {theirs} of the protocol, and this one speaks \
                 version {}: run the same version of lockd on both",
                super::PROTOCOL_VERSION
            ),
            Self::NotALockServer => f.write_str("the process there is no lock server"),
        }
    }
}
