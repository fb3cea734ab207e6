//! What host names stand for, kept from the last look-up that gave addresses.
//!
//! What a resolver does is never evidence about the host behind a name. Records are withdrawn
//! exactly when a host dies, and a resolver that hangs would look like a host that hangs. So a
//! look-up runs beside the dials that need it and survives them, a failed one leaves what is known,
//! and only who knows no address at all waits for it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Resolve;
use crate::config::{MAX_ADDRESSES, MAX_NAMES};

/// The names that a network has dialled.
#[derive(Debug)]
pub(super) struct Names {
    resolver: Arc<dyn Resolve>,
    /// In the order in which they were first dialled. They are few.
    names: Mutex<Vec<Arc<Name>>>,
}

/// One name, and what is known of it.
#[derive(Debug)]
pub(super) struct Name {
    resolver: Arc<dyn Resolve>,
    host: String,
    port: u16,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The addresses of the last look-up that gave any, in the order in which to dial them.
    known: Vec<SocketAddr>,
    /// Why the last look-up gave none.
    failure: Option<String>,
    /// How many look-ups have ended.
    ended: u64,
    underway: bool,
}

impl Names {
    pub(super) fn new(resolver: Arc<dyn Resolve>) -> Self {
        let names = Mutex::default();
        Self { resolver, names }
    }

    /// Returns the name, a new one when it has not been dialled yet or was long ago.
    pub(super) fn name(&self, host: &str, port: u16) -> Arc<Name> {
        // Only whole entries come and go under the lock, so a poisoned one is sound.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = names.iter();
        if let Some(name) = known.find(|name| name.host == host && name.port == port) {
            return name.clone();
        }
        if names.len() == MAX_NAMES {
            names.remove(0);
        }
        let name = Arc::new(Name {
            resolver: self.resolver.clone(),
            host: host.to_owned(),
            port,
            state: watch::Sender::default(),
        });
        names.push(name.clone());
        name
    }

    /// Looks a name up and remembers nothing: for an address to bind, which is this machine's own.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = self.resolver.resolve(host, port).await;
        addresses(found).map_err(|why| unresolved(host, port, &why))
    }
}

impl Name {
    /// Returns the addresses that are known, the one to dial first at the front.
    ///
    /// The next caller begins with the next address, unless [`Self::prefer`] says which one
    /// answers: so several dials to a host do not all wait for its one silent address.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        let mut known = Vec::new();
        self.state.send_if_modified(|state| {
            known.clone_from(&state.known);
            if !known.is_empty() {
                state.known.rotate_left(1);
            }
            false
        });
        known
    }

    /// Puts an address that answered to the front.
    pub(super) fn prefer(&self, addr: SocketAddr) {
        self.state.send_if_modified(|state| {
            if let Some(at) = state.known.iter().position(|known| *known == addr) {
                state.known[..=at].rotate_right(1);
            }
            false
        });
    }

    /// Whether there is an address to dial.
    pub(super) fn is_known(&self) -> bool {
        !self.state.borrow().known.is_empty()
    }

    /// Begins a look-up, unless one is under way. The future returns what comes of it, and need not
    /// be polled for the look-up to go on.
    ///
    /// # Cancel safety
    ///
    /// Safe: the look-up goes on.
    pub(super) fn look_up(
        self: &Arc<Self>,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + use<> {
        let before = self.begin();
        let name = self.clone();
        let mut states = self.state.subscribe();
        async move {
            loop {
                {
                    let state = states.borrow_and_update();
                    if state.ended > before {
                        return match &state.failure {
                            None => Ok(state.known.clone()),
                            Some(why) => Err(unresolved(&name.host, name.port, why)),
                        };
                    }
                }
                // It may have gone with the runtime of another task.
                name.begin();
                let _ = states.changed().await;
            }
        }
    }

    /// Returns how many look-ups have ended before the one that is under way then.
    fn begin(self: &Arc<Self>) -> u64 {
        let mut ended = 0;
        let begins = self.state.send_if_modified(|state| {
            ended = state.ended;
            !std::mem::replace(&mut state.underway, true)
        });
        if begins {
            let look_up = LookUp {
                name: self.clone(),
                ended: false,
            };
            tokio::spawn(async move {
                let name = &look_up.name;
                let found = name.resolver.resolve(&name.host, name.port).await;
                look_up.end(addresses(found));
            });
        }
        ended
    }
}

/// A look-up that is under way.
struct LookUp {
    name: Arc<Name>,
    ended: bool,
}

impl LookUp {
    fn end(mut self, found: Result<Vec<SocketAddr>, String>) {
        self.ended = true;
        let mut before = None;
        let mut is_known = false;
        let failure = found.as_ref().err().cloned();
        self.name.state.send_modify(|state| {
            state.ended += 1;
            state.underway = false;
            before = std::mem::replace(&mut state.failure, failure.clone());
            if let Ok(addrs) = found {
                state.renew(addrs);
            }
            is_known = !state.known.is_empty();
        });
        let Name { host, port, .. } = &*self.name;
        match (before, failure) {
            (Some(_), None) => tracing::info!("the name `{host}:{port}` can be looked up again"),
            (None, Some(why)) if is_known => tracing::warn!(
                "cannot look up the name `{host}:{port}`: {why}; its last known addresses are used"
            ),
            (None, Some(why)) => tracing::warn!("cannot look up the name `{host}:{port}`: {why}"),
            _ => {}
        }
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        if !self.ended {
            self.name
                .state
                .send_if_modified(|state| std::mem::take(&mut state.underway));
        }
    }
}

impl State {
    /// Takes the addresses of a look-up. One that answered before stays at the front.
    fn renew(&mut self, mut addrs: Vec<SocketAddr>) {
        let place = |addr: &SocketAddr| {
            let at = self.known.iter().position(|known| known == addr);
            at.unwrap_or(usize::MAX)
        };
        addrs.sort_by_key(place);
        self.known = addrs;
    }
}

/// The addresses that a look-up gave, or why there is none.
fn addresses(found: io::Result<Vec<SocketAddr>>) -> Result<Vec<SocketAddr>, String> {
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("it stands for no address".to_owned());
    }
    let mut addrs = Vec::new();
    for addr in interleaved(found) {
        if !addrs.contains(&addr) && addrs.len() < MAX_ADDRESSES {
            addrs.push(addr);
        }
    }
    Ok(addrs)
}

/// Addresses of the two families in turn, as RFC 8305 has it: where one family is dead, the second
/// address is of the other one.
fn interleaved(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addrs.first().is_some_and(SocketAddr::is_ipv4);
    let (same, other): (Vec<_>, Vec<_>) = addrs
        .into_iter()
        .partition(|addr| addr.is_ipv4() == first_is_v4);
    let (mut next, mut after) = (same.into_iter(), other.into_iter());
    let mut in_turn = Vec::new();
    while let Some(addr) = next.next() {
        in_turn.push(addr);
        std::mem::swap(&mut next, &mut after);
    }
    in_turn.extend(after);
    in_turn
}

fn unresolved(host: &str, port: u16, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        format!("cannot look up the name `{host}:{port}`: {why}"),
    )
}

#[cfg(test)]
mod tests;
