//! The connection to one server, shared by all calls of a clerk.
//!
//! It is dialled when the first call needs it, and again when it is broken. A try that has no
//! answer for long gives the connection up for all that come later: a connection to a machine that
//! vanished, or through a router that forgot it, looks like any other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use tarpc::client::stub::Stub as _;
use tarpc::client::{Config, NewClient, RpcError};
use tarpc::context;
use tokio::time::{Instant, timeout};

use super::clusters::Clusters;
use super::error::AttemptError;
use super::single_flight::SingleFlight;
use crate::config::{CALLS_PER_CONNECTION, DIAL_TIMEOUT, LONGEST_WAIT, MAX_FRAME_BYTES};
use crate::rpc;
use crate::rpc::Checked;
use crate::service::{
    Answer, LockServiceClient, LockServiceRequest, LockServiceResponse, Refusal, Request,
    ServerStatus, Verb,
};
use crate::transport::{Addr, Network};
use crate::types::ServerId;

/// What tarpc says for a server that takes no more calls on a connection. It has not looked at the
/// call.
const THROTTLED: &str = "server throttled the request.";

type Client = Checked<LockServiceRequest, LockServiceResponse>;

#[derive(Debug)]
pub(super) struct Connection {
    network: Arc<dyn Network>,
    addr: Addr,
    /// The list that the server is on, and which it is there.
    listed: Option<(Arc<Clusters>, ServerId)>,
    live: SingleFlight<Live, AttemptError>,
}

/// An established connection.
#[derive(Debug)]
struct Live {
    client: Client,
    broken: AtomicBool,
}

/// Whether a try has been sent, so that it can be carried out; and on which connection.
#[derive(Debug, Default)]
pub(super) struct Sent(OnceLock<Arc<Live>>);

impl Connection {
    pub(super) fn new(network: Arc<dyn Network>, addr: Addr) -> Self {
        Self {
            network,
            addr,
            listed: None,
            live: SingleFlight::default(),
        }
    }

    /// The same, to a server that has to be a member of the same cluster as the others of the list.
    pub(super) fn listed(mut self, clusters: Arc<Clusters>, server: ServerId) -> Self {
        self.listed = Some((clusters, server));
        self
    }

    /// To the same server, but not shared with this one.
    pub(super) fn apart(&self) -> Self {
        Self {
            listed: self.listed.clone(),
            ..Self::new(self.network.clone(), self.addr.clone())
        }
    }

    /// Whether a thread of its own can use it.
    pub(super) fn is_reached_from_any_runtime(&self) -> bool {
        self.network.is_reached_from_any_runtime()
    }

    pub(super) const fn addr(&self) -> &Addr {
        &self.addr
    }

    /// Has the server's name looked up in the background, so that an address of it is known when it
    /// is dialled, which may be when the resolver fails too.
    pub(super) fn look_up(&self) {
        let _ = self.network.locate(&self.addr).now_or_never();
    }

    /// Makes one try at `request`. Waits for its answer without an end: the caller, who knows when
    /// it has been long enough, drops it, and says so to `sent`. The server is told of `ends`.
    ///
    /// # Cancel safety
    ///
    /// Safe: the server is told to drop what it does for the request.
    pub(super) async fn ask(
        &self,
        request: &Request,
        ends: Instant,
        sent: &Sent,
    ) -> Result<Answer, AttemptError> {
        let live = self.live().await?;
        let live = sent.0.get_or_init(|| live);
        // The futures of the client that tarpc generates hold the request several times, and every
        // caller of this one would move all of that.
        let response = live.client.call(until(ends), question(request)).await;
        Ok(answer(live.judge(response)?)?)
    }

    /// Asks the server how it sees itself.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(super) async fn status(&self, deadline: Instant) -> Result<ServerStatus, AttemptError> {
        let live = self.live().await?;
        let client = LockServiceClient::from(live.client.clone());
        let status = client.status(until(deadline));
        live.judge(status.await).map(|status| *status)
    }

    async fn live(&self) -> Result<Arc<Live>, AttemptError> {
        let dial = || {
            let (network, addr) = (self.network.clone(), self.addr.clone());
            dial(network, addr, self.listed.clone()).boxed()
        };
        self.live.get(|live| !live.is_broken(), dial).await
    }
}

impl Live {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Judges what came of a try by what it says about the execution, and about the connection.
    fn judge<T>(&self, result: Result<T, RpcError>) -> Result<T, AttemptError> {
        let error = match result {
            Ok(answer) => return Ok(answer),
            Err(RpcError::DeadlineExceeded) => AttemptError::NoAnswer,
            Err(RpcError::Shutdown | RpcError::Channel(_)) => AttemptError::ConnectionLost,
            Err(RpcError::Send(error)) => AttemptError::NotSent(error.to_string()),
            Err(RpcError::Server(error)) if error.detail == THROTTLED => AttemptError::Busy,
            Err(RpcError::Server(_)) => AttemptError::Refused(Refusal::Internal),
        };
        if matches!(error, AttemptError::NoAnswer | AttemptError::ConnectionLost) {
            self.broken.store(true, Ordering::Relaxed);
        }
        Err(error)
    }
}

impl Sent {
    pub(super) fn is_sent(&self) -> bool {
        self.0.get().is_some()
    }

    /// What it is when the try ends without an answer.
    pub(super) fn without_answer(&self) -> AttemptError {
        if self.is_sent() {
            AttemptError::NoAnswer
        } else {
            AttemptError::NoConnection
        }
    }

    /// There has been no answer for long: later calls use another connection.
    pub(super) fn give_up(&self) -> AttemptError {
        if let Some(live) = self.0.get() {
            live.broken.store(true, Ordering::Relaxed);
        }
        self.without_answer()
    }
}

async fn dial(
    network: Arc<dyn Network>,
    addr: Addr,
    listed: Option<(Arc<Clusters>, ServerId)>,
) -> Result<Arc<Live>, AttemptError> {
    let (stream, cluster) = timeout(DIAL_TIMEOUT, rpc::dial_as_client(&*network, &addr))
        .await
        .map_err(|_| AttemptError::NoConnection)?
        .map_err(|error| AttemptError::Dial(Arc::new(error)))?;
    if let Some((clusters, server)) = listed {
        clusters.check(server, cluster).await?;
    }
    let transport = rpc::client_transport(stream, MAX_FRAME_BYTES);
    let NewClient { client, dispatch } = tarpc::client::new(config(), transport);
    let live = Arc::new(Live {
        client: Checked::new(client),
        broken: AtomicBool::new(false),
    });
    // The dispatch ends when nobody holds the client any more: so it must not hold it itself.
    let ending = Arc::downgrade(&live);
    tokio::spawn(async move {
        let ended = dispatch.await;
        if let Some(live) = ending.upgrade() {
            live.broken.store(true, Ordering::Relaxed);
        }
        tracing::debug!(%addr, ?ended, "the connection has ended");
    });
    Ok(live)
}

/// A call over what a server takes on one connection would be refused, so it waits here instead.
fn config() -> Config {
    let mut config = Config::default();
    config.max_in_flight_requests = CALLS_PER_CONNECTION;
    config.pending_request_buffer = CALLS_PER_CONNECTION;
    config
}

/// The context of a request that is waited for until `deadline`.
fn until(deadline: Instant) -> context::Context {
    let remaining = deadline.saturating_duration_since(Instant::now());
    let mut context = context::current();
    context.deadline = std::time::Instant::now() + remaining.min(LONGEST_WAIT);
    context
}

/// The request as it goes over the wire.
fn question(request: &Request) -> LockServiceRequest {
    match request.clone() {
        Request::OpenSession {
            client,
            terms: session,
        } => LockServiceRequest::OpenSession { client, session },
        Request::Call { id, verb, name } => {
            let name = name.as_str().to_owned();
            match verb {
                Verb::Lock => LockServiceRequest::Lock { id, name },
                Verb::Unlock => LockServiceRequest::Unlock { id, name },
            }
        }
        Request::Acquire { id, name, options } => {
            let name = name.as_str().to_owned();
            LockServiceRequest::Acquire { id, name, options }
        }
        Request::Release { id, acquired } => LockServiceRequest::Release { id, acquired },
        Request::Retain {
            id,
            acquired,
            retention,
        } => LockServiceRequest::Retain {
            id,
            acquired,
            retention,
        },
        Request::Break {
            id,
            name,
            token,
            reason,
            address: _,
        } => LockServiceRequest::BreakLock {
            id,
            name: name.as_str().to_owned(),
            token,
            reason,
        },
        Request::Show { name } => LockServiceRequest::Show {
            name: name.as_str().to_owned(),
        },
        Request::List { prefix, from } => LockServiceRequest::List { prefix, from },
        Request::Poll {
            client,
            session,
            since,
            view,
        } => LockServiceRequest::Poll {
            client,
            session,
            since,
            view,
        },
        Request::Holdings {
            client,
            session,
            from,
        } => LockServiceRequest::Holdings {
            client,
            session,
            from,
        },
        Request::KeepAlive { client, session } => LockServiceRequest::KeepAlive { client, session },
        Request::CloseSession { client, session } => {
            LockServiceRequest::CloseSession { client, session }
        }
    }
}

/// The answer to a request, as it came over the wire.
fn answer(response: LockServiceResponse) -> Result<Answer, Refusal> {
    match response {
        LockServiceResponse::OpenSession(opened) => opened.map(Answer::Opened),
        LockServiceResponse::Lock(done)
        | LockServiceResponse::Unlock(done)
        | LockServiceResponse::Release(done)
        | LockServiceResponse::Retain(done)
        | LockServiceResponse::BreakLock(done) => done.map(Answer::Call),
        LockServiceResponse::Acquire(acquired) => acquired.map(Answer::Acquired),
        LockServiceResponse::Show(lock) => lock.map(Answer::Lock),
        LockServiceResponse::List(page) => page.map(Answer::Page),
        LockServiceResponse::Poll(notifications) => notifications.map(Answer::Notifications),
        LockServiceResponse::Holdings(holdings) => holdings.map(Answer::Holdings),
        LockServiceResponse::KeepAlive(done) | LockServiceResponse::CloseSession(done) => {
            done.map(|()| Answer::Done)
        }
        LockServiceResponse::Status(_) => unreachable!("no `Request` asks for the status"),
    }
}
