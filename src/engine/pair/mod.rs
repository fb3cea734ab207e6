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
mod load_counter;
mod peer;
mod probe;
pub mod protocol;
mod relay;
mod report;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::core::{InStream, Overview, Settings, Via};
use self::driver::Driver;
use self::inbox::{FromClient, FromPeer, PeerInbox};
pub(crate) use self::load_counter::LoadCounter;
pub(crate) use self::peer::Peer;
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::rpc::RunId;
use crate::service::{Answer, Refusal, Request, Resource};
use crate::types::{ClusterId, View};

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
    next_link: Arc<AtomicU64>,
    run: RunId,
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
    /// Makes an engine. It works while the future is polled, and stops when that is dropped.
    pub(crate) fn new(
        settings: Settings,
        peer: Peer,
    ) -> (Self, impl Future<Output = Infallible> + Send) {
        let (clients, from_clients) = mpsc::channel(INBOX);
        let (peers, from_peers) = mpsc::channel(INBOX);
        let peers = PeerInbox(peers);
        let activity = Arc::new(LoadCounter::default());
        let run = peer.run;
        let (announce, cluster) = watch::channel(None);
        let driver = Driver::new(
            settings,
            peer,
            from_clients,
            from_peers,
            peers.clone(),
            activity.clone(),
            announce,
        );
        let pair = Self {
            clients,
            peers,
            calls: Arc::new(Semaphore::new(settings.limits.calls)),
            load: activity,
            next_link: Arc::new(AtomicU64::new(0)),
            run,
            cluster,
        };
        (pair, driver.run())
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
    pub(crate) async fn overview(&self) -> Overview {
        let (to, overview) = oneshot::channel();
        // Seldom asked for, and large.
        let _ = self.clients.send(FromClient::Overview { to }).boxed().await;
        overview.await.unwrap_or_default()
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

    /// What tells this run of the server from all others.
    pub(crate) const fn run(&self) -> RunId {
        self.run
    }

    /// The cluster that this server is a member of, as it changes.
    pub(crate) fn cluster(&self) -> watch::Receiver<Option<ClusterId>> {
        self.cluster.clone()
    }

    /// Numbers a connection. To be called in the order in which connections are accepted.
    pub(crate) fn number_stream(&self) -> InStream {
        InStream(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// Announces a connection from the peer. The engine hangs up by `hang_up`.
    pub(crate) async fn stream_accepted(&self, stream: InStream, hang_up: CancellationToken) {
        self.peers
            .send(FromPeer::Accepted { stream, hang_up })
            .await;
    }

    /// A connection from the peer has ended.
    pub(crate) async fn stream_closed(&self, stream: InStream) {
        self.peers.send(FromPeer::InStreamClosed { stream }).await;
    }

    /// The peer asks who this server is; no answer if it is stopping.
    pub(crate) async fn answer_probe(
        &self,
        stream: InStream,
        asker: Introduction,
    ) -> Option<Introduction> {
        let (to, introduction) = oneshot::channel();
        self.peers.send(FromPeer::Probe { stream, asker, to }).await;
        introduction.await.ok()
    }

    /// The peer asks this server to step down as its backup; no answer if it is stopping.
    pub(crate) async fn dismissed(&self, stream: InStream, view: View) -> Option<Introduction> {
        let (to, introduction) = oneshot::channel();
        let dismissed = FromPeer::Dismissed { stream, view, to };
        self.peers.send(dismissed).await;
        introduction.await.ok()
    }

    /// The peer sends a frame.
    pub(crate) async fn append(&self, stream: InStream, frame: Frame) -> FrameAnswer {
        let (to, answer) = oneshot::channel();
        self.peers.send(FromPeer::Frame { stream, frame, to }).await;
        answer.await.unwrap_or(FrameAnswer::Closed)
    }

    /// The peer says that it has a higher view.
    pub(crate) async fn view_announced(&self, view: View) {
        self.peers.send(FromPeer::ViewAnnounced { view }).await;
    }
}
