//! The pair and everything around it, in one moment.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use foldhash::quality::FixedState;

use super::super::{A, B};
use super::clients::Client;
use super::cores::{Caller, CoreId, Cores, Late, Look};
use super::history::History;
use super::names::{CURRENT, FLOOR};
use super::network::{Conn, Flight, Message};
use super::scope::Scope;
use crate::engine::pair::core::InStream;
use crate::service::RoleName;
use crate::types::{ServerId, View};

/// One of the two servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Host {
    /// None while it is halted.
    pub(super) core: Option<CoreId>,
    /// Stopped, and how late it will be at the least when it wakes.
    pub(super) stopped: Option<Late>,
    /// It woke, and has not looked at its clock yet.
    pub(super) late: Late,
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) halts: u8,
    pub(super) stops: u8,
    /// Servers that are asked to end.
    pub(super) ends: u8,
    /// Halts, stops and ends together.
    pub(super) failures: u8,
    pub(super) resets: u8,
    /// Links on which nothing more gets through.
    pub(super) holes: u8,
    /// Connections of clients that break.
    pub(super) drops: u8,
    /// Late copies of clients' requests.
    pub(super) copies: u8,
    /// Leases that end although their clients would go on.
    pub(super) leases: u8,
    /// Late copies of fences.
    pub(super) fences: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct World {
    pub(super) hosts: [Host; 2],
    pub(super) conns: Vec<Conn>,
    pub(super) flights: Vec<Flight>,
    pub(super) clients: Vec<Client>,
    pub(super) history: History,
    pub(super) budget: Budget,
    /// How many pairs were formed, counting each `Starting` pair anew.
    pub(super) epoch: u8,
    /// Failures since the pair was whole, up to two.
    pub(super) failures: u8,
    /// The fences that were sent, if copies of them may come late.
    pub(super) fences: Vec<(ServerId, View)>,
}

impl World {
    /// Both servers are halted, and nothing has happened.
    pub(super) fn new(scope: &Scope) -> Self {
        let host = Host {
            core: None,
            stopped: None,
            late: Late::No,
        };
        let clients = scope.clients.iter();
        Self {
            hosts: [host.clone(), host],
            conns: Vec::new(),
            flights: Vec::new(),
            clients: clients.map(|steps| Client::new(steps.len())).collect(),
            history: History::default(),
            budget: scope.budget,
            epoch: 0,
            // Until it is whole for the first time, the pair survives nothing.
            failures: 1,
            fences: Vec::new(),
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let state = FixedState::default();
        let sum = |hashes: &mut dyn Iterator<Item = u64>| hashes.fold(0, u64::wrapping_add);
        let conns = sum(&mut self.conns.iter().map(|conn| state.hash_one(conn)));
        let flights = sum(&mut self.flights.iter().map(|flight| state.hash_one(flight)));
        let mut hasher = state.build_hasher();
        (&self.hosts, &self.clients, &self.history, self.budget).hash(&mut hasher);
        (self.epoch, self.failures, &self.fences, conns, flights).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn host(&self, server: ServerId) -> &Host {
        &self.hosts[server.index()]
    }

    pub(super) fn host_mut(&mut self, server: ServerId) -> &mut Host {
        &mut self.hosts[server.index()]
    }

    pub(super) fn is_halted(&self, server: ServerId) -> bool {
        self.host(server).core.is_none()
    }

    pub(super) fn runs(&self, server: ServerId) -> bool {
        let host = self.host(server);
        host.core.is_some() && host.stopped.is_none()
    }

    /// Forgets what nobody can notice.
    pub(super) fn tidy(&mut self, cores: &Cores) {
        for server in [A, B] {
            let core = self.host(server).core.map(|core| cores.look(core));
            if !core.is_some_and(Look::is_probing) {
                self.void_probe(server);
            }
            self.flights.retain(|flight| match flight.message {
                Message::Relayed { who, .. } if flight.to == server => core.is_some_and(|core| {
                    let waits = |(_, caller): (_, &Caller)| *caller == Caller::Client(who);
                    core.relays.callers().any(waits)
                }),
                _ => true,
            });
        }
        for conn in &mut self.conns {
            let closed = conn.forth.ended && conn.forth.queue.is_empty();
            if conn.forth.read && closed && conn.accepted != CURRENT {
                conn.close_by_acceptor();
            }
        }
        self.conns.retain(|conn| !conn.is_over());
        self.count_links(A);
        self.count_links(B);
        if self.is_whole(cores) {
            self.failures = 0;
        }
    }

    /// Whether `status` says so.
    pub(super) fn is_whole(&self, cores: &Cores) -> bool {
        let look = |server: ServerId| {
            let host = self.host(server);
            let core = host.core?;
            let awake = host.stopped.is_none() && host.late == Late::No;
            awake.then(|| cores.look(core).status_now())
        };
        let (Some(a), Some(b)) = (look(A), look(B)) else {
            return false;
        };
        let roles = [a.role, b.role];
        let paired = roles == [RoleName::Primary, RoleName::Backup]
            || roles == [RoleName::Backup, RoleName::Primary];
        paired && a.view == b.view && a.in_sync && b.in_sync
    }

    /// The highest view of a server.
    pub(super) fn view(&self, cores: &Cores) -> u64 {
        let cores = self
            .hosts
            .iter()
            .filter_map(|host| host.core.map(|core| cores.look(core)));
        let views = cores.filter_map(|core| core.status_now().view);
        views.map(|view| view.number).max().unwrap_or_default()
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn is_done(&self, cores: &Cores) -> bool {
        self.is_whole(cores) && self.clients.iter().all(Client::is_finished)
    }

    /// The connections that `server` accepts, or will.
    pub(super) fn accepted(&mut self, server: ServerId) -> impl Iterator<Item = &mut InStream> {
        let conns = self.conns.iter_mut();
        let conns = conns.filter(move |conn| conn.from != server && conn.forth.read);
        let probes = self.flights.iter_mut();
        let probes = probes.filter_map(move |flight| match &mut flight.message {
            Message::Probe { link: stream, .. } if flight.to == server => Some(stream),
            _ => None,
        });
        conns.map(|conn| &mut conn.accepted).chain(probes)
    }

    /// Counts the connections anew that are newer than all that `server` knows.
    pub(super) fn count_links(&mut self, server: ServerId) {
        let newer = self.accepted(server).map(|stream| *stream);
        let newer: BTreeSet<_> = newer.filter(|stream| *stream > FLOOR).collect();
        for stream in self.accepted(server).filter(|stream| **stream > FLOOR) {
            stream.0 = FLOOR.0 + 1 + newer.range(..*stream).count() as u64;
        }
    }
}
