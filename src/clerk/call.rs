//! One question to the servers, with all its tries.
//!
//! Every try carries the same ids, so that a server that has carried out an earlier one gives its
//! outcome again. What cannot be told from the outside is kept track of: whether *any* try can have
//! been carried out.
//!
//! A server at a limit refuses. Waiting does not cure most limits, so such a refusal is final as
//! soon as no other try can be executed any more. Calls in flight come and go, so that refusal is
//! retried; but no retry begins so late that the deadline could find it unanswered, or the caller
//! would be told that the call may have happened where every answer says that it has not.
//!
//! Nearly every question is answered by its first try, and soon. That way is kept short: one timer,
//! and no allocation but the one that tells whether the try was sent.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, ready};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::attempt_log::AttemptLog;
use super::clusters::{Clusters, MixedClusters};
use super::connection::{Connection, Sent};
use super::error::AttemptError;
use super::expect_runtime;
use super::failover::{Failover, Step};
use super::per_server::PerServer;
use crate::config::ATTEMPT_TIMEOUT;
use crate::service::{Answer, Refusal, Request, Resource};
use crate::transport::{Network, Servers};
use crate::types::ServerId;

/// The servers of the list, and which of them answered last.
#[derive(Debug)]
pub(super) struct ServerList {
    pub(super) connections: PerServer<Connection>,
    pub(super) clusters: Arc<Clusters>,
    timeouts: AttemptTimeouts,
    /// The place of the server that answered last.
    preferred: AtomicU8,
}

/// How long servers may take to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptTimeouts {
    /// How long one is silent before the next one is asked as well.
    pub(super) hedge_delay: Duration,
    /// How long a try is waited for.
    pub(super) attempt_timeout: Duration,
}

/// Why [`ServerList::ask`] has no answer.
#[derive(Debug, Clone)]
pub(super) enum AskError {
    /// The servers are members of different clusters.
    Mixed {
        clusters: MixedClusters,
        may_have_happened: bool,
    },
    /// A server refused, and will always refuse.
    Refused(Refusal, AttemptLog),
    /// The servers are at a limit. No try has been or will be executed.
    Overloaded(Overload),
    /// No answer came in time.
    Unanswered(AttemptLog),
}

/// What the servers have too many of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overload {
    pub(super) resource: Resource,
    /// How long it was tried.
    pub(super) after: Duration,
}

impl AskError {
    /// The same error, for a call that needed the answer before it could be sent itself.
    pub(super) fn before_the_call(self) -> Self {
        match self {
            Self::Refused(_, log) | Self::Unanswered(log) => {
                Self::Unanswered(log.before_the_call())
            }
            Self::Mixed { clusters, .. } => Self::Mixed {
                clusters,
                may_have_happened: false,
            },
            Self::Overloaded(_) => self,
        }
    }
}

/// How [`ServerList::ask_unless`] ends.
#[derive(Debug)]
pub(super) enum Asked<E> {
    Ended(Result<Answer, AskError>),
    /// The event has happened first.
    Interrupted(E),
}

/// How a try ends.
type Ended = Result<Answer, AttemptError>;

impl ServerList {
    pub(super) fn new(
        network: &Arc<dyn Network>,
        servers: &Servers,
        hedge_delay: Duration,
    ) -> Self {
        let clusters = Arc::new(Clusters::new(network.clone(), servers.clone(), hedge_delay));
        let connections = PerServer::of(servers.ids(), |server| {
            let address = servers.address(server).clone();
            Connection::new(network.clone(), address).listed(clusters.clone(), server)
        });
        Self {
            connections,
            clusters,
            timeouts: AttemptTimeouts {
                hedge_delay,
                attempt_timeout: ATTEMPT_TIMEOUT,
            },
            preferred: AtomicU8::new(ServerId::A.into()),
        }
    }

    /// The same servers, over connections of its own: for another runtime.
    pub(super) fn apart(&self) -> Self {
        Self {
            connections: PerServer::of(self.ids(), |server| self.connections[server].apart()),
            clusters: self.clusters.clone(),
            timeouts: self.timeouts,
            preferred: AtomicU8::new(self.preferred().into()),
        }
    }

    /// The servers, in their order.
    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = ServerId> + use<> {
        self.clusters.ids()
    }

    /// Whether any runtime can reach them.
    pub(super) fn is_reached_from_any_runtime(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(Connection::is_reached_from_any_runtime)
    }

    /// The pace of a question that is answered at once.
    pub(super) const fn timeouts(&self) -> AttemptTimeouts {
        self.timeouts
    }

    /// Asks until one of the servers answers or `deadline` has come. `now` is when it begins.
    ///
    /// # Cancel safety
    ///
    /// Safe; but the request may be carried out, or may have been.
    pub(super) fn ask(
        &self,
        request: &Request,
        now: Instant,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, AskError>> + Send {
        self.ask_at(self.timeouts, request, now, deadline)
    }

    /// Asks, as [`ask`](Self::ask) does, with timeouts of its own.
    ///
    /// # Cancel safety
    ///
    /// Safe; but the request may be carried out, or may have been.
    pub(super) async fn ask_at(
        &self,
        timeouts: AttemptTimeouts,
        request: &Request,
        now: Instant,
        deadline: Instant,
    ) -> Result<Answer, AskError> {
        let never = pending::<Infallible>();
        match self
            .ask_unless(timeouts, request, now, deadline, never)
            .await
        {
            Asked::Ended(result) => result,
            Asked::Interrupted(never) => match never {},
        }
    }

    /// Asks, as [`ask_at`](Self::ask_at) does, and stops when `event` happens. It looks for the
    /// event only once the answer is late, by [`AttemptTimeouts::hedge_delay`]: nearly every answer
    /// comes before, and to watch costs more than to ask.
    ///
    /// # Cancel safety
    ///
    /// Safe; but the request may be carried out, or may have been.
    pub(super) async fn ask_unless<E>(
        &self,
        timeouts: AttemptTimeouts,
        request: &Request,
        now: Instant,
        deadline: Instant,
        event: impl Future<Output = E> + Send,
    ) -> Asked<E> {
        expect_runtime();
        if let Err(clusters) = self.clusters.check_mix().await {
            return Asked::Ended(Err(AskError::Mixed {
                clusters,
                may_have_happened: false,
            }));
        }
        let server = self.preferred();
        let sent = Arc::<Sent>::default();
        let ends = deadline.min(now + timeouts.attempt_timeout);
        let mut first = pin!(self.connections[server].ask(request, ends, &sent));
        let soon = ends.min(now + timeouts.hedge_delay);
        let first = match timeout_at(soon, first.as_mut()).await {
            Ok(Ok(answer)) => {
                self.stick_to(server);
                return Asked::Ended(Ok(answer));
            }
            Ok(Err(error)) => ready(Err(error)).boxed(),
            Err(_) => first.boxed(),
        };
        let mut tries = Attempts::new(self, timeouts, request, (server, now), deadline);
        tries.take_over(server, sent.clone(), first, ends);
        let late = async {
            tokio::select! {
                biased;
                event = event => Asked::Interrupted(event),
                result = tries.run() => Asked::Ended(result),
            }
        };
        Box::pin(late).await
    }

    /// The server that answered last, or is listed first.
    pub(super) fn preferred(&self) -> ServerId {
        let preferred = self.preferred.load(Ordering::Relaxed);
        preferred.try_into().unwrap_or(ServerId::A)
    }

    fn stick_to(&self, server: ServerId) {
        let place = server.into();
        if self.preferred.swap(place, Ordering::Relaxed) != place {
            tracing::debug!(%server, addr = %self.connections[server].addr(), "going on with");
        }
    }
}

/// The tries of a question whose first one was not answered soon.
struct Attempts<'a> {
    servers: &'a ServerList,
    timeouts: AttemptTimeouts,
    request: &'a Request,
    begun: Instant,
    deadline: Instant,
    /// When the last try begins, where servers are overloaded.
    last_retry: Instant,
    failover: Failover,
    log: AttemptLog,
    running: FuturesUnordered<BoxFuture<'a, (ServerId, Ended)>>,
}

impl<'a> Attempts<'a> {
    /// `first`: where and when the first try was made. Another server can be preferred by now.
    fn new(
        servers: &'a ServerList,
        timeouts: AttemptTimeouts,
        request: &'a Request,
        first: (ServerId, Instant),
        deadline: Instant,
    ) -> Self {
        let (server, begun) = first;
        let mut failover = Failover::new(servers.ids(), server, timeouts.hedge_delay, begun);
        let step = failover.next(begun);
        debug_assert_eq!(step, Step::Try(server));
        Self {
            servers,
            timeouts,
            request,
            begun,
            deadline,
            last_retry: deadline - timeouts.hedge_delay.min((deadline - begun) / 4),
            failover,
            log: AttemptLog::new(servers.ids()),
            running: FuturesUnordered::new(),
        }
    }

    async fn run(mut self) -> Result<Answer, AskError> {
        loop {
            let now = Instant::now();
            let is_refused = self.is_refused(now);
            if now >= self.deadline || (is_refused && self.log.is_certain()) {
                return Err(self.failed(now));
            }
            let step = if is_refused {
                Step::Wait
            } else {
                self.failover.next(now)
            };
            let wake = match step {
                Step::Try(server) => {
                    self.begin(server, now);
                    continue;
                }
                Step::WaitUntil(at) => at.min(self.deadline),
                Step::Wait => self.deadline,
            };
            let Some((server, ended)) = self.next_ended(wake).await else {
                continue;
            };
            match ended {
                Ok(answer) => {
                    self.servers.stick_to(server);
                    return Ok(answer);
                }
                Err(AttemptError::Refused(refusal)) if is_final(refusal) => {
                    self.servers.stick_to(server);
                    self.log.end(server, refusal.into());
                    return Err(AskError::Refused(refusal, self.log.closed()));
                }
                Err(AttemptError::MixedClusters(clusters)) => {
                    let log = self.log.closed();
                    let may_have_happened = log.may_have_happened;
                    return Err(AskError::Mixed {
                        clusters,
                        may_have_happened,
                    });
                }
                Err(error) => {
                    self.failover.failed(server, Instant::now());
                    self.log.end(server, error);
                }
            }
        }
    }

    /// Whether servers are overloaded and no further try is made.
    fn is_refused(&self, now: Instant) -> bool {
        let resource = self.log.overload();
        resource.is_some_and(|resource| lasts(resource) || now >= self.last_retry)
    }

    fn failed(self, now: Instant) -> AskError {
        let log = self.log.closed();
        match log.overload() {
            Some(resource) => AskError::Overloaded(Overload {
                resource,
                after: millis(now - self.begun),
            }),
            None => AskError::Unanswered(log),
        }
    }

    fn begin(&mut self, server: ServerId, now: Instant) {
        let ends = self.deadline.min(now + self.timeouts.attempt_timeout);
        let sent = Arc::<Sent>::default();
        let (connection, request) = (&self.servers.connections[server], self.request);
        let shared = sent.clone();
        let report = async move { connection.ask(request, ends, &shared).await };
        self.take_over(server, sent, report.boxed(), ends);
    }

    /// Counts a try among those that are waited for, until `ends`.
    fn take_over(
        &mut self,
        server: ServerId,
        sent: Arc<Sent>,
        report: BoxFuture<'a, Ended>,
        ends: Instant,
    ) {
        self.log.begin(server, sent.clone());
        let bounded = async move {
            let ended = timeout_at(ends, report).await;
            (server, ended.unwrap_or_else(|_| Err(sent.give_up())))
        };
        self.running.push(bounded.boxed());
    }

    /// Waits for a try to end; gives up at `wake`.
    async fn next_ended(&mut self, wake: Instant) -> Option<(ServerId, Ended)> {
        if self.running.is_empty() {
            sleep_until(wake).await;
            return None;
        }
        timeout_at(wake, self.running.next()).await.ok().flatten()
    }
}

/// Whether waiting does not cure that there are too many of them.
const fn lasts(resource: Resource) -> bool {
    !matches!(resource, Resource::Calls)
}

/// Without the digits that nobody reads.
fn millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Whether trying again cannot help.
const fn is_final(refusal: Refusal) -> bool {
    use Refusal::{GivenUp, InvalidName, NoLease, Owned, UnknownSession};
    matches!(
        refusal,
        UnknownSession | GivenUp | InvalidName(_) | Owned | NoLease
    )
}
