//! Which locks a session waits for or holds, each by the call that asked for it; and which of them
//! are to be given back.
//!
//! A place is entered before its call is sent, because the news of its grant can overtake the
//! call's answer. News of a place that is not here any more is of one that was given up: its
//! release is on its way.

mod reconciliation;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::LossReason;
use crate::service::{Change, InView, Notifications, Revision};
use crate::types::{LockName, Seq, Token, View};

/// One lock that a session waits for or holds.
#[derive(Debug)]
pub(in crate::clerk) struct Acquisition {
    pub(in crate::clerk) name: LockName,
    /// The call that asked for it.
    pub(super) acquired: Seq,
    /// The view that was met last when it was asked for.
    pub(super) asked_in: View,
    state: Mutex<AcquisitionState>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, Default)]
struct AcquisitionState {
    token: Option<Token>,
    is_contended: bool,
    /// Why it is not held or waited for any more, though its session lives.
    lost: Option<LossReason>,
    /// Its guard is gone.
    is_over: bool,
}

/// What is known of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Queued,
    Granted(Token),
}

impl Acquisition {
    /// Waits until the lock is granted, or lost before that was heard of.
    pub(super) async fn granted(&self) -> Result<Token, LossReason> {
        let outcome = |grant: &AcquisitionState| {
            let token = grant.token.map(Ok);
            grant.lost.map(Err).or(token)
        };
        self.wait_for(outcome).await
    }

    /// Waits until somebody else waits for the lock.
    pub(in crate::clerk) async fn contended(&self) {
        self.wait_for(|grant| grant.is_contended.then_some(()))
            .await;
    }

    /// Waits until the lock is lost, though its session lives.
    pub(super) async fn lost(&self) -> LossReason {
        self.wait_for(|grant| grant.lost).await
    }

    /// Waits until the lock is lost, or its guard is gone: then there is no reason.
    pub(super) async fn lost_or_over(&self) -> Option<LossReason> {
        let over = |grant: &AcquisitionState| grant.is_over.then_some(None);
        let outcome = |grant: &AcquisitionState| grant.lost.map(Some).or_else(|| over(grant));
        self.wait_for(outcome).await
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Its guard is gone.
    pub(super) fn end(&self) {
        self.change(|grant| grant.is_over = true);
    }

    /// Why it is lost, if it is and its session lives.
    pub(super) fn loss(&self) -> Option<LossReason> {
        self.state().lost
    }

    fn lose(&self, reason: LossReason) {
        self.change(|grant| {
            grant.lost.get_or_insert(reason);
        });
    }

    fn contend(&self, is_contended: bool) {
        self.change(|grant| grant.is_contended = is_contended);
    }

    fn change(&self, change: impl FnOnce(&mut AcquisitionState)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    async fn wait_for<V>(&self, outcome: impl Fn(&AcquisitionState) -> Option<V>) -> V {
        loop {
            let changed = self.changed.notified();
            let found = outcome(&self.state());
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    /// The state is whole after every change, so a poisoned lock is sound.
    fn state(&self) -> MutexGuard<'_, AcquisitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All places of a session.
#[derive(Debug)]
pub(super) struct Acquisitions {
    table: Mutex<AcquisitionTable>,
    given_up: Notify,
    doubted: Notify,
}

#[derive(Debug)]
struct AcquisitionTable {
    acquisitions: BTreeMap<Seq, Entry>,
    given_up: VecDeque<Seq>,
    /// Up to where the news has been told.
    revision: Revision,
    /// The view of the servers, as far as it was met.
    view: View,
    /// How often there was reason to reconcile.
    doubts: u64,
    /// How many of these reasons reconciling has removed.
    resolved: u64,
    /// How many pages were asked for.
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    place: Arc<Acquisition>,
    known: Option<Known>,
    /// How many pages had been asked for when that became known.
    known_since: u64,
    /// It is being given back.
    is_leaving: bool,
}

impl Acquisitions {
    /// `view`: in which the session was opened.
    pub(super) fn new(view: View) -> Self {
        Self {
            table: Mutex::new(AcquisitionTable {
                acquisitions: BTreeMap::new(),
                given_up: VecDeque::new(),
                revision: Revision::default(),
                view,
                doubts: 0,
                resolved: 0,
                asked: 0,
            }),
            given_up: Notify::new(),
            doubted: Notify::new(),
        }
    }

    pub(super) fn enter(&self, acquired: Seq, name: LockName) -> Arc<Acquisition> {
        let mut table = self.table();
        let acquisition = Arc::new(Acquisition {
            name,
            acquired,
            asked_in: table.view,
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let entry = Entry {
            place: acquisition.clone(),
            known: None,
            known_since: 0,
            is_leaving: false,
        };
        table.acquisitions.insert(acquired, entry);
        acquisition
    }

    /// The call that acquires is answered. Returns what is known of its place then: news may have
    /// told more.
    pub(super) fn answered(&self, acquired: Seq, answer: Known) -> Known {
        let table = &mut *self.table();
        let Some(entry) = table.acquisitions.get_mut(&acquired) else {
            return answer;
        };
        let is_late = entry.place.asked_in != table.view;
        let known = match entry.known {
            Some(known @ Known::Granted(_)) => known,
            _ => entry.learn(answer, table.asked),
        };
        if is_late {
            self.doubt(table);
        }
        known
    }

    /// A place is about to be given back. Returns the view that was met last, for
    /// [`settle`](Self::settle).
    pub(super) fn leave(&self, acquired: Seq) -> View {
        let mut table = self.table();
        if let Some(entry) = table.acquisitions.get_mut(&acquired) {
            entry.is_leaving = true;
        }
        table.view
    }

    /// The view that was met last.
    pub(super) fn view(&self) -> View {
        self.table().view
    }

    /// A server has answered that a place holds nothing and waits for nothing. It is taken off; and
    /// given back, if another view than `asked_in` was met meanwhile.
    pub(super) fn settle(&self, acquired: Seq, asked_in: View) {
        let is_late = {
            let mut table = self.table();
            let is_late = table.view != asked_in;
            if !is_late {
                table.acquisitions.remove(&acquired);
            }
            is_late
        };
        if is_late {
            self.give_up(acquired);
        }
    }

    /// Takes a place off that holds nothing and waits for nothing.
    pub(super) fn remove(&self, acquired: Seq) {
        self.table().acquisitions.remove(&acquired);
    }

    /// Takes a place off and lets it be given back.
    pub(super) fn give_up(&self, acquired: Seq) {
        let mut table = self.table();
        table.acquisitions.remove(&acquired);
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

    /// What to poll for: up to where the news has been told, and in which view.
    pub(super) fn revision(&self) -> (Revision, View) {
        let table = self.table();
        (table.revision, table.view)
    }

    /// Tells the places what there is news of. An answer that comes late, when newer news has been
    /// told, tells nothing; nor does one of another view.
    pub(super) fn apply_notifications(&self, notifications: &InView<Notifications>) {
        let table = &mut *self.table();
        self.meet(table, notifications.view);
        let notifications = &notifications.answer;
        if table.is_doubtful() || notifications.through < table.revision {
            return;
        }
        table.revision = notifications.through;
        for Change {
            acquired,
            token,
            contended,
        } in &notifications.changes
        {
            if let Some(entry) = table.acquisitions.get_mut(acquired) {
                entry.granted(*token, *contended, table.asked);
            }
        }
        for broken in &notifications.broken {
            if let Some(entry) = table.acquisitions.get(broken) {
                entry.place.lose(LossReason::Broken);
            }
        }
    }

    /// A server has answered in `view`.
    fn meet(&self, table: &mut AcquisitionTable, view: View) {
        if table.view != view {
            table.view = view;
            self.doubt(table);
        }
    }

    fn doubt(&self, table: &mut AcquisitionTable) {
        table.doubts += 1;
        self.doubted.notify_waiters();
    }

    /// The table is whole after every step, so a poisoned lock is sound.
    fn table(&self) -> MutexGuard<'_, AcquisitionTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AcquisitionTable {
    const fn is_doubtful(&self) -> bool {
        self.doubts > self.resolved
    }
}

impl Entry {
    fn learn(&mut self, known: Known, asked: u64) -> Known {
        self.known = Some(known);
        self.known_since = asked;
        known
    }

    fn granted(&mut self, token: Token, is_contended: bool, asked: u64) {
        self.learn(Known::Granted(token), asked);
        self.place.change(|grant| {
            grant.token = Some(token);
            grant.is_contended = is_contended;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Change;
    use crate::types::ServerId;

    fn notifications(through: u64, contended: bool) -> InView<Notifications> {
        let change = Change {
            acquired: Seq(1),
            token: Token(7),
            contended,
        };
        InView {
            view: View::first(ServerId::A),
            answer: Notifications {
                through: Revision(through),
                changes: vec![change],
                broken: Vec::new(),
            },
        }
    }

    /// Two polls may be under way: that of a runtime that was blocked, and that of the thread that
    /// stood in for it.
    #[test]
    fn an_answer_that_comes_after_newer_news_tells_nothing() {
        let places = Acquisitions::new(View::first(ServerId::A));
        let acquisition = places.enter(Seq(1), LockName::new("x").expect("a name"));
        places.apply_notifications(&notifications(9, true));
        places.apply_notifications(&notifications(8, false));
        assert_eq!(places.revision().0, Revision(9));
        assert!(acquisition.state().is_contended);
    }
}
