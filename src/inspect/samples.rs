//! Locks for tests. A session has the number of its client; its token is the time of its grant.

use crate::service::{LockInfo, LockMode, QueueEntryInfo};
use crate::types::{ClientId, SessionId, Token, UnixTime};

fn entry(session: u64, mode: LockMode, token: Option<u64>) -> QueueEntryInfo {
    QueueEntryInfo {
        // The first part of the client's id is its number.
        client: ClientId::from_u128(u128::from(session) << 96),
        session: SessionId(session),
        mode,
        token: token.map(Token::new),
        since: token.map(UnixTime),
        name: None,
        address: None,
        inside: Vec::new(),
        retained_for: None,
        is_left: false,
    }
}

/// Makes a session run inside others, the nearest first.
pub fn inside(locks: &mut [LockInfo], session: u64, outer: &[u64]) {
    let places = locks.iter_mut().flat_map(|lock| &mut lock.entries);
    for place in places.filter(|place| place.session.0 == session) {
        place.inside = outer.iter().copied().map(SessionId).collect();
    }
}

fn with_mode(name: &str, mode: LockMode, holders: &[(u64, u64)], queue: &[u64]) -> LockInfo {
    let holders = holders
        .iter()
        .map(|(session, token)| entry(*session, mode, Some(*token)));
    let waiting = match mode {
        LockMode::Permits(_) => mode,
        _ => LockMode::Exclusive,
    };
    let waiters = queue.iter().map(|session| entry(*session, waiting, None));
    LockInfo {
        name: name.parse().expect("a good name"),
        is_unowned: false,
        entries: holders.chain(waiters).collect(),
        waiters: queue.len() as u64,
    }
}

/// Held by sessions, each by a token; other sessions wait.
#[must_use]
pub fn lock(name: &str, holders: &[(u64, u64)], queue: &[u64]) -> LockInfo {
    with_mode(name, LockMode::Exclusive, holders, queue)
}

/// Held by several sessions at once, each by a token; other sessions wait.
#[must_use]
pub fn shared(name: &str, holders: &[(u64, u64)], queue: &[u64]) -> LockInfo {
    with_mode(name, LockMode::Shared, holders, queue)
}

/// A lock with permits; each waiter wants one as well.
#[must_use]
pub fn permits(name: &str, most: u32, holders: &[(u64, u64)], queue: &[u64]) -> LockInfo {
    let most = most.try_into().expect("not zero");
    with_mode(name, LockMode::Permits(most), holders, queue)
}

/// An unowned lock that is held; sessions wait.
#[must_use]
pub fn unowned(name: &str, queue: &[u64]) -> LockInfo {
    LockInfo {
        is_unowned: true,
        ..lock(name, &[], queue)
    }
}

/// Held by nobody.
#[must_use]
pub fn free(name: &str) -> LockInfo {
    lock(name, &[], &[])
}
