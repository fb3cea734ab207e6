//! One question to the pair, with all its tries.
//!
//! Every try carries the same ids, so that a server that has carried out an earlier one gives its outcome
//! again. What cannot be told from the outside is kept track of here: whether *any* try can have been
//! carried out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::both::Both;
use super::connection::Connection;
use super::error::{Tried, TriedServer, TryError};
use super::failover::{Failover, Step};
use crate::service::{Answer, Refusal, Request, Resource};
use crate::types::ServerId;

/// Both servers, and which of them answered last.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) connections: Both<Connection>,
    patience: Duration,
    prefer_b: AtomicBool,
}

/// Why [`Pair::ask`] has no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// A server refused, and will always refuse.
    Refused(Refusal, Trail),
    /// The time is over.
    TimedOut(Trail),
}

/// What has come of the tries so far.
#[derive(Debug, Default)]
pub(super) struct Trail {
    tries: Both<u32>,
    outstanding: Both<bool>,
    last: Both<Option<TryError>>,
    /// Whether one of them can have been carried out.
    pub(super) may_have_happened: bool,
}

impl Pair {
    pub(super) const fn new(connections: Both<Connection>, patience: Duration) -> Self {
        Self {
            connections,
            patience,
            prefer_b: AtomicBool::new(false),
        }
    }

    /// Asks until one of the servers answers or `deadline` has come.
    ///
    /// # Cancel safety
    ///
    /// Safe; but the request may be carried out, or may have been.
    pub(super) async fn ask(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, AskError> {
        let mut failover = Failover::new(self.preferred(), self.patience, Instant::now());
        let mut trail = Trail::default();
        let sent = Both::<AtomicBool>::default();
        let mut tries = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(AskError::TimedOut(trail.closed(&sent)));
            }
            let wake = match failover.next(now) {
                Step::Try(server) => {
                    sent[server].store(false, Ordering::Relaxed);
                    trail.begin(server);
                    tries.push(self.try_at(server, request, deadline, &sent[server]));
                    continue;
                }
                Step::WaitUntil(at) => at.min(deadline),
                Step::Wait => deadline,
            };
            let Some((server, result)) = next_result(&mut tries, wake).await else {
                continue;
            };
            match result {
                Ok(answer) => {
                    self.stick_to(server);
                    return Ok(answer);
                }
                Err(TryError::Refused(refusal)) if is_final(refusal) => {
                    self.stick_to(server);
                    trail.end(server, refusal.into());
                    return Err(AskError::Refused(refusal, trail.closed(&sent)));
                }
                Err(error) => {
                    failover.failed(server, Instant::now());
                    trail.end(server, error);
                }
            }
        }
    }

    async fn try_at(
        &self,
        server: ServerId,
        request: &Request,
        deadline: Instant,
        sent: &AtomicBool,
    ) -> (ServerId, Result<Answer, TryError>) {
        (
            server,
            self.connections[server].ask(request, deadline, sent).await,
        )
    }

    fn preferred(&self) -> ServerId {
        if self.prefer_b.load(Ordering::Relaxed) {
            ServerId::B
        } else {
            ServerId::A
        }
    }

    fn stick_to(&self, server: ServerId) {
        let prefer_b = server == ServerId::B;
        if self.prefer_b.swap(prefer_b, Ordering::Relaxed) != prefer_b {
            tracing::debug!(%server, addr = %self.connections[server].addr(), "going on with");
        }
    }
}

/// Waits for a try to end; gives up at `wake`.
async fn next_result<T>(
    tries: &mut FuturesUnordered<impl Future<Output = T>>,
    wake: Instant,
) -> Option<T> {
    if tries.is_empty() {
        sleep_until(wake).await;
        return None;
    }
    timeout_at(wake, tries.next()).await.ok().flatten()
}

/// Whether trying again cannot help.
const fn is_final(refusal: Refusal) -> bool {
    use Refusal::{GivenUp, InvalidName, UnknownRecord};
    matches!(refusal, UnknownRecord | GivenUp | InvalidName(_))
}

impl Trail {
    fn begin(&mut self, server: ServerId) {
        self.tries[server] += 1;
        self.outstanding[server] = true;
    }

    fn end(&mut self, server: ServerId, error: TryError) {
        self.may_have_happened |= error.may_have_executed();
        self.outstanding[server] = false;
        self.last[server] = Some(error);
    }

    /// Ends the tries that are outstanding.
    fn closed(mut self, sent: &Both<AtomicBool>) -> Self {
        for server in ServerId::BOTH {
            if self.outstanding[server] {
                let sent = sent[server].load(Ordering::Relaxed);
                let error = if sent {
                    TryError::NoAnswer
                } else {
                    TryError::NoConnection
                };
                self.end(server, error);
            }
        }
        self
    }

    /// What the servers have too many of, when that is why the request has not been carried out.
    pub(super) fn overload(&self) -> Option<Resource> {
        let resource = |server| self.last[server].as_ref().and_then(TryError::overload);
        if self.may_have_happened {
            return None;
        }
        ServerId::BOTH.into_iter().find_map(resource)
    }

    pub(super) fn told(self, pair: &Pair) -> Tried {
        let Self {
            tries, mut last, ..
        } = self;
        Tried::new(|server| TriedServer {
            server,
            address: pair.connections[server].addr().clone(),
            tries: tries[server],
            last: last[server].take(),
        })
    }
}
