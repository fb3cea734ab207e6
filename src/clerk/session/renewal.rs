//! Keeps a session's lease, and learns what happens to its locks, by one poll after the other.
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
use crate::service::{Answer, News, Refusal, Request};

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

/// Polls once. From `overdue` on the session is kept alive by what is answered at once.
async fn renew_once(session: &Session, pair: &Pair, begun: Instant, overdue: Instant) {
    let answer = tokio::select! {
        biased;
        answer = poll(session, pair, begun) => answer,
        refusal = keep_alive(session, pair, overdue) => Err(refusal),
    };
    match answer {
        Ok(Some(news)) => {
            session.life.renewed(begun);
            if session.life.loss().is_some() {
                return;
            }
            session.places.tell(&news);
            if news.changes.is_empty() && news.broken.is_empty() {
                sleep_until(begun + SHORTEST_PAUSE).await;
            }
        }
        Ok(None) => {}
        Err(refusal) => {
            tracing::info!(record = %session.record.number, %refusal, "the session is lost");
            session.life.end(LossReason::SessionLost);
        }
    }
}

/// The news, unless the time is over in which they are of use.
async fn poll(session: &Session, pair: &Pair, begun: Instant) -> Result<Option<News>, Refusal> {
    let Pause { hold, patience } = Pause::of(session);
    let request = Request::Poll {
        client: session.shared.client,
        record: session.record.number,
        since: session.places.told(),
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
    let Pause { hold, patience } = Pause::of(session);
    let request = Request::KeepAlive {
        client: session.shared.client,
        record: session.record.number,
    };
    let pace = Pace {
        patience,
        try_timeout: pair.pace().try_timeout.min(hold),
    };
    sleep_until(start).await;
    loop {
        let begun = Instant::now();
        let deadline = session.life.safe_until();
        match pair.ask_at(pace, &request, begun, deadline).await {
            Ok(_) => session.life.renewed(begun),
            Err(AskError::Refused(refusal, _)) => return refusal,
            Err(AskError::Unanswered(_) | AskError::Overloaded(_) | AskError::Mixed { .. }) => {}
        }
        sleep(hold).await;
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
}
