//! What a leader tells without changing anything.

use super::polls::PollRequest;
use super::{Leader, Now};
use crate::config::MAX_NOTIFICATIONS;
use crate::machine::Machine;
use crate::service::{Answer, Cursor, InView, LockInfo, Notifications, Page, Refusal};
use crate::types::{LockName, View};

/// The answer to a poll that does not wait, or not any more.
pub(crate) fn poll_answer(
    machine: &Machine,
    view: View,
    request: PollRequest,
) -> Result<Answer, Refusal> {
    match machine.session(request.session) {
        Some(_) => Ok(Answer::Notifications(
            notifications(machine, view, request).into(),
        )),
        None => Err(Refusal::UnknownSession),
    }
}

/// What a poll is told. One of another view asks by the revisions of another history, perhaps: it
/// is told of the view alone.
pub(super) fn notifications(
    machine: &Machine,
    view: View,
    request: PollRequest,
) -> InView<Notifications> {
    let PollRequest { session, since, .. } = request;
    let answer = if request.view == view {
        machine.notifications(session, since, MAX_NOTIFICATIONS)
    } else {
        Notifications {
            through: since,
            ..Notifications::default()
        }
    };
    InView { view, answer }
}

impl<T> Leader<T> {
    /// Who holds a lock, and who waits for it. The machine knows only now and then how much is left
    /// of a retention.
    pub(super) fn show(&self, now: Now, machine: &Machine, name: &LockName) -> LockInfo {
        let mut lock = machine.show(name);
        self.tell_left(now, &mut lock);
        lock
    }

    pub(super) fn list(&self, now: Now, machine: &Machine, prefix: &str, from: &Cursor) -> Page {
        let mut page = machine.list(prefix, from);
        let locks = page.locks.iter_mut();
        locks.for_each(|lock| self.tell_left(now, lock));
        page
    }

    fn tell_left(&self, now: Now, lock: &mut LockInfo) {
        for entry in &mut lock.entries {
            if let (Some(left), Some(token)) = (&mut entry.retained_for, entry.token) {
                *left = self.retentions.left(token, now).unwrap_or(*left);
            }
        }
    }
}
