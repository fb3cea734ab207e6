//! What keeps two servers from pairing.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
