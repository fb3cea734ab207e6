//! Keeps a session's lease, and learns what happens to its locks, by one poll after the other.
//!
//! A server holds a poll until there is news, or for a quarter of the lease. A poll that takes longer than that
//! is overdue: something hangs. It is asked at the other server as well then, but that one may hold it as long
//! again. So meanwhile the session is kept alive by what is answered at once.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{LossReason, Session};
use crate::clerk::call::{AskError, Pace};
use crate::config::RENEWALS_IN_LEASE;
use crate::service::{Answer, Mark, News, Refusal, Request};

/// Polls that bring nothing are never sent faster than this, whatever a server says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Renews until the session is over.
pub(super) async fn renew(session: &Session) {
    let mut since = Mark::default();
    while session.life.loss().is_none() {
        let begun = Instant::now();
        match poll(session, since, begun).await {
            Ok(Some(news)) => {
                session.life.renewed(begun);
                if session.life.loss().is_some() {
                    return;
                }
                session.places.tell(&news);
                since = since.max(news.through);
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
}

/// The news, unless the time is over in which they are of use.
async fn poll(session: &Session, since: Mark, begun: Instant) -> Result<Option<News>, Refusal> {
    let Pause { hold, patience } = Pause::of(session);
    let request = Request::Poll {
        client: session.shared.client,
        record: session.record.number,
        since,
    };
    let pair = &session.shared.pair;
    let pace = Pace {
        patience: hold + patience,
        try_timeout: hold + pair.pace().try_timeout.min(hold),
    };
    let deadline = session.life.safe_until();
    let answer = tokio::select! {
        biased;
        answer = pair.ask_at(pace, &request, begun, deadline) => answer,
        refusal = keep_alive(session, begun + pace.patience) => return Err(refusal),
    };
    match answer {
        Ok(Answer::News(news)) => Ok(Some(*news)),
        Ok(answer) => unreachable!("a poll was answered with {answer:?}"),
        Err(AskError::Unanswered(_)) => Ok(None),
        Err(AskError::Overloaded(_)) => {
            sleep(SHORTEST_PAUSE).await;
            Ok(None)
        }
        Err(AskError::Refused(refusal, _)) => Err(refusal),
    }
}

/// Renews without asking for news, from `start` on, until a server refuses.
async fn keep_alive(session: &Session, start: Instant) -> Refusal {
    let Pause { hold, patience } = Pause::of(session);
    let request = Request::KeepAlive {
        client: session.shared.client,
        record: session.record.number,
    };
    let pair = &session.shared.pair;
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
            Err(AskError::Unanswered(_) | AskError::Overloaded(_)) => {}
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
