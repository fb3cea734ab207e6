//! What sessions and other records are opened with, and the answer.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{ClientAddress, Lease, SessionId, SessionName, View};

/// The answer to `open`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opened {
    /// The number that calls must carry.
    pub session: SessionId,
    /// The record is dropped when nothing is heard of it for this long: the lease, if it has one.
    pub time_to_live: Duration,
    /// The sessions that it runs inside and that are open, the nearest first.
    pub inside: Vec<SessionId>,
    /// The view in which it was opened.
    pub view: View,
}

/// What a session is opened with: its lease, and whose it is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionTerms {
    /// How long the session lives without being heard of.
    pub lease: Lease,
    /// What its client calls it.
    pub name: Option<SessionName>,
    /// The session that it runs inside: that one does not end before this one does.
    pub inside: Option<SessionId>,
    /// Where its client connected from. The server that has the connection says so, whatever the
    /// client sent.
    pub address: Option<ClientAddress>,
}

impl SessionTerms {
    /// Describes a session by its lease alone.
    #[must_use]
    pub fn nameless(lease: Lease) -> Arc<Self> {
        Arc::new(Self {
            lease,
            name: None,
            inside: None,
            address: None,
        })
    }

    /// How many bytes of text it has.
    #[must_use]
    #[cfg(feature = "server")]
    pub(crate) fn text_bytes(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| name.as_str().len());
        let address = self.address.as_ref();
        name + address.map_or(0, |address| address.as_str().len())
    }
}
