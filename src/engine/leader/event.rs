//! What a leader reports to its operator.

use std::fmt;

use crate::machine::Machine;
use crate::service::{QueueEntryInfo, Request, Resource};
use crate::types::{ClientAddress, ClientId, LockName, SessionId, SessionName, Token};

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionOwner {
    /// Whose.
    pub client: ClientId,
    /// Which of its sessions.
    pub session: SessionId,
    /// What the client calls it.
    pub name: Option<SessionName>,
    /// Where the client connected from.
    pub address: Option<ClientAddress>,
}

impl SessionOwner {
    fn of_entry(entry: &QueueEntryInfo) -> Self {
        Self {
            client: entry.client,
            session: entry.session,
            name: entry.name.clone(),
            address: entry.address.clone(),
        }
    }

    /// Whose session it is, if it owns locks or waits for some.
    pub(super) fn of_session(machine: &Machine, session: SessionId) -> Option<Self> {
        let client = machine.session(session)?.client;
        let terms = machine.terms(session)?;
        let is_owner = machine.queue_entries_of(session) > 0;
        is_owner.then(|| Self {
            client,
            session,
            name: terms.name.clone(),
            address: terms.address.clone(),
        })
    }
}

impl fmt::Display for SessionOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name:?}, ")?;
        }
        let Self {
            client, session, ..
        } = self;
        write!(f, "session {session} of client {client}")?;
        self.address.iter().try_for_each(|it| from(f, it))
    }
}

fn from(f: &mut fmt::Formatter<'_>, address: &ClientAddress) -> fmt::Result {
    write!(f, " from {}", address.as_str().escape_debug())
}

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaderEvent {
    /// A lock was taken from its holder, because a client said so.
    LockBroken {
        /// Which lock.
        name: LockName,
        /// The token of its holder.
        token: Token,
        /// Who held it.
        holder: Option<SessionOwner>,
        /// Who said so.
        client: ClientId,
        /// Where they connected from.
        address: Option<ClientAddress>,
        /// Why, as they said.
        reason: String,
    },
    /// This server is near one of its limits.
    NearLimit {
        /// Which.
        resource: Resource,
        /// How many hundredths of it are used.
        percent: u64,
    },
    /// This server refuses requests, because a limit is reached.
    Refusing {
        /// Which.
        resource: Resource,
    },
    /// Records of clients that are gone were dropped.
    SessionsExpired {
        /// How many.
        count: usize,
        /// The first of them that owned locks or waited for some.
        owner: Option<SessionOwner>,
    },
}

impl LeaderEvent {
    /// What is to be reported if `request` breaks a lock: whom it is taken from is known before.
    pub(crate) fn of_break(request: &Request, machine: &Machine) -> Option<Self> {
        let Request::Break {
            id,
            name,
            token,
            reason,
            address,
        } = request
        else {
            return None;
        };
        let holder = machine.holder(name, *token);
        Some(Self::LockBroken {
            name: name.clone(),
            token: *token,
            holder: holder.as_ref().map(SessionOwner::of_entry),
            client: id.client,
            address: address.clone(),
            reason: reason.clone(),
        })
    }
}

impl fmt::Display for LeaderEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LockBroken {
                name,
                token,
                holder,
                client,
                address,
                reason,
            } => {
                write!(f, "lock {name:?} with token {token}")?;
                let mut holder = holder.iter();
                holder.try_for_each(|holder| write!(f, ", held by {holder},"))?;
                write!(f, " was broken by client {client}")?;
                address.iter().try_for_each(|it| from(f, it))?;
                write!(f, ": {reason:?}")
            }
            Self::NearLimit { resource, percent } => write!(
                f,
                "{percent} % of the limit of {} is reached; beyond it requests are refused",
                limit_of(*resource)
            ),
            Self::Refusing { resource } => write!(
                f,
                "refusing requests: the limit of {} is reached; told again when less than 70 % were used",
                limit_of(*resource)
            ),
            Self::SessionsExpired { count, owner } => {
                write!(f, "dropped {count} client records that had gone silent")?;
                let mut owner = owner.iter();
                owner.try_for_each(|owner| write!(f, ", among them {owner}"))
            }
        }
    }
}

const fn limit_of(resource: Resource) -> &'static str {
    match resource {
        Resource::Calls => "calls in flight",
        Resource::Clients => "clients",
        Resource::Locks => "held locks",
        Resource::Broken => "broken locks of a session",
        Resource::Memory => "memory for locks and clients",
    }
}
