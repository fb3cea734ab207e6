//! The pair engine: a primary and a backup keep the same [lock machine](crate::machine) in memory.
//!
//! For servers that fail by stopping. `docs/protocol.md` has the protocol: its terms, the rules M1
//! to M12 with the trace that each guards against, and the safety argument. In short:
//!
//! - The primary gives every command an op number, applies it and appends it to the backup's queue,
//!   in one step. It answers when the backup has acknowledged that op.
//! - A suspected peer is probed before anything is decided. It counts as dead if it refuses the
//!   connection, or is silent for a whole `peer_timeout` while the prober runs throughout.
//! - A backup whose primary is dead takes over; a primary whose backup is dead goes on alone. Each
//!   makes a new view, and what comes from an older one is refused.
//! - A server that was paused does not go on from its state before its peer has confirmed it.
//! - A restarted server gets a snapshot, then the commands since, and joins while clients go on.
//! - A network partition between the servers is **not tolerated**: both may go on, and when it
//!   heals, one yields. Their fencing tokens differ. Then sessions compare what they hold with the
//!   state that was kept.
//!
//! [`core`] decides, as a pure function of what happened; the `driver` task owns it; `forward`,
//! `probe` and `relay` talk to the other server for it, as [`protocol`] says. Handlers hand over
//! a request and wait: one that is dropped changes nothing.

pub mod core;
mod driver;
mod forward;
mod inbox;
mod peer;
mod probe;
pub mod protocol;
mod relay;
mod replication;
mod report;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::core::{InStream, Settings};
use self::driver::Driver;
use self::inbox::{FromClient, PeerInbox};
use self::peer::Peer;
use super::{ConnectionNumber, EngineConfig, EngineStatus, LoadCounter, Via};
use crate::service::{Answer, Refusal, Request, Resource};
use crate::transport::Stream;
use crate::types::ClusterId;

/// How many messages may wait for the driver in each inbox: a few rounds of its work. Who has more
/// to tell waits.
const INBOX: usize = 1_024;

/// A handle to the engine of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PairHandle {
    clients: mpsc::Sender<FromClient>,
    peers: PeerInbox,
    calls: Arc<Semaphore>,
    load: Arc<LoadCounter>,
    cluster: watch::Receiver<Option<ClusterId>>,
}

/// A request on its way to the driver, or there.
struct Submitted<'a> {
    answer: oneshot::Receiver<Result<Answer, Refusal>>,
    /// The driver's inbox was full.
    late: Option<BoxFuture<'a, Result<(), SendError<FromClient>>>>,
    permit: Option<SemaphorePermit<'a>>,
}

impl PairHandle {
    /// Makes an engine, which works while both futures are polled, and stops when they are dropped:
    /// its driver, and what keeps the peer's address known.
    pub(crate) fn new(
        config: &EngineConfig,
    ) -> (
        Self,
        impl Future<Output = Infallible> + Send + use<>,
        impl Future<Output = Infallible> + Send + use<>,
    ) {
        let (settings, peer) = (settings(config), Peer::new(config));
        let (clients, from_clients) = mpsc::channel(INBOX);
        let (peers, from_peers) = mpsc::channel(INBOX);
        let peers = PeerInbox(peers);
        let load = Arc::<LoadCounter>::default();
        let (announce, cluster) = watch::channel(None);
        let driver = Driver::new(
            settings,
            peer.clone(),
            from_clients,
            from_peers,
            peers.clone(),
            load.clone(),
            announce,
        );
        let pair = Self {
            clients,
            peers,
            calls: Arc::new(Semaphore::new(settings.limits.calls)),
            load,
            cluster,
        };
        (pair, driver.run(), peer.keep_located())
    }

    /// Submits a request, which is on its way when this returns; the future waits until its answer
    /// is safe.
    ///
    /// # Cancel safety
    ///
    /// Safe: the request has then been executed whole, or not at all, and its record tells which.
    pub(crate) fn submit(
        &self,
        via: Via,
        request: Request,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send {
        // Not an async function: the request would stay in the future for as long as its answer is
        // waited for.
        let submitted = self.send(via, request);
        async {
            let Submitted {
                answer,
                late,
                permit: _permit,
            } = submitted?;
            if let Some(late) = late {
                late.await.map_err(|_| Refusal::NotReady)?;
            }
            // The driver is gone: the server is stopping.
            answer.await.unwrap_or(Err(Refusal::Interrupted))
        }
    }

    fn send(&self, via: Via, request: Request) -> Result<Submitted<'_>, Refusal> {
        // A poll waits, and one of each session does: it is not counted.
        let counts = !matches!(request, Request::Poll { .. });
        let permit = counts.then(|| self.calls.try_acquire()).transpose();
        let permit = permit.map_err(|_| Refusal::Overloaded(Resource::Calls))?;
        let (to, answer) = oneshot::channel();
        let message = FromClient::Request { via, request, to };
        // Sending counts against Tokio's budget of the connection's task, and would cut batches
        // short.
        let late = match self.clients.try_send(message) {
            Ok(()) => None,
            Err(TrySendError::Full(message)) => Some(self.clients.send(message).boxed()),
            Err(TrySendError::Closed(_)) => return Err(Refusal::NotReady),
        };
        Ok(Submitted {
            answer,
            late,
            permit,
        })
    }

    /// How the server stands: like one that is starting, once it is stopping.
    pub(crate) async fn status(&self) -> EngineStatus {
        let (to, status) = oneshot::channel();
        // Seldom asked for, and large.
        let _ = self.clients.send(FromClient::Status { to }).boxed().await;
        status.await.unwrap_or_default()
    }

    /// Hands over to the peer: takes no new request, waits until what was taken is answered, gives
    /// the role up, and returns when the peer knows.
    ///
    /// # Cancel safety
    ///
    /// Safe: the engine goes on with it.
    pub(crate) async fn hand_over(&self) {
        let (handed_over, done) = oneshot::channel();
        let _ = self
            .clients
            .send(FromClient::End { handed_over })
            .boxed()
            .await;
        // Or the engine is gone.
        let _ = done.await;
    }

    /// How much the engine does.
    pub(crate) const fn load(&self) -> &Arc<LoadCounter> {
        &self.load
    }

    /// The cluster that this server is a member of, as it changes.
    pub(crate) fn cluster(&self) -> watch::Receiver<Option<ClusterId>> {
        self.cluster.clone()
    }

    /// Serves a connection from the peer until it ends, the engine hangs up, or the server stops
    /// and all that was asked is answered.
    pub(crate) async fn serve_peer(
        &self,
        number: ConnectionNumber,
        stream: Stream,
        stopping: &CancellationToken,
    ) {
        replication::serve(self, InStream(number.0), stream, stopping).await;
    }
}

fn settings(config: &EngineConfig) -> Settings {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let started_at = clock.map_or(0, |since| since.as_micros());
    let started_at = u64::try_from(started_at).unwrap_or(u64::MAX);
    Settings {
        cluster_seed: Uuid::new_v4().as_u64_pair().0,
        ..Settings::new(
            config.me,
            config.alone,
            config.timing,
            config.limits,
            started_at,
        )
    }
}
