//! The task that keeps a clerk's record: alive while the clerk lives, open anew when the servers have
//! lost it, and closed when the clerk is gone.
//!
//! It holds what the calls need, but not the clerk: when the last clone is dropped, the channel to this
//! task closes, and that is how it learns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::call::AskError;
use super::record::Record;
use super::session::Session;
use crate::config::GOODBYE_TIMEOUT;
use crate::service::{Refusal, Request};

/// A request to close the record, and to say when that is done.
pub(super) type Close = oneshot::Sender<()>;

/// The pause between two signs of life is never shorter, whatever a server says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn keep(session: Arc<Session>, mut clerk: mpsc::Receiver<Close>) {
    let close = loop {
        let Some(record) = session.record() else {
            break None;
        };
        tokio::select! {
            biased;
            close = clerk.recv() => break close,
            () = tend(&session, &record) => {}
        }
    };
    if let Some(record) = session.close() {
        say_goodbye(&session, &record).await;
    }
    if let Some(done) = close {
        // Whoever asked may have gone.
        let _ = done.send(());
    }
}

/// Waits until something is to be done for the record, and does it.
async fn tend(session: &Session, record: &Record) {
    let pause = (record.time_to_live / 4).max(SHORTEST_PAUSE);
    let lost = timeout(pause, record.lost.notified()).await.is_ok();
    if lost || is_unknown(session, record).await {
        renew(session).await;
    }
}

/// Gives a sign of life.
async fn is_unknown(session: &Session, record: &Record) -> bool {
    let request = Request::KeepAlive {
        client: session.client,
        record: record.number,
    };
    let now = Instant::now();
    let deadline = now + session.timeout();
    match session.pair.ask(&request, now, deadline).await {
        Err(AskError::Refused(Refusal::UnknownRecord, _)) => true,
        Ok(_) | Err(_) => false,
    }
}

/// Tries for as long as a call would. When it is in vain, the next call that needs the record, or the
/// next sign of life, leads here again.
async fn renew(session: &Session) {
    match session.open().await {
        Ok(record) => {
            tracing::info!(record = %record.number, "the servers had lost the record; opened another");
            session.publish(record);
        }
        Err(error) => tracing::debug!(?error, "no record could be opened"),
    }
}

async fn say_goodbye(session: &Session, record: &Record) {
    let request = Request::Goodbye {
        client: session.client,
        record: record.number,
    };
    let now = Instant::now();
    let asked = session.pair.ask(&request, now, now + GOODBYE_TIMEOUT);
    if let Err(error) = asked.await {
        tracing::debug!(?error, "nobody heard the goodbye; the record will expire");
    }
}
