//! How sessions are opened.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{ClientAddress, Lease, SessionId, SessionName, View};

/// The answer to `open_session`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opened {
    /// The session that calls must name.
    pub session: SessionId,
    /// The session expires after a silence of this length: its lease, if it has one.
    pub time_to_live: Duration,
    /// The open sessions that it runs inside, the nearest first.
    pub inside: Vec<SessionId>,
    /// The view in which it was opened.
    pub view: View,
}

/// The terms of a session with a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionTerms {
    /// The session expires after a silence of this length.
    pub lease: Lease,
    /// The client's name for it, for people.
    pub name: Option<SessionName>,
    /// The session that it runs inside, which does not end before it.
    pub inside: Option<SessionId>,
    /// The client's address. The server that accepted the connection sets it, whatever the client
    /// sent.
    pub address: Option<ClientAddress>,
}

impl SessionTerms {
    /// Returns the terms of a session without a name.
    #[must_use]
    pub fn nameless(lease: Lease) -> Arc<Self> {
        Arc::new(Self {
            lease,
            name: None,
            inside: None,
            address: None,
        })
    }

    /// The length of its texts, in bytes.
    #[must_use]
    #[cfg(feature = "server")]
    pub(crate) fn text_bytes(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| name.as_str().len());
        let address = self.address.as_ref();
        name + address.map_or(0, |address| address.as_str().len())
    }
}
