//! A server that does what a test tells it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::MAX_FRAME_BYTES;
use crate::net::{self, Addr, Listener, MemoryNetwork, Network, Stream};
use crate::service::{
    Answer, CallId, LockService, Opened, Refusal, Request, RoleName, ServerStatus, Verb,
};
use crate::types::{ClientId, Digest, LockName, OpNumber, RecordNumber, ServerId};

pub(super) const TIME_TO_LIVE: Duration = Duration::from_mins(10);

/// What to do about a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    /// Answer as a server with nothing but free locks does.
    Yes,
    /// Refuse it.
    No(Refusal),
    /// Say nothing, for ever.
    Never,
    /// Answer after this time.
    Late(Duration),
    /// Close the connection.
    HangUp,
}

/// A fake server. Clones are the same server.
#[derive(Clone)]
pub(super) struct Fake(Arc<State>);

struct State {
    server: ServerId,
    script: Mutex<Script>,
    changed: Notify,
}

struct Script {
    /// For the next calls, one each; only for `lock` and `unlock`.
    next: VecDeque<Reply>,
    /// For all calls after those.
    then: Reply,
    /// For everything else.
    others: Reply,
    /// The record that it knows.
    record: RecordNumber,
    asked: Vec<Request>,
    connections: usize,
}

impl Fake {
    pub(super) fn new(server: ServerId) -> Self {
        let script = Script {
            next: VecDeque::new(),
            then: Reply::Yes,
            others: Reply::Yes,
            record: RecordNumber(1),
            asked: Vec::new(),
            connections: 0,
        };
        Self(Arc::new(State {
            server,
            script: Mutex::new(script),
            changed: Notify::new(),
        }))
    }

    /// Answers the next calls so, and all later ones with yes.
    pub(super) fn on_calls(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script().next = replies.into_iter().collect();
    }

    /// Answers every call so.
    pub(super) fn on_every_call(&self, reply: Reply) {
        self.script().then = reply;
    }

    /// Answers everything but calls so.
    pub(super) fn on_others(&self, reply: Reply) {
        self.script().others = reply;
    }

    /// Forgets every record, and will open the one with the next number.
    pub(super) fn lose_the_record(&self) {
        let mut script = self.script();
        script.record = script.record.next();
    }

    /// All that it was asked.
    pub(super) fn asked(&self) -> Vec<Request> {
        self.script().asked.clone()
    }

    /// The ids of all calls.
    pub(super) fn calls(&self) -> Vec<CallId> {
        let id = |request| match request {
            Request::Call { id, .. } => Some(id),
            _ => None,
        };
        self.asked().into_iter().filter_map(id).collect()
    }

    pub(super) fn connections(&self) -> usize {
        self.script().connections
    }

    /// Waits until it was asked this much.
    pub(super) async fn was_asked(&self, times: usize) {
        loop {
            let changed = self.0.changed.notified();
            if self.asked().len() >= times {
                return;
            }
            changed.await;
        }
    }

    /// Listens until the handle is aborted.
    pub(super) async fn listen(&self, network: &MemoryNetwork, addr: &Addr) -> JoinHandle<()> {
        let listener = network.listen(addr).await.expect("nobody else listens");
        tokio::spawn(serve(self.clone(), listener))
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.script.lock().expect("no test panicked in here")
    }

    fn take(&self, request: &Request) -> Reply {
        let mut script = self.script();
        script.asked.push(request.clone());
        self.0.changed.notify_waiters();
        let record = match request {
            Request::Open { .. } => script.record,
            Request::Call { id, .. } => id.record,
            Request::KeepAlive { record, .. } | Request::Goodbye { record, .. } => *record,
        };
        match request {
            _ if record != script.record => Reply::No(Refusal::UnknownRecord),
            Request::Call { .. } => script.next.pop_front().unwrap_or(script.then),
            _ => script.others,
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        match request {
            Request::Open { .. } => Answer::Opened(Opened {
                record: self.script().record,
                time_to_live: TIME_TO_LIVE,
            }),
            Request::Call { .. } => Answer::Call(true),
            Request::KeepAlive { .. } | Request::Goodbye { .. } => Answer::Done,
        }
    }
}

async fn serve(fake: Fake, mut listener: Listener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("it listens");
        connections.spawn(serve_connection(fake.clone(), stream));
    }
}

async fn serve_connection(fake: Fake, mut stream: Stream) {
    if net::greet(&mut stream).await.is_err() || net::accept(&mut stream).await.is_err() {
        return;
    }
    fake.script().connections += 1;
    let hang_up = Arc::new(Notify::new());
    let handler = Handler {
        fake,
        hang_up: hang_up.clone(),
    };
    let calls = BaseChannel::with_defaults(net::server_transport(stream, MAX_FRAME_BYTES))
        .execute(handler.serve());
    let serving = calls.for_each(async |call| {
        tokio::spawn(call);
    });
    tokio::select! {
        () = serving => {}
        () = hang_up.notified() => {}
    }
}

#[derive(Clone)]
struct Handler {
    fake: Fake,
    hang_up: Arc<Notify>,
}

impl Handler {
    async fn handle(self, request: Request) -> Result<Answer, Refusal> {
        match self.fake.take(&request) {
            Reply::Yes => Ok(self.fake.answer(&request)),
            Reply::No(refusal) => Err(refusal),
            Reply::Never => std::future::pending().await,
            Reply::Late(by) => {
                tokio::time::sleep(by).await;
                Ok(self.fake.answer(&request))
            }
            Reply::HangUp => {
                self.hang_up.notify_one();
                std::future::pending().await
            }
        }
    }

    async fn call(self, id: CallId, verb: Verb, name: String) -> Result<bool, Refusal> {
        let name = LockName::new(name)?;
        match self.handle(Request::Call { id, verb, name }).await? {
            Answer::Call(done) => Ok(done),
            answer => panic!("{answer:?}"),
        }
    }
}

impl LockService for Handler {
    async fn open(self, _: Context, client: ClientId) -> Result<Opened, Refusal> {
        match self.handle(Request::Open { client }).await? {
            Answer::Opened(opened) => Ok(opened),
            answer => panic!("{answer:?}"),
        }
    }

    async fn lock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(id, Verb::Lock, name).await
    }

    async fn unlock(self, _: Context, id: CallId, name: String) -> Result<bool, Refusal> {
        self.call(id, Verb::Unlock, name).await
    }

    async fn keep_alive(
        self,
        _: Context,
        client: ClientId,
        record: RecordNumber,
    ) -> Result<(), Refusal> {
        self.handle(Request::KeepAlive { client, record })
            .await
            .map(drop)
    }

    async fn goodbye(
        self,
        _: Context,
        client: ClientId,
        record: RecordNumber,
    ) -> Result<(), Refusal> {
        self.handle(Request::Goodbye { client, record })
            .await
            .map(drop)
    }

    async fn status(self, _: Context) -> ServerStatus {
        ServerStatus {
            server: self.fake.0.server,
            role: RoleName::Alone,
            view: None,
            op: OpNumber(0),
            digest: Digest(0),
            acked: None,
            in_sync: false,
            clients: 0,
            locks: 0,
            uptime: Duration::ZERO,
            cpu_time: Duration::ZERO,
            version: String::new(),
        }
    }
}
