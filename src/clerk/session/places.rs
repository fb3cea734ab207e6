//! Which locks a session waits for or holds, each by the call that asked for it; and which of them
//! are to be given back.
//!
//! A place is entered before its call is sent, because the news of its grant can overtake the
//! call's answer. News of a place that is not here any more is of one that was given up: its
//! release is on its way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::service::{Mark, News};
use crate::types::{LockName, Seq, Token};

/// One lock that a session waits for or holds.
#[derive(Debug)]
pub(in crate::clerk) struct Place {
    pub(in crate::clerk) name: LockName,
    /// The call that asked for it.
    pub(super) acquired: Seq,
    grant: watch::Sender<Grant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Grant {
    token: Option<Token>,
    is_contended: bool,
    is_broken: bool,
    /// Its guard is gone.
    is_over: bool,
}

impl Place {
    /// Waits until the lock is granted. None when it was broken before that was heard of.
    pub(super) async fn granted(&self) -> Option<Token> {
        let grant = self.wait_for(|grant| grant.is_broken || grant.token.is_some());
        let grant = grant.await;
        grant.token.filter(|_| !grant.is_broken)
    }

    /// Waits until somebody else waits for the lock.
    pub(in crate::clerk) async fn contended(&self) {
        self.wait_for(|grant| grant.is_contended).await;
    }

    /// Waits until the lock is taken away.
    pub(super) async fn broken(&self) {
        self.wait_for(|grant| grant.is_broken).await;
    }

    /// Waits until the lock is taken away, or its guard is gone: true when it was taken away.
    pub(super) async fn broken_or_over(&self) -> bool {
        let grant = self.wait_for(|grant| grant.is_broken || grant.is_over);
        grant.await.is_broken
    }

    pub(super) fn is_over(&self) -> bool {
        self.grant.borrow().is_over
    }

    /// Its guard is gone.
    pub(super) fn end(&self) {
        self.grant.send_modify(|grant| grant.is_over = true);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.grant.borrow().is_broken
    }

    async fn wait_for(&self, condition: impl Fn(&Grant) -> bool) -> Grant {
        let mut changes = self.grant.subscribe();
        loop {
            let grant = *changes.borrow_and_update();
            if condition(&grant) {
                return grant;
            }
            // Its sender is `self`.
            let _ = changes.changed().await;
        }
    }
}

/// All places of a session.
#[derive(Debug, Default)]
pub(super) struct Places {
    table: Mutex<Table>,
    given_up: Notify,
}

#[derive(Debug, Default)]
struct Table {
    places: BTreeMap<Seq, Arc<Place>>,
    given_up: VecDeque<Seq>,
    /// Up to where the news has been told.
    told: Mark,
}

impl Places {
    pub(super) fn enter(&self, acquired: Seq, name: LockName) -> Arc<Place> {
        let place = Arc::new(Place {
            name,
            acquired,
            grant: watch::Sender::default(),
        });
        self.table().places.insert(acquired, place.clone());
        place
    }

    /// Takes a place off that holds nothing and waits for nothing.
    pub(super) fn remove(&self, acquired: Seq) {
        self.table().places.remove(&acquired);
    }

    /// Takes a place off and lets it be given back.
    pub(super) fn give_up(&self, acquired: Seq) {
        let mut table = self.table();
        table.places.remove(&acquired);
        table.given_up.push_back(acquired);
        drop(table);
        self.given_up.notify_one();
    }

    /// Waits for a place that is to be given back.
    ///
    /// # Cancel safety
    ///
    /// Safe: none is lost.
    pub(super) async fn next_given_up(&self) -> Seq {
        loop {
            if let Some(acquired) = self.table().given_up.pop_front() {
                return acquired;
            }
            self.given_up.notified().await;
        }
    }

    /// Up to where the news has been told.
    pub(super) fn told(&self) -> Mark {
        self.table().told
    }

    /// Tells the places what there is news of. An answer that comes late, when newer news has been
    /// told, tells nothing.
    pub(super) fn tell(&self, news: &News) {
        let mut table = self.table();
        if news.through < table.told {
            return;
        }
        table.told = news.through;
        for change in &news.changes {
            if let Some(place) = table.places.get(&change.acquired) {
                place.grant.send_modify(|grant| {
                    grant.token = Some(change.token);
                    grant.is_contended = change.contended;
                });
            }
        }
        for broken in &news.broken {
            if let Some(place) = table.places.get(broken) {
                place.grant.send_modify(|grant| grant.is_broken = true);
            }
        }
    }

    /// The table is whole after every step, so a poisoned lock is sound.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Change;

    fn news(through: u64, contended: bool) -> News {
        let change = Change {
            acquired: Seq(1),
            token: Token(7),
            contended,
        };
        News {
            through: Mark(through),
            changes: vec![change],
            broken: Vec::new(),
        }
    }

    /// Two polls may be under way: that of a runtime that was blocked, and that of the thread that
    /// stood in for it.
    #[test]
    fn an_answer_that_comes_after_newer_news_tells_nothing() {
        let places = Places::default();
        let place = places.enter(Seq(1), LockName::new("x").expect("a name"));
        places.tell(&news(9, true));
        places.tell(&news(8, false));
        assert_eq!(places.told(), Mark(9));
        assert!(place.grant.borrow().is_contended);
    }
}
