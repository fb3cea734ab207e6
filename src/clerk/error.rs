//! What can go wrong, and whether the operation can have happened in spite of it.

mod any;
mod inspect;
mod owned;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::any::Error;
pub use self::inspect::InspectError;
pub use self::owned::{AcquireError, ReleaseError};

use super::clusters::MixedClusters;
use crate::rpc::DialError;
use crate::service::{Refusal, Resource};
use crate::transport::Addr;
use crate::types::{LeaseError, NameError, ServerId, SessionNameError};

/// Why [`Clerk::lock`](super::Clerk::lock) or [`Clerk::unlock`](super::Clerk::unlock) has no
/// answer.
///
/// [`may_have_happened`](Self::may_have_happened) says whether the operation can have been carried
/// out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The name is no lock name. The operation has not happened.
    #[error(transparent)]
    InvalidName(#[from] NameError),
    /// No server answered in time. Trying again is sensible, but it is another operation: when this
    /// one may have happened, a lock that is found held can be one's own.
    #[error(
        "no answer within {}; the operation {}; {tried}",
        humantime::format_duration(*.after),
        if *.may_have_happened { "may have happened" } else { "has not happened" }
    )]
    Unanswered {
        /// How long it was tried.
        after: Duration,
        /// What came of it at each server.
        tried: AttemptReport,
        /// Whether a server can have carried the operation out.
        may_have_happened: bool,
    },
    /// The servers do not know any more what became of the operation: the pair lost its state, or
    /// the clerk was cut off for longer than its record is kept. The operation may have happened.
    /// The clerk goes on with a new record.
    #[error("the servers have lost the record of this client; the operation may have happened")]
    RecordLost,
    /// The servers are at a limit. The operation has not happened.
    ///
    /// Calls in flight are waited for, so this comes after most of the timeout then. Waiting does
    /// not help against the other limits, so those are told at once.
    #[error(
        "the servers have too many {resource} (tried for {}); the operation has not happened",
        humantime::format_duration(*.after)
    )]
    Overloaded {
        /// How long it was tried.
        after: Duration,
        /// What there were too many of.
        resource: Resource,
    },
    /// The lock is owned by a session, and only its guard releases it.
    #[error(
        "the lock is owned: only its owner releases it; the operation {}",
        if *.may_have_happened { "may have happened" } else { "has not happened" }
    )]
    Owned {
        /// Whether a server can carry it out, or have done so, from an earlier try that was not
        /// answered.
        may_have_happened: bool,
    },
    /// The servers of the list are members of different clusters.
    #[error(
        "{clusters}; the operation {}",
        if *.may_have_happened { "may have happened" } else { "has not happened" }
    )]
    MixedClusters {
        /// The cluster of each server.
        clusters: MixedClusters,
        /// Whether a server can have carried the operation out in an earlier try.
        may_have_happened: bool,
    },
    /// [`Clerk::close`](super::Clerk::close) was called on a clone of this clerk. The operation has
    /// not happened.
    #[error("the clerk is closed; the operation has not happened")]
    Closed,
}

impl CallError {
    /// Whether the operation can have been carried out, now or later.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Unanswered {
                may_have_happened, ..
            }
            | Self::MixedClusters {
                may_have_happened, ..
            }
            | Self::Owned { may_have_happened } => *may_have_happened,
            Self::RecordLost => true,
            Self::InvalidName(_) | Self::Overloaded { .. } | Self::Closed => false,
        }
    }
}

/// Why [`Clerk::connect`](super::Clerk::connect) gave no clerk. Nothing has happened to any lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// What [`ClerkBuilder::lease`](super::ClerkBuilder::lease) was given is no lease.
    #[error(transparent)]
    InvalidLease(#[from] LeaseError),
    /// What [`ClerkBuilder::name`](super::ClerkBuilder::name) was given is too long.
    #[error(transparent)]
    InvalidName(#[from] SessionNameError),
    /// The servers of the list are members of different clusters.
    #[error(transparent)]
    MixedClusters(#[from] MixedClusters),
    /// No server took this client on in time.
    #[error("no server answered within {}; {tried}", humantime::format_duration(*.after))]
    Unanswered {
        /// How long it was tried.
        after: Duration,
        /// What came of it at each server.
        tried: AttemptReport,
    },
    /// The servers are at a limit: for calls in flight, all the time.
    #[error(
        "the servers have too many {resource} (tried for {})",
        humantime::format_duration(*.after)
    )]
    Overloaded {
        /// How long it was tried.
        after: Duration,
        /// What there were too many of.
        resource: Resource,
    },
}

/// Why one try at one server brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// There is no connection.
    #[error(transparent)]
    Dial(Arc<DialError>),
    /// A connection did not come about in time.
    #[error("no connection in time")]
    NoConnection,
    /// The server and others of the list are members of different clusters.
    #[error(transparent)]
    MixedClusters(#[from] MixedClusters),
    /// The request could not be sent.
    #[error("the request could not be sent: {0}")]
    NotSent(String),
    /// The server took no more calls on this connection.
    #[error("the server is overloaded: too many calls on one connection")]
    Busy,
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection broke before an answer came.
    #[error("the connection broke before it answered")]
    ConnectionLost,
    /// It did not answer in time.
    #[error("no answer")]
    NoAnswer,
}

impl AttemptError {
    /// Whether this try can have been carried out.
    #[must_use]
    pub const fn may_have_executed(&self) -> bool {
        match self {
            Self::Dial(_)
            | Self::NoConnection
            | Self::MixedClusters(_)
            | Self::NotSent(_)
            | Self::Busy => false,
            Self::Refused(refusal) => refusal.may_have_executed(),
            Self::ConnectionLost | Self::NoAnswer => true,
        }
    }

    /// What the server has too many of, if that is the reason.
    pub(super) const fn overload(&self) -> Option<Resource> {
        match self {
            Self::Busy => Some(Resource::Calls),
            Self::Refused(Refusal::Overloaded(resource)) => Some(*resource),
            _ => None,
        }
    }
}

/// What came of trying each server, as one line of text or one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptReport(Box<[ServerAttempts]>);

/// What came of trying one server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerAttempts {
    /// Which server.
    pub server: ServerId,
    /// Where it was looked for.
    pub address: Addr,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of the last try.
    pub last: Option<AttemptError>,
    /// What came of the last try that the server refused.
    pub refused: Option<AttemptError>,
}

impl AttemptReport {
    pub(super) fn new(servers: impl Iterator<Item = ServerAttempts>) -> Self {
        Self(servers.collect())
    }

    /// Each server, in the order of the list.
    #[must_use]
    pub const fn servers(&self) -> &[ServerAttempts] {
        &self.0
    }
}

impl fmt::Display for AttemptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, server) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{server}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ServerAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.address)?;
        let Some(last) = &self.last else {
            return f.write_str("not tried");
        };
        write!(f, "{last}")?;
        match (&self.refused, self.attempts) {
            (_, 0 | 1) => Ok(()),
            (Some(refused), tries) if last.may_have_executed() => {
                write!(f, " ({tries} tries; before that: {refused})")
            }
            (_, tries) => write!(f, " ({tries} tries)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn tried() -> AttemptReport {
        let attempts = |server| ServerAttempts {
            server,
            address: Addr::Memory(server.to_string()),
            attempts: 12,
            last: (server == ServerId::A).then(|| {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                AttemptError::Dial(Arc::new(DialError::Refused(refused)))
            }),
            refused: None,
        };
        AttemptReport::new(ServerId::BOTH.into_iter().map(attempts))
    }

    #[test]
    fn a_timeout_says_what_was_tried_and_for_how_long_in_one_line() {
        let error = |may_have_happened| CallError::Unanswered {
            after: Duration::from_secs(10),
            tried: tried(),
            may_have_happened,
        };
        assert_eq!(
            error(true).to_string(),
            "no answer within 10s; the operation may have happened; memory:A: nobody listens there: \
             connection refused (12 tries); memory:B: not tried"
        );
        assert!(error(false).to_string().contains("has not happened"));
        assert!(error(true).may_have_happened() && !error(false).may_have_happened());
    }

    #[test]
    fn errors_are_equal_that_say_the_same() {
        let dial = |kind: io::ErrorKind| {
            AttemptError::Dial(Arc::new(DialError::Refused(io::Error::from(kind))))
        };
        let refused = dial(io::ErrorKind::ConnectionRefused);
        assert_eq!(tried(), tried());
        assert_eq!(refused, dial(io::ErrorKind::ConnectionRefused));
        assert_ne!(refused, dial(io::ErrorKind::ConnectionReset));
        let other = io::Error::new(io::ErrorKind::ConnectionRefused, "another text");
        assert_ne!(
            refused,
            AttemptError::Dial(Arc::new(DialError::Refused(other)))
        );
        let same = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_ne!(
            refused,
            AttemptError::Dial(Arc::new(DialError::Broken(same)))
        );
        assert_ne!(AttemptError::NoAnswer, AttemptError::NoConnection);
    }

    #[test]
    fn each_error_says_whether_the_operation_may_have_happened() {
        let after = Duration::from_secs(1);
        let resource = Resource::Locks;
        for (error, may_have_happened) in [
            (CallError::InvalidName(NameError::Empty), false),
            (CallError::Overloaded { after, resource }, false),
            (CallError::Closed, false),
            (CallError::RecordLost, true),
            (
                CallError::Owned {
                    may_have_happened: false,
                },
                false,
            ),
        ] {
            assert_eq!(error.may_have_happened(), may_have_happened, "{error}");
        }
    }

    #[test]
    fn a_try_that_was_sent_and_not_answered_may_have_been_executed() {
        for (error, may_have_executed) in [
            (AttemptError::NoConnection, false),
            (AttemptError::NotSent(String::new()), false),
            (AttemptError::Busy, false),
            (AttemptError::Refused(Refusal::NotReady), false),
            (AttemptError::Refused(Refusal::Interrupted), true),
            (AttemptError::ConnectionLost, true),
            (AttemptError::NoAnswer, true),
        ] {
            assert_eq!(error.may_have_executed(), may_have_executed, "{error}");
        }
    }
}
