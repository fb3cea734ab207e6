//! The task of a session: renews it, gives back what is dropped, and says goodbye.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::renewal::renew;
use super::standby;
use super::{LeasedSession, LossReason, ReleaseError, Within};
use crate::clerk::keepalive::Close;
use crate::config::RELEASES_IN_FLIGHT;
use crate::types::Seq;

pub(super) async fn run(session: Arc<LeasedSession>, mut handles: mpsc::Receiver<Close>) {
    let standby = standby::begin(&session);
    let close = tokio::select! {
        biased;
        close = handles.recv() => close,
        () = renew(&session) => None,
        () = give_back(&session) => None,
    };
    drop(standby);
    // Also when its lease is over: so its locks are free a little sooner.
    if session.life.end(LossReason::Closed) != LossReason::SessionLost {
        session.shared.close_session(session.opened.id).await;
    }
    if let Some(done) = close {
        // The caller may have gone.
        let _ = done.send(());
    }
}

/// Gives back whatever is given up, for as long as the session lives.
async fn give_back(session: &LeasedSession) {
    let next = async |()| Some((session.acquisitions.next_given_up().await, ()));
    let each = |acquired| release(session, acquired);
    stream::unfold((), next)
        .for_each_concurrent(RELEASES_IN_FLIGHT, each)
        .await;
}

/// Tries until a server has heard of it.
async fn release(session: &LeasedSession, acquired: Seq) {
    loop {
        let within = Within::new(session.shared.timeout());
        let asked_in = session.acquisitions.view();
        match session.release(acquired, within).await {
            Err(error @ (ReleaseError::Unanswered { .. } | ReleaseError::Overloaded { .. })) => {
                tracing::debug!(%error, "a dropped lock is not given back yet");
            }
            // It may be another server that has heard of it.
            Ok(_) if session.acquisitions.view() != asked_in => {}
            Ok(_) | Err(_) => return,
        }
    }
}
