//! A crude chain of two servers: right as long as nothing but its first server fails, and once at
//! the most. With a [`Fault`] planted it is wrong in a way that people get wrong. It is there to be
//! judged: a simulation that does not refute each of the faults proves nothing of the real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lockservice::config::MAX_FRAME_BYTES;
use lockservice::rpc::{Purpose, RunId, accept, client_transport, dial, greet, server_transport};
use lockservice::service::{
    AcquireOptions, Acquired, CallId, Cursor, Holdings, InView, LockInfo, LockService,
    Notifications, Opened, Page, Refusal, Revision, RoleName, ServerStatus, SessionTerms, Verb,
};
use lockservice::transport::{Network, PairId, Servers, Stream};
use lockservice::types::{ClientId, Retention, Seq, ServerId, SessionId, Token, View};
use serde::{Deserialize, Serialize};
use tarpc::client::Config;
use tarpc::context::{self, Context};
use tarpc::server::{BaseChannel, Channel};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::context::pass;
use super::run::Software;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A call that is asked for again is carried out again.
    NoRecords,
    /// Handlers forward by themselves, so that the backup sees another order than the primary.
    OutsideTheOrder,
    /// What changes nothing is answered without asking whether one is primary still.
    StaleAfterAWake,
    /// The answer is given before the backup has the call.
    ReplyBeforeTheAck,
}

/// The chain as the software of a simulated server.
pub(crate) fn chain(fault: Option<Fault>) -> Software {
    Rc::new(move |context, network, me, _| {
        let (server, queue) = Server::new(fault, me, network, &context.servers());
        server.run(queue, context.peer_timeout()).boxed()
    })
}

/// What the first server of the chain says to the second.
#[tarpc::service]
trait Chain {
    /// Carries the entries out. False: not a backup any more.
    async fn forward(entries: Vec<Entry>) -> bool;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: (ClientId, Seq),
    verb: Verb,
    name: String,
}

/// The locks, and what clients were told.
#[derive(Debug)]
struct Table {
    held: BTreeSet<String>,
    outcomes: BTreeMap<(ClientId, Seq), bool>,
    has_records: bool,
}

impl Table {
    fn apply(&mut self, entry: &Entry) -> bool {
        if let Some(&outcome) = self.outcomes.get(&entry.id).filter(|_| self.has_records) {
            return outcome;
        }
        let outcome = match entry.verb {
            Verb::Lock => self.held.insert(entry.name.clone()),
            Verb::Unlock => self.held.remove(&entry.name),
        };
        self.outcomes.insert(entry.id, outcome);
        outcome
    }
}

/// A call that waits for the backup.
struct Queued {
    entry: Entry,
    outcome: bool,
    to: Option<oneshot::Sender<bool>>,
}

#[derive(Clone)]
struct Server {
    fault: Option<Fault>,
    me: ServerId,
    peer: Peer,
    state: Arc<Mutex<State>>,
    queue: mpsc::Sender<Queued>,
}

struct State {
    role: Role,
    table: Table,
    heard: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Primary,
    Backup,
    Alone,
    Deposed,
}

impl Server {
    fn new(
        fault: Option<Fault>,
        me: ServerId,
        network: Arc<dyn Network>,
        servers: &Servers,
    ) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(4_096);
        let role = match me {
            ServerId::A => Role::Primary,
            _ => Role::Backup,
        };
        let table = Table {
            held: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            has_records: fault != Some(Fault::NoRecords),
        };
        let state = State {
            role,
            table,
            heard: Instant::now(),
        };
        let server = Self {
            fault,
            me,
            peer: Peer::new(me, network, servers),
            state: Arc::new(Mutex::new(state)),
            queue,
        };
        (server, queued)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        self,
        queue: mpsc::Receiver<Queued>,
        peer_timeout: Duration,
    ) -> Result<(), String> {
        let (network, address) = (&self.peer.network, self.peer.servers.address(self.me));
        let listening = network.listen(address).await;
        let mut listener = listening.map_err(|error| error.to_string())?;
        self.state().heard = Instant::now();
        match self.me {
            ServerId::A => tokio::spawn(self.clone().feed(queue, peer_timeout)),
            _ => tokio::spawn(self.clone().watch(peer_timeout)),
        };
        loop {
            let accepted = listener.accept().await;
            let (stream, _) = accepted.map_err(|error| error.to_string())?;
            tokio::spawn(self.clone().serve(stream));
        }
    }

    /// Feeds the backup, one batch at a time, in the order of the queue.
    async fn feed(self, mut queue: mpsc::Receiver<Queued>, peer_timeout: Duration) {
        let mut link = None;
        loop {
            let mut batch = Vec::new();
            // None at all makes a heartbeat.
            let _ = timeout(peer_timeout / 8, queue.recv_many(&mut batch, 1_024)).await;
            let entries: Vec<_> = batch.iter().map(|queued| queued.entry.clone()).collect();
            if !self.peer.forward(&mut link, entries).await {
                self.state().role = Role::Deposed;
                return;
            }
            for Queued { outcome, to, .. } in batch {
                let _ = to.map(|to| to.send(outcome));
            }
        }
    }

    /// Takes over when nothing has been heard of the primary for long.
    async fn watch(self, peer_timeout: Duration) {
        while self.state().heard.elapsed() < peer_timeout {
            pass(peer_timeout / 8).await;
        }
        self.state().role = Role::Alone;
    }

    async fn serve(self, mut stream: Stream) {
        let Ok(purpose) = greet(&mut stream).await else {
            return;
        };
        if accept(&mut stream).await.is_err() {
            return;
        }
        match purpose {
            Purpose::Client => {
                let transport = server_transport(stream, MAX_FRAME_BYTES);
                let handlers =
                    BaseChannel::with_defaults(transport).execute(LockService::serve(self));
                handlers.for_each_concurrent(None, |handler| handler).await;
            }
            Purpose::Peer { .. } => {
                let transport = server_transport(stream, MAX_FRAME_BYTES);
                let handlers = BaseChannel::with_defaults(transport).execute(Chain::serve(self));
                handlers.for_each_concurrent(None, |handler| handler).await;
            }
        }
    }

    async fn call(self, entry: Entry) -> Result<bool, Refusal> {
        match self.begin(&entry)? {
            Begun::Safe(outcome) => Ok(outcome),
            Begun::Queued(answer) => answer.await.map_err(|_| Refusal::Interrupted),
            Begun::Unordered(outcome) => {
                let is_backup = self.peer.forward(&mut None, vec![entry]).await;
                is_backup.then_some(outcome).ok_or(Refusal::Interrupted)
            }
        }
    }

    /// Applies the call and queues it, in one step; or as the fault wants it.
    fn begin(&self, entry: &Entry) -> Result<Begun, Refusal> {
        let mut state = self.state();
        match state.role {
            Role::Backup | Role::Deposed => return Err(Refusal::NotReady),
            Role::Alone => return Ok(Begun::Safe(state.table.apply(entry))),
            Role::Primary => {}
        }
        let outcome = state.table.apply(entry);
        let (to, answer) = oneshot::channel();
        let early = match self.fault {
            Some(Fault::OutsideTheOrder) => return Ok(Begun::Unordered(outcome)),
            Some(Fault::ReplyBeforeTheAck) => true,
            Some(Fault::StaleAfterAWake) => !outcome,
            Some(Fault::NoRecords) | None => false,
        };
        let queued = Queued {
            entry: entry.clone(),
            outcome,
            to: (!early).then_some(to),
        };
        let is_full = self.queue.try_send(queued).is_err();
        match (is_full, early) {
            (true, _) => Err(Refusal::Interrupted),
            (false, true) => Ok(Begun::Safe(outcome)),
            (false, false) => Ok(Begun::Queued(answer)),
        }
    }
}

/// How far a call has come in the step that took it.
enum Begun {
    /// It can be answered, or so the server thinks.
    Safe(bool),
    /// It is answered once the backup has it.
    Queued(oneshot::Receiver<bool>),
    /// The handler forwards it itself.
    Unordered(bool),
}

impl Chain for Server {
    async fn forward(self, _: Context, entries: Vec<Entry>) -> bool {
        let mut state = self.state();
        if state.role != Role::Backup {
            return false;
        }
        state.heard = Instant::now();
        for entry in &entries {
            state.table.apply(entry);
        }
        true
    }
}

impl LockService for Server {
    async fn open_session(
        self,
        _: Context,
        _: ClientId,
        _: Option<Arc<SessionTerms>>,
    ) -> Result<Opened, Refusal> {
        match self.state().role {
            Role::Backup | Role::Deposed => Err(Refusal::NotReady),
            Role::Primary | Role::Alone => Ok(Opened {
                session: SessionId(1),
                time_to_live: Duration::from_hours(1),
                inside: Vec::new(),
                view: View::first(ServerId::A),
            }),
        }
    }

    async fn lock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(entry(id, Verb::Lock, name)).await
    }

    async fn unlock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(entry(id, Verb::Unlock, name)).await
    }

    async fn acquire(
        self,
        _: Context,
        _: CallId,
        _: String,
        _: AcquireOptions,
    ) -> Result<Acquired, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn retain(self, _: Context, _: CallId, _: Seq, _: Retention) -> Result<bool, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn release(self, _: Context, _: CallId, _: Seq) -> Result<bool, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn break_lock(
        self,
        _: Context,
        _: CallId,
        _: String,
        _: Token,
        _: String,
    ) -> Result<bool, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn show(self, _: Context, _: String) -> Result<Box<LockInfo>, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn list(self, _: Context, _: String, _: Cursor) -> Result<Box<Page>, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn poll(
        self,
        _: Context,
        _: ClientId,
        _: SessionId,
        _: Revision,
        _: View,
    ) -> Result<Box<InView<Notifications>>, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn holdings(
        self,
        _: Context,
        _: ClientId,
        _: SessionId,
        _: Seq,
    ) -> Result<Box<InView<Holdings>>, Refusal> {
        Err(Refusal::NoLease)
    }

    async fn keep_alive(self, _: Context, _: ClientId, _: SessionId) -> Result<(), Refusal> {
        Ok(())
    }

    async fn close_session(self, _: Context, _: ClientId, _: SessionId) -> Result<(), Refusal> {
        Ok(())
    }

    async fn status(self, _: Context) -> Box<ServerStatus> {
        let role = match self.state().role {
            Role::Primary => RoleName::Primary,
            Role::Backup => RoleName::Backup,
            Role::Alone => RoleName::Standalone,
            Role::Deposed => RoleName::Starting,
        };
        let mut status = ServerStatus::starting(self.me);
        status.role = role;
        status.view = Some(View::first(ServerId::A));
        status.in_sync = true;
        Box::new(status)
    }
}

const fn entry(id: CallId, verb: Verb, name: String) -> Entry {
    let id = (id.client, id.seq);
    Entry { id, verb, name }
}

/// How the other server is reached.
#[derive(Clone)]
struct Peer {
    network: Arc<dyn Network>,
    servers: Servers,
    me: ServerId,
    pair: PairId,
}

impl Peer {
    fn new(me: ServerId, network: Arc<dyn Network>, servers: &Servers) -> Self {
        Self {
            network,
            servers: servers.clone(),
            me,
            pair: servers.pair_id(),
        }
    }

    /// Forwards until it is answered, on a new connection whenever one breaks.
    async fn forward(&self, link: &mut Option<ChainClient>, entries: Vec<Entry>) -> bool {
        loop {
            let client = match link {
                Some(client) => client,
                None => link.insert(self.connect().await),
            };
            match client.forward(context(), entries.clone()).await {
                Ok(is_backup) => return is_backup,
                Err(_) => *link = None,
            }
        }
    }

    async fn connect(&self) -> ChainClient {
        let purpose = Purpose::Peer {
            from: self.me,
            pair: self.pair,
            run: RunId(7),
        };
        let address = self.servers.address(self.me.peer());
        loop {
            if let Ok(stream) = dial(&*self.network, address, purpose).await {
                let transport = client_transport(stream, MAX_FRAME_BYTES);
                return ChainClient::new(Config::default(), transport).spawn();
            }
            pass(Duration::from_millis(5)).await;
        }
    }
}

/// A deadline that nobody waits for.
fn context() -> Context {
    let mut context = context::current();
    context.deadline = std::time::Instant::now() + Duration::from_hours(1);
    context
}
