//! How a session compares what it believes to have with what the servers have.
//!
//! Two servers that were cut off from each other have two histories, and one is kept. So
//! whenever the servers' view changes the session reconciles: it asks for what the servers have of
//! it, page by page ([`Reconciliation`]). What it knew to hold when it asked, and the servers do
//! not have, is lost; what the servers have and nobody here believes in is given back.
//!
//! What was asked before the session met the current view may have been answered by the history
//! that was not kept, however late the answer comes. So such an answer makes the session reconcile
//! again, and such a release is repeated.

use std::collections::BTreeMap;

use super::{AcquisitionTable, Acquisitions, Entry, Known};
use crate::clerk::session::LossReason;
use crate::service::{Holding, HoldingState, Holdings, InView, Revision};
use crate::types::{Seq, View};

/// What is under way to reconcile a session with its servers.
#[derive(Debug)]
pub(in crate::clerk::session) struct Reconciliation {
    view: View,
    /// The doubts that it removes.
    doubts: u64,
    /// The number of the page that is asked for.
    page: u64,
    from: Seq,
    /// From when on the news tells what the pages do not.
    through: Option<Revision>,
}

impl Acquisitions {
    /// Waits until the session has to reconcile.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(in crate::clerk::session) async fn doubted(&self) {
        loop {
            let doubted = self.doubted.notified();
            if self.table().is_doubtful() {
                return;
            }
            doubted.await;
        }
    }

    pub(in crate::clerk::session) fn reconcile(&self) -> Reconciliation {
        let table = self.table();
        Reconciliation {
            view: table.view,
            doubts: table.doubts,
            page: 0,
            from: Seq::default(),
            through: None,
        }
    }

    /// A page of what the servers have is about to be asked for. Returns where it begins.
    pub(in crate::clerk::session) fn ask_for_page(
        &self,
        reconciliation: &mut Reconciliation,
    ) -> Seq {
        let mut table = self.table();
        table.asked += 1;
        reconciliation.page = table.asked;
        reconciliation.from
    }

    /// Compares the places with a page of what the servers have. Returns whether there is another
    /// page to ask for: not after the last one, nor when the view has changed since the first.
    pub(in crate::clerk::session) fn compare(
        &self,
        reconciliation: &mut Reconciliation,
        page: InView<Holdings>,
    ) -> bool {
        let table = &mut *self.table();
        self.meet(table, page.view);
        if page.view != reconciliation.view {
            return false;
        }
        let Holdings {
            through,
            holdings,
            next,
        } = page.answer;
        let unclaimed = table.compare(reconciliation, &holdings, next);
        if !unclaimed.is_empty() {
            table.given_up.extend(unclaimed);
            self.given_up.notify_one();
        }
        let through = *reconciliation.through.get_or_insert(through);
        if let Some(next) = next.filter(|next| *next > reconciliation.from) {
            reconciliation.from = next;
            return true;
        }
        table.revision = through;
        table.resolved = table.resolved.max(reconciliation.doubts);
        false
    }
}

impl AcquisitionTable {
    /// Compares the places of a page with what the servers have. Returns what to give back: what
    /// the servers have, and nobody here believes in.
    fn compare(
        &mut self,
        reconciliation: &Reconciliation,
        holdings: &[Holding],
        next: Option<Seq>,
    ) -> Vec<Seq> {
        let (from, asked) = (reconciliation.from, self.asked);
        let holdings = holdings.iter().map(|it| (it.acquired, it.state));
        let mut unclaimed: BTreeMap<_, _> = holdings.collect();
        let places = self.acquisitions.range_mut(from..);
        for (acquired, entry) in places.take_while(|(it, _)| next.is_none_or(|next| **it < next)) {
            let found = unclaimed.get(acquired).copied();
            if entry.compare(found, reconciliation.page, asked) {
                unclaimed.remove(acquired);
            }
        }
        unclaimed.into_keys().collect()
    }
}

impl Entry {
    /// Compares it with what the servers have, as a page tells that was the `page`th to be asked
    /// for. Returns whether somebody believes in it.
    fn compare(&mut self, found: Option<HoldingState>, page: u64, asked: u64) -> bool {
        if self.is_leaving {
            return true;
        }
        if self.place.loss().is_some() {
            return false;
        }
        let is_known_before = self.known_since < page;
        match (self.known, found) {
            (_, Some(HoldingState::Broken)) => self.place.lose(LossReason::Broken),
            (Some(Known::Granted(known)), Some(HoldingState::Held { token, contended }))
                if known == token =>
            {
                self.place.contend(contended);
            }
            (Some(Known::Granted(_)), _) if is_known_before => {
                self.place.lose(LossReason::Diverged);
                return false;
            }
            (Some(Known::Queued), None) if is_known_before => {
                self.place.lose(LossReason::Diverged);
            }
            (None | Some(Known::Queued), Some(HoldingState::Held { token, contended })) => {
                self.granted(token, contended, asked);
            }
            (_, _) => {}
        }
        true
    }
}
