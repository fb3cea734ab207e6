//! Keeps a session's lease, and learns what happens to its locks, by one poll after the other.
//!
//! When the servers' view has changed, the session reconciles before it polls again: see
//! [`places`](super::places). A poll of the current view costs nothing more.
//!
//! A server holds a poll until there is news, or for a quarter of the lease. A poll that takes
//! longer than that is overdue: something hangs. It is asked at the other server as well then, but
//! that one may hold it as long again. So meanwhile the session is kept alive by what is answered
//! at once.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{LossReason, Session};
use crate::clerk::call::{AskError, Pace, Pair};
use crate::config::RENEWALS_IN_LEASE;
use crate::service::{Answer, InView, News, Refusal, Request};

/// Polls that bring nothing are never sent faster than this, whatever a server says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Renews until the session is over.
pub(super) async fn renew(session: &Session) {
    let Pause { hold, patience } = Pause::of(session);
    while session.life.loss().is_none() {
        session.polls.send_modify(|polls| *polls += 1);
        let begun = Instant::now();
        renew_once(
            session,
            &session.shared.pair,
            begun,
            begun + hold + patience,
        )
        .await;
    }
}

/// Renews until the session is over, over connections of its own, and at once.
pub(super) async fn renew_apart(session: &Session) {
    let pair = session.shared.pair.apart();
    while session.life.loss().is_none() {
        let begun = Instant::now();
        renew_once(session, &pair, begun, begun).await;
    }
}

/// Polls once, or reconciles. From `overdue` on the session is kept alive by what is answered at
/// once.
async fn renew_once(session: &Session, pair: &Pair, begun: Instant, overdue: Instant) {
    let exchange = async {
        tokio::select! {
            biased;
            () = session.places.doubted() => reconcile(session, pair).await,
            heard = hear_news(session, pair, begun) => heard,
        }
    };
    let refusal = tokio::select! {
        biased;
        exchanged = exchange => exchanged.err(),
        refusal = keep_alive(session, pair, overdue) => Some(refusal),
    };
    if let Some(refusal) = refusal {
        tracing::info!(record = %session.record.number, %refusal, "the session is lost");
        session.life.end(LossReason::SessionLost);
    }
}

/// Polls, and tells the session's places what there is news of.
async fn hear_news(session: &Session, pair: &Pair, begun: Instant) -> Result<(), Refusal> {
    let Some(news) = poll(session, pair, begun).await? else {
        return Ok(());
    };
    session.life.renewed(begun);
    if session.life.loss().is_some() {
        return Ok(());
    }
    session.places.tell(&news);
    if news.answer.changes.is_empty() && news.answer.broken.is_empty() {
        sleep_until(begun + SHORTEST_PAUSE).await;
    }
    Ok(())
}

/// Compares what the session believes to have with what the servers have, page by page.
async fn reconcile(session: &Session, pair: &Pair) -> Result<(), Refusal> {
    let pace = Pause::of(session).pace(pair);
    let mut reconciliation = session.places.reconcile();
    loop {
        let begun = Instant::now();
        let request = Request::Holdings {
            client: session.shared.client,
            record: session.record.number,
            from: session.places.ask_for_page(&mut reconciliation),
        };
        let deadline = session.life.safe_until();
        let holdings = match pair.ask_at(pace, &request, begun, deadline).await {
            Ok(Answer::Holdings(holdings)) => *holdings,
            Ok(answer) => unreachable!("a session was told {answer:?} of its holdings"),
            Err(AskError::Refused(refusal, _)) => return Err(refusal),
            Err(AskError::Unanswered(_) | AskError::Overloaded(_) | AskError::Mixed { .. }) => {
                sleep(SHORTEST_PAUSE).await;
                return Ok(());
            }
        };
        session.life.renewed(begun);
        if session.life.loss().is_some() || !session.places.compare(&mut reconciliation, holdings) {
            return Ok(());
        }
    }
}

/// The news, unless the time is over in which they are of use.
async fn poll(
    session: &Session,
    pair: &Pair,
    begun: Instant,
) -> Result<Option<InView<News>>, Refusal> {
    let Pause { hold, patience } = Pause::of(session);
    let (since, view) = session.places.told();
    let request = Request::Poll {
        client: session.shared.client,
        record: session.record.number,
        since,
        view,
    };
    let pace = Pace {
        patience: hold + patience,
        try_timeout: hold + pair.pace().try_timeout.min(hold),
    };
    let deadline = session.life.safe_until();
    match pair.ask_at(pace, &request, begun, deadline).await {
        Ok(Answer::News(news)) => Ok(Some(*news)),
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
async fn keep_alive(session: &Session, pair: &Pair, start: Instant) -> Refusal {
    let pause = Pause::of(session);
    let request = Request::KeepAlive {
        client: session.shared.client,
        record: session.record.number,
    };
    let pace = pause.pace(pair);
    sleep_until(start).await;
    loop {
        let begun = Instant::now();
        let deadline = session.life.safe_until();
        match pair.ask_at(pace, &request, begun, deadline).await {
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
    patience: Duration,
}

impl Pause {
    fn of(session: &Session) -> Self {
        let hold = session.life.lease / RENEWALS_IN_LEASE;
        let patience = session.shared.pair.pace().patience.min(hold / 2);
        Self { hold, patience }
    }

    /// The pace of what is answered at once.
    fn pace(self, pair: &Pair) -> Pace {
        Pace {
            patience: self.patience,
            try_timeout: pair.pace().try_timeout.min(self.hold),
        }
    }
}
