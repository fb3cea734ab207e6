//! Keeps a session's lease, and learns what happens to its locks, by one poll after the other.
//!
//! When the servers' view has changed, the session reconciles before it polls again: see
//! [`acquisitions`](super::acquisitions). A poll of the current view costs nothing more.
//!
//! A server holds a poll until there is news, or for a quarter of the lease. A poll that takes
//! longer than that is overdue: something hangs. It is asked at the other server as well then, but
//! that one may hold it as long again. So meanwhile the session is kept alive by what is answered
//! at once.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{LeasedSession, LossReason};
use crate::clerk::call::{AskError, AttemptTimeouts, ServerList};
use crate::config::RENEWALS_IN_LEASE;
use crate::service::{Answer, InView, Notifications, Refusal, Request};

/// Polls that bring nothing are never sent faster than this, whatever a server says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Renews until the session is over.
pub(super) async fn renew(session: &LeasedSession) {
    let Pause { hold, hedge_delay } = Pause::of(session);
    while session.life.loss().is_none() {
        session.polls.send_modify(|polls| *polls += 1);
        let begun = Instant::now();
        renew_once(
            session,
            &session.shared.servers,
            begun,
            begun + hold + hedge_delay,
        )
        .await;
    }
}

/// Renews until the session is over, over connections of its own, and at once.
pub(super) async fn renew_apart(session: &LeasedSession) {
    let servers = session.shared.servers.apart();
    while session.life.loss().is_none() {
        let begun = Instant::now();
        renew_once(session, &servers, begun, begun).await;
    }
}

/// Polls once, or reconciles. From `overdue` on the session is kept alive by what is answered at
/// once.
async fn renew_once(
    session: &LeasedSession,
    servers: &ServerList,
    begun: Instant,
    overdue: Instant,
) {
    let exchange = async {
        tokio::select! {
            biased;
            () = session.acquisitions.doubted() => reconcile(session, servers).await,
            heard = hear_news(session, servers, begun) => heard,
        }
    };
    let refusal = tokio::select! {
        biased;
        exchanged = exchange => exchanged.err(),
        refusal = keep_alive(session, servers, overdue) => Some(refusal),
    };
    if let Some(refusal) = refusal {
        tracing::info!(record = %session.opened.id, %refusal, "the session is lost");
        session.life.end(LossReason::SessionLost);
    }
}

/// Polls, and tells the session's places what there is news of.
async fn hear_news(
    session: &LeasedSession,
    servers: &ServerList,
    begun: Instant,
) -> Result<(), Refusal> {
    let Some(notifications) = poll(session, servers, begun).await? else {
        return Ok(());
    };
    session.life.renewed(begun);
    if session.life.loss().is_some() {
        return Ok(());
    }
    session.acquisitions.apply_notifications(&notifications);
    if notifications.answer.changes.is_empty() && notifications.answer.broken.is_empty() {
        sleep_until(begun + SHORTEST_PAUSE).await;
    }
    Ok(())
}

/// Compares what the session believes to have with what the servers have, page by page.
async fn reconcile(session: &LeasedSession, servers: &ServerList) -> Result<(), Refusal> {
    let timeouts = Pause::of(session).pace(servers);
    let mut reconciliation = session.acquisitions.reconcile();
    loop {
        let begun = Instant::now();
        let request = Request::Holdings {
            client: session.shared.client,
            session: session.opened.id,
            from: session.acquisitions.ask_for_page(&mut reconciliation),
        };
        let deadline = session.life.safe_until();
        let holdings = match servers.ask_at(timeouts, &request, begun, deadline).await {
            Ok(Answer::Holdings(holdings)) => *holdings,
            Ok(answer) => unreachable!("a session was told {answer:?} of its holdings"),
            Err(AskError::Refused(refusal, _)) => return Err(refusal),
            Err(AskError::Unanswered(_) | AskError::Overloaded(_) | AskError::Mixed { .. }) => {
                sleep(SHORTEST_PAUSE).await;
                return Ok(());
            }
        };
        session.life.renewed(begun);
        if session.life.loss().is_some()
            || !session.acquisitions.compare(&mut reconciliation, holdings)
        {
            return Ok(());
        }
    }
}

/// The news, unless the time is over in which they are of use.
async fn poll(
    session: &LeasedSession,
    servers: &ServerList,
    begun: Instant,
) -> Result<Option<InView<Notifications>>, Refusal> {
    let Pause { hold, hedge_delay } = Pause::of(session);
    let (since, view) = session.acquisitions.revision();
    let request = Request::Poll {
        client: session.shared.client,
        session: session.opened.id,
        since,
        view,
    };
    let timeouts = AttemptTimeouts {
        hedge_delay: hold + hedge_delay,
        attempt_timeout: hold + servers.timeouts().attempt_timeout.min(hold),
    };
    let deadline = session.life.safe_until();
    match servers.ask_at(timeouts, &request, begun, deadline).await {
        Ok(Answer::Notifications(notifications)) => Ok(Some(*notifications)),
        Ok(answer) => unreachable!("a poll was answered with {answer:?}"),
        Err(AskError::Unanswered(_)) => Ok(None),
        Err(AskError::Overloaded(_) | AskError::Mixed { .. }) => {
            sleep(SHORTEST_PAUSE).await;
            Ok(None)
        }
        Err(AskError::Refused(refusal, _)) => Err(refusal),
    }
}

/// Renews without asking for news, from `start` on, until a server refuses.
async fn keep_alive(session: &LeasedSession, servers: &ServerList, start: Instant) -> Refusal {
    let pause = Pause::of(session);
    let request = Request::KeepAlive {
        client: session.shared.client,
        session: session.opened.id,
    };
    let timeouts = pause.pace(servers);
    sleep_until(start).await;
    loop {
        let begun = Instant::now();
        let deadline = session.life.safe_until();
        match servers.ask_at(timeouts, &request, begun, deadline).await {
            Ok(_) => session.life.renewed(begun),
            Err(AskError::Refused(refusal, _)) => return refusal,
            Err(AskError::Unanswered(_) | AskError::Overloaded(_) | AskError::Mixed { .. }) => {}
        }
        sleep(pause.hold).await;
    }
}

/// How long a poll takes.
#[derive(Debug, Clone, Copy)]
struct Pause {
    /// How long a server holds it.
    hold: Duration,
    /// How much longer its answer may take until it is overdue.
    hedge_delay: Duration,
}

impl Pause {
    fn of(session: &LeasedSession) -> Self {
        let hold = session.life.lease / RENEWALS_IN_LEASE;
        let hedge_delay = session.shared.servers.timeouts().hedge_delay.min(hold / 2);
        Self { hold, hedge_delay }
    }

    /// The pace of what is answered at once.
    fn pace(self, servers: &ServerList) -> AttemptTimeouts {
        AttemptTimeouts {
            hedge_delay: self.hedge_delay,
            attempt_timeout: servers.timeouts().attempt_timeout.min(self.hold),
        }
    }
}
