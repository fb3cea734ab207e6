//! A server that does what a test tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{LEASE, MAX_FRAME_BYTES, MAX_PLACES_LISTED};
use crate::inspect::samples::free;
use crate::rpc;
use crate::service::{
    AcquireOptions, Acquired, Answer, CallId, Change, Cursor, Holding, HoldingState, Holdings,
    InView, LockInfo, LockService, Notifications, Opened, Page, Refusal, Request, Revision,
    RoleName, ServerStatus, SessionTerms, Verb,
};
use crate::transport::{Addr, Listener, MemoryNetwork, Network, Stream};
use crate::types::{
    ClientId, Digest, LockName, OpNumber, ProcessId, Retention, Seq, ServerId, SessionId, Token,
    View,
};

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
    /// Refuse it after this time.
    LateNo(Duration, Refusal),
    /// Close the connection.
    HangUp,
}

/// What a session asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Open,
    Acquire,
    Release,
    Poll,
    Holdings,
    KeepAlive,
    Goodbye,
}

/// What there is news of.
#[derive(Debug, Clone, Copy)]
enum Told {
    Changed(Change),
    Broken(Seq),
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
    record: SessionId,
    /// The session that it knows.
    session: SessionId,
    lease: Duration,
    /// For each kind of question of the session.
    of_session: BTreeMap<Kind, Reply>,
    /// The answers to the next calls that acquire. Then each is granted.
    acquired: VecDeque<Acquired>,
    /// The answer to releases and to calls.
    was_held: bool,
    /// The locks that are held.
    locks: Vec<LockInfo>,
    /// What is told of the next ones that are shown. Then what they are.
    shown: VecDeque<LockInfo>,
    /// In which it answers.
    view: View,
    /// What it has of the session.
    holdings: Vec<Holding>,
    /// How much of it fits on a page.
    page: usize,
    /// Numbers all grants and news.
    revision: u64,
    notifications: Vec<(Revision, Told)>,
    asked: Vec<Request>,
    connections: usize,
}

impl Script {
    fn show(&mut self, name: &LockName) -> LockInfo {
        let held = self.locks.iter().find(|lock| lock.name == *name);
        let shown = self.shown.pop_front().or_else(|| held.cloned());
        shown.unwrap_or_else(|| free(name.as_str()))
    }

    /// A page of what it has of the session.
    fn holdings(&self, from: Seq) -> InView<Holdings> {
        let mut left = self.holdings.iter().filter(|it| it.acquired >= from);
        let holdings = left.by_ref().take(self.page).copied().collect();
        let answer = Holdings {
            through: Revision(self.revision),
            holdings,
            next: left.next().map(|it| it.acquired),
        };
        InView {
            view: self.view,
            answer,
        }
    }

    /// All of them, each with its first places.
    fn page(&self, prefix: &str) -> Page {
        let locks = self.locks.iter();
        let begins = locks.filter(|lock| lock.name.as_str().starts_with(prefix));
        let mut locks: Vec<_> = begins.cloned().collect();
        for lock in &mut locks {
            lock.entries.truncate(MAX_PLACES_LISTED);
        }
        Page { locks, next: None }
    }
}

impl Fake {
    pub(super) fn new(server: ServerId) -> Self {
        let script = Script {
            next: VecDeque::new(),
            then: Reply::Yes,
            others: Reply::Yes,
            record: SessionId(1),
            session: SessionId(101),
            lease: LEASE,
            of_session: BTreeMap::new(),
            acquired: VecDeque::new(),
            was_held: true,
            locks: Vec::new(),
            shown: VecDeque::new(),
            view: View::first(ServerId::A),
            holdings: Vec::new(),
            page: usize::MAX,
            revision: 0,
            notifications: Vec::new(),
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

    /// Answers all such questions of the session so.
    pub(super) fn on(&self, kind: Kind, reply: Reply) {
        self.script().of_session.insert(kind, reply);
    }

    /// Answers everything that the session asks so.
    pub(super) fn on_session(&self, reply: Reply) {
        use Kind::{Acquire, Goodbye, Holdings, KeepAlive, Open, Poll, Release};
        for kind in [Open, Acquire, Release, Poll, Holdings, KeepAlive, Goodbye] {
            self.on(kind, reply);
        }
    }

    /// Answers the next calls that acquire so, and grants all later ones.
    pub(super) fn on_acquires(&self, answers: impl IntoIterator<Item = Acquired>) {
        self.script().acquired = answers.into_iter().collect();
    }

    /// Answers releases so.
    pub(super) fn on_releases(&self, was_held: bool) {
        self.script().was_held = was_held;
    }

    /// Lists and shows these locks as held.
    pub(super) fn holds(&self, locks: &[LockInfo]) {
        self.script().locks = locks.to_vec();
    }

    /// Shows these next, whatever it lists.
    pub(super) fn shows(&self, locks: impl IntoIterator<Item = LockInfo>) {
        self.script().shown = locks.into_iter().collect();
    }

    /// How often it was asked to list locks.
    pub(super) fn listings(&self) -> usize {
        let asked = self.asked();
        let is_list = |request: &&Request| matches!(request, Request::List { .. });
        asked.iter().filter(is_list).count()
    }

    /// Has news: the lock that the call `acquired` asked for is granted, or contended.
    pub(super) fn tell(&self, acquired: u64, token: u64, contended: bool) {
        self.push(Told::Changed(Change {
            acquired: Seq(acquired),
            token: Token(token),
            contended,
        }));
    }

    /// Has news: the lock that the call `acquired` asked for is broken.
    pub(super) fn break_lock(&self, acquired: u64) {
        self.push(Told::Broken(Seq(acquired)));
    }

    fn push(&self, told: Told) {
        let mut script = self.script();
        script.revision += 1;
        let revision = Revision(script.revision);
        script.notifications.push((revision, told));
        drop(script);
        self.0.changed.notify_waiters();
    }

    /// Answers in this view from now on, and has this of the session: calls that queue, or hold by
    /// a token. It counts its news from 0 again.
    pub(super) fn enters(&self, view: View, holdings: &[(u64, Option<u64>)]) {
        let mut script = self.script();
        script.view = view;
        script.holdings = holdings.iter().map(|it| holding(*it)).collect();
        script.revision = 0;
        script.notifications.clear();
        drop(script);
        self.0.changed.notify_waiters();
    }

    /// Tells of so many holdings at a time.
    pub(super) fn tells_pages_of(&self, holdings: usize) {
        self.script().page = holdings;
    }

    /// Forgets the session, and will open the one with the next number.
    pub(super) fn lose_the_session(&self) {
        let mut script = self.script();
        script.session = script.session.next();
        script.notifications.clear();
        drop(script);
        self.0.changed.notify_waiters();
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

    /// How often the session asked this.
    pub(super) fn count(&self, kind: Kind) -> usize {
        let script = self.script();
        let kinds = script.asked.iter().map(kind_of);
        kinds.filter(|asked| *asked == Some(kind)).count()
    }

    /// Which calls were to be released.
    pub(super) fn released(&self) -> Vec<u64> {
        let acquired = |request| match request {
            Request::Release { acquired, .. } => Some(acquired.0),
            _ => None,
        };
        self.asked().into_iter().filter_map(acquired).collect()
    }

    /// Waits until the session asked this so often.
    pub(super) async fn was_asked_to(&self, kind: Kind, times: usize) {
        loop {
            let changed = self.0.changed.notified();
            if self.count(kind) >= times {
                return;
            }
            changed.await;
        }
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
        let number = match request {
            Request::OpenSession { terms: None, .. }
            | Request::Show { .. }
            | Request::List { .. } => script.record,
            Request::OpenSession { terms: Some(_), .. } => script.session,
            Request::Call { id, .. }
            | Request::Acquire { id, .. }
            | Request::Release { id, .. }
            | Request::Retain { id, .. }
            | Request::Break { id, .. } => id.session,
            Request::Poll {
                session: session_id,
                ..
            }
            | Request::Holdings {
                session: session_id,
                ..
            }
            | Request::KeepAlive {
                session: session_id,
                ..
            }
            | Request::CloseSession {
                session: session_id,
                ..
            } => *session_id,
        };
        if number != script.record && number != script.session {
            return Reply::No(Refusal::UnknownSession);
        }
        match (request, kind_of(request)) {
            (Request::Call { .. }, _) => script.next.pop_front().unwrap_or(script.then),
            (_, Some(kind)) => *script.of_session.get(&kind).unwrap_or(&Reply::Yes),
            (_, None) => script.others,
        }
    }

    async fn answer(&self, request: &Request) -> Result<Answer, Refusal> {
        if let Request::Poll {
            session: session_id,
            since,
            view,
            ..
        } = request
        {
            return self
                .notifications(*session_id, *since, *view)
                .await
                .map(Box::new)
                .map(Answer::Notifications);
        }
        let mut script = self.script();
        Ok(match request {
            Request::OpenSession { terms: None, .. } => Answer::Opened(Opened {
                session: script.record,
                time_to_live: TIME_TO_LIVE,
                inside: Vec::new(),
                view: script.view,
            }),
            Request::OpenSession {
                terms: Some(terms), ..
            } => {
                script.lease = terms.lease.duration();
                Answer::Opened(Opened {
                    session: script.session,
                    time_to_live: terms.lease.duration(),
                    inside: terms.inside.into_iter().collect(),
                    view: script.view,
                })
            }
            Request::Call { .. } | Request::Release { .. } | Request::Retain { .. } => {
                Answer::Call(script.was_held)
            }
            Request::Acquire { .. } => {
                script.revision += 1;
                let granted = Acquired::Granted(Token(script.revision));
                Answer::Acquired(script.acquired.pop_front().unwrap_or(granted))
            }
            Request::Holdings { from, .. } => Answer::Holdings(script.holdings(*from).into()),
            Request::Show { name } => Answer::Lock(script.show(name).into()),
            Request::List { prefix, .. } => Answer::Page(script.page(prefix).into()),
            _ => Answer::Done,
        })
    }

    /// Waits for what comes after `since`, for a quarter of the lease.
    async fn notifications(
        &self,
        session: SessionId,
        since: Revision,
        view: View,
    ) -> Result<InView<Notifications>, Refusal> {
        let ends = Instant::now() + self.script().lease / 4;
        loop {
            let pushed = self.0.changed.notified();
            {
                let script = self.script();
                if session != script.session {
                    return Err(Refusal::UnknownSession);
                }
                let mut notifications = Notifications {
                    through: Revision(script.revision),
                    ..Notifications::default()
                };
                let is_met = view == script.view;
                for (_, told) in script
                    .notifications
                    .iter()
                    .filter(|it| is_met && it.0 > since)
                {
                    match told {
                        Told::Changed(change) => notifications.changes.push(*change),
                        Told::Broken(acquired) => notifications.broken.push(*acquired),
                    }
                }
                let is_news = !notifications.changes.is_empty() || !notifications.broken.is_empty();
                if is_news || !is_met || Instant::now() >= ends {
                    return Ok(InView {
                        view: script.view,
                        answer: notifications,
                    });
                }
            }
            let _ = timeout_at(ends, pushed).await;
        }
    }
}

fn holding((acquired, token): (u64, Option<u64>)) -> Holding {
    let held = |token| HoldingState::Held {
        token: Token(token),
        contended: false,
    };
    Holding {
        acquired: Seq(acquired),
        state: token.map_or(HoldingState::Queued, held),
    }
}

/// What kind of question of a session it is. A session's records have three digits.
fn kind_of(request: &Request) -> Option<Kind> {
    Some(match request {
        Request::OpenSession { terms: Some(_), .. } => Kind::Open,
        Request::Acquire { .. } => Kind::Acquire,
        Request::Release { .. } | Request::Retain { .. } => Kind::Release,
        Request::Poll { .. } => Kind::Poll,
        Request::Holdings { .. } => Kind::Holdings,
        Request::KeepAlive {
            session: session_id,
            ..
        } if session_id.0 > 100 => Kind::KeepAlive,
        Request::CloseSession {
            session: session_id,
            ..
        } if session_id.0 > 100 => Kind::Goodbye,
        Request::OpenSession { terms: None, .. }
        | Request::Call { .. }
        | Request::Break { .. }
        | Request::Show { .. }
        | Request::List { .. }
        | Request::KeepAlive { .. }
        | Request::CloseSession { .. } => return None,
    })
}

async fn serve(fake: Fake, mut listener: Listener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("it listens");
        connections.spawn(serve_connection(fake.clone(), stream));
    }
}

async fn serve_connection(fake: Fake, mut stream: Stream) {
    if rpc::greet(&mut stream).await.is_err() || rpc::accept(&mut stream).await.is_err() {
        return;
    }
    fake.script().connections += 1;
    let hang_up = Arc::new(Notify::new());
    let handler = Handler {
        fake,
        hang_up: hang_up.clone(),
    };
    let calls = BaseChannel::with_defaults(rpc::server_transport(stream, MAX_FRAME_BYTES))
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
            Reply::Yes => self.fake.answer(&request).await,
            Reply::No(refusal) => Err(refusal),
            Reply::Never => std::future::pending().await,
            Reply::Late(by) => {
                sleep(by).await;
                self.fake.answer(&request).await
            }
            Reply::LateNo(by, refusal) => {
                sleep(by).await;
                Err(refusal)
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
    async fn open_session(
        self,
        _: Context,
        client: ClientId,
        session: Option<Arc<SessionTerms>>,
    ) -> Result<Opened, Refusal> {
        match self
            .handle(Request::OpenSession {
                client,
                terms: session,
            })
            .await?
        {
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

    async fn acquire(
        self,
        _: Context,
        id: CallId,
        name: String,
        options: AcquireOptions,
    ) -> Result<Acquired, Refusal> {
        let name = LockName::new(name)?;
        match self.handle(Request::Acquire { id, name, options }).await? {
            Answer::Acquired(acquired) => Ok(acquired),
            answer => panic!("{answer:?}"),
        }
    }

    async fn release(self, _: Context, id: CallId, acquired: Seq) -> Result<bool, Refusal> {
        match self.handle(Request::Release { id, acquired }).await? {
            Answer::Call(was_held) => Ok(was_held),
            answer => panic!("{answer:?}"),
        }
    }

    async fn retain(
        self,
        _: Context,
        id: CallId,
        acquired: Seq,
        retention: Retention,
    ) -> Result<bool, Refusal> {
        let request = Request::Retain {
            id,
            acquired,
            retention,
        };
        match self.handle(request).await? {
            Answer::Call(is_held) => Ok(is_held),
            answer => panic!("{answer:?}"),
        }
    }

    async fn break_lock(
        self,
        _: Context,
        _: CallId,
        _: String,
        _: Token,
        _: String,
    ) -> Result<bool, Refusal> {
        Err(Refusal::NotReady)
    }

    async fn show(self, _: Context, name: String) -> Result<Box<LockInfo>, Refusal> {
        let name = LockName::new(name)?;
        match self.handle(Request::Show { name }).await? {
            Answer::Lock(lock) => Ok(lock),
            answer => panic!("{answer:?}"),
        }
    }

    async fn list(self, _: Context, prefix: String, from: Cursor) -> Result<Box<Page>, Refusal> {
        match self.handle(Request::List { prefix, from }).await? {
            Answer::Page(page) => Ok(page),
            answer => panic!("{answer:?}"),
        }
    }

    async fn poll(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
        since: Revision,
        view: View,
    ) -> Result<Box<InView<Notifications>>, Refusal> {
        let poll = Request::Poll {
            client,
            session,
            since,
            view,
        };
        match self.handle(poll).await? {
            Answer::Notifications(notifications) => Ok(notifications),
            answer => panic!("{answer:?}"),
        }
    }

    async fn holdings(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
        from: Seq,
    ) -> Result<Box<InView<Holdings>>, Refusal> {
        let request = Request::Holdings {
            client,
            session,
            from,
        };
        match self.handle(request).await? {
            Answer::Holdings(holdings) => Ok(holdings),
            answer => panic!("{answer:?}"),
        }
    }

    async fn keep_alive(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
    ) -> Result<(), Refusal> {
        self.handle(Request::KeepAlive { client, session })
            .await
            .map(drop)
    }

    async fn close_session(
        self,
        _: Context,
        client: ClientId,
        session: SessionId,
    ) -> Result<(), Refusal> {
        self.handle(Request::CloseSession { client, session })
            .await
            .map(drop)
    }

    async fn status(self, _: Context) -> Box<ServerStatus> {
        Box::new(ServerStatus {
            server: self.fake.0.server,
            role: RoleName::Standalone,
            view: None,
            op: OpNumber(0),
            digest: Digest(0),
            acked: None,
            in_sync: false,
            obstacle: None,
            cluster: None,
            clients: 0,
            locks: 0,
            waiters: 0,
            uptime: Duration::ZERO,
            state_bytes: 2_560,
            state_limit: None,
            memory_limit: None,
            process: ProcessId::from_u128(1),
            cpu_time: Duration::ZERO,
            busy_poll: Duration::ZERO,
            version: String::new(),
        })
    }
}
