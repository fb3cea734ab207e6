//! The task that keeps a clerk's record: alive while the clerk lives, open anew when the servers
//! have lost it, and closed when the clerk is gone.
//!
//! It holds what the calls need, but not the clerk: when the last clone is dropped, the channel to
//! this task closes, and that is how it learns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::call::AskError;
use super::open_session::OpenSession;
use super::shared::Shared;
use crate::service::{Refusal, Request};

/// A request to close the record, and to say when that is done.
pub(super) type Close = oneshot::Sender<()>;

/// The pause between two signs of life is never shorter, whatever a server says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn run(shared: Arc<Shared>, mut clerk: mpsc::Receiver<Close>) {
    let close = loop {
        tokio::select! {
            biased;
            close = clerk.recv() => break close,
            () = tend(&shared) => {}
        }
    };
    if let Some(session) = shared.close() {
        shared.close_session(session.id).await;
    }
    if let Some(done) = close {
        // The caller may have gone.
        let _ = done.send(());
    }
}

/// Waits until something is to be done for the record, and does it.
async fn tend(shared: &Shared) {
    let session = &*shared.opened().await;
    for server in shared.servers.ids() {
        shared.servers.connections[server].look_up();
    }
    let pause = (session.time_to_live / 4).max(SHORTEST_PAUSE);
    let lost = timeout(pause, session.lost.notified()).await.is_ok();
    if !lost {
        // Also those servers that have not been needed yet. The next call tells of a mix.
        for server in shared.servers.ids() {
            let _ = shared.servers.clusters.check_server(server).await;
        }
    }
    if lost || is_unknown(shared, session).await {
        renew(shared, session).await;
    }
}

/// Gives a sign of life.
async fn is_unknown(shared: &Shared, session: &OpenSession) -> bool {
    let request = Request::KeepAlive {
        client: shared.client,
        session: session.id,
    };
    let now = Instant::now();
    let deadline = now + shared.timeout();
    match shared.servers.ask(&request, now, deadline).await {
        Err(AskError::Refused(Refusal::UnknownSession, _)) => true,
        Ok(_) | Err(_) => false,
    }
}

/// Tries for as long as a call would. When it is in vain, the next call that needs the record, or
/// the next sign of life, leads here again.
async fn renew(shared: &Shared, lost: &OpenSession) {
    let now = Instant::now();
    match shared.open(None, now, now + shared.timeout()).await {
        Ok(opened) => {
            tracing::info!(record = %opened.session, "the servers had lost the record; opened another");
            shared.publish(&Arc::new(OpenSession::new(&opened)));
        }
        Err(error) => {
            tracing::debug!(?error, "no record could be opened");
            if let AskError::Overloaded(overload) = error {
                lost.refused.send_replace(Some(overload));
            }
        }
    }
}
