//! Two role machines and everything between them, moved by hand: what is sent stays where it is
//! until it is delivered, so a test can say which of two racing messages comes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::{Limits, Timing};
use crate::engine::pair::core::{
    Core, Effect, Event, FrameNumber, InStream, Input, Now, OutStream, ProbeId, ProbeResult,
    RelayId, Reply, Settings, Via,
};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction, PeerState};
use crate::machine::Machine;
use crate::service::{Answer, CallId, Refusal, Request, RoleName, SessionTerms, Verb};
use crate::types::{ClientId, Lease, LockName, OpNumber, Seq, ServerId, SessionId, UnixTime, View};

pub(super) const PEER_TIMEOUT: Duration = Duration::from_millis(800);
const FEED_TIMEOUT: Duration = PEER_TIMEOUT.saturating_mul(4);

/// Who waits for an answer: a client, or a server that relayed for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Client(u32),
    Server { life: u32, relay: RelayId },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Frame {
        conn: usize,
        number: FrameNumber,
        frame: Frame,
    },
    FrameAnswer {
        conn: usize,
        number: FrameNumber,
        answer: FrameAnswer,
    },
    /// The sender's end of a connection is closed; comes behind all that was sent on it.
    Closed {
        conn: usize,
    },
    Probe {
        probe: ProbeId,
        asker: Introduction,
    },
    Dismiss {
        probe: ProbeId,
        view: View,
    },
    ProbeResult {
        probe: ProbeId,
        result: ProbeResult,
    },
    Relay {
        relay: RelayId,
        request: Request,
    },
    RelayResult {
        relay: RelayId,
        result: Option<Result<Answer, Refusal>>,
    },
    AnnounceView {
        view: View,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) to: ServerId,
    to_life: u32,
    pub(super) from: ServerId,
    from_life: u32,
    pub(super) message: Message,
}

#[derive(Debug, Clone)]
struct Conn {
    /// The server that dialled, as primary.
    from: ServerId,
    out: OutStream,
    accepted: InStream,
}

#[derive(Debug, Default)]
struct Host {
    core: Option<Core<Caller>>,
    life: u32,
    stopped: bool,
    /// What came while it was stopped lies unread.
    events: Vec<Event>,
}

pub(super) struct World {
    pub(super) now: Duration,
    hosts: [Host; 2],
    conns: Vec<Conn>,
    pub(super) wire: VecDeque<Envelope>,
    pub(super) replies: BTreeMap<u32, Result<Answer, Refusal>>,
    next_token: u32,
    next_accepted: u64,
    limits: Limits,
    ttl: Duration,
    is_cut: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            hosts: [Host::default(), Host::default()],
            conns: Vec::new(),
            wire: VecDeque::new(),
            replies: BTreeMap::new(),
            next_token: 0,
            next_accepted: 0,
            limits: Limits::default(),
            ttl: Duration::from_mins(10),
            is_cut: false,
        }
    }

    pub(super) fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The limits of servers that are started from now on.
    pub(super) const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn with_time_to_live(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// A pair that has formed, with A as primary.
    pub(super) fn whole(mut self) -> Self {
        self.start(ServerId::A);
        self.start(ServerId::B);
        self.run(PEER_TIMEOUT);
        self.assert_whole(ServerId::A);
        self
    }

    /// What a server with the usual timeout says of itself.
    pub(super) fn says(state: PeerState) -> Introduction {
        Introduction {
            state,
            peer_timeout: PEER_TIMEOUT,
            highest: OpNumber(0),
            dropped: None,
            limits: Limits::default().into(),
        }
    }

    pub(super) fn start(&mut self, server: ServerId) {
        self.start_with(server, false);
    }

    pub(super) fn start_with(&mut self, server: ServerId, alone: bool) {
        self.start_as(server, alone, PEER_TIMEOUT);
    }

    pub(super) fn start_as(&mut self, server: ServerId, alone: bool, peer_timeout: Duration) {
        let timing = Timing {
            peer_timeout,
            feed_timeout: FEED_TIMEOUT,
            session_time_to_live: self.ttl,
            ..Timing::default()
        };
        let settings = Settings::new(server, alone, timing, self.limits, 1_000);
        let host = &mut self.hosts[server.index()];
        assert!(host.core.is_none(), "{server} runs already");
        host.life += 1;
        host.stopped = false;
        host.core = Some(Core::new(settings, Now(self.now)));
        self.input(server, Input::Wake);
    }

    /// Slips a command into a backup that its primary never sent.
    pub(super) fn corrupt(&mut self, server: ServerId) {
        let core = self.hosts[server.index()].core.as_mut().expect("it runs");
        let super::super::Role::Backup(backup) = &mut core.role else {
            panic!("{server} is no backup");
        };
        let op = backup.machine.op();
        let mut other = Machine::new(OpNumber(op.0 - 1));
        other.apply(
            &crate::machine::Command::OpenSession {
                client: ClientId::from_u128(999),
                terms: None,
            },
            ServerId::A,
        );
        backup.machine = other;
    }

    /// Sends a message of the test's own in the name of a server.
    pub(super) fn send_from(&mut self, server: ServerId, message: Message) {
        let life = self.hosts[server.index()].life;
        self.send(server, life, message);
    }

    /// SIGKILL: what it sent is still on its way, what was sent to it is gone.
    pub(super) fn halt(&mut self, server: ServerId) {
        self.hosts[server.index()].core = None;
        let life = self.hosts[server.index()].life;
        let lost: Vec<_> = self.wire.extract_if_to(server).into_iter().collect();
        for conn in 0..self.conns.len() {
            self.send(server, life, Message::Closed { conn });
        }
        for envelope in lost {
            self.bounce(&envelope);
        }
        for (relay, envelope) in self.relays_waiting_for(server) {
            let result = None;
            self.push(
                envelope,
                server,
                life,
                Message::RelayResult { relay, result },
            );
        }
    }

    /// Relays of the other server that were delivered and not answered die with their connection.
    /// The world does not know which they are, so it fails all of them: unknown ones are ignored.
    fn relays_waiting_for(&self, server: ServerId) -> Vec<(RelayId, ServerId)> {
        let Some(core) = &self.hosts[server.peer().index()].core else {
            return Vec::new();
        };
        core.relays
            .callers()
            .map(|(relay, _)| (relay, server.peer()))
            .collect()
    }

    /// SIGTERM: it hands over, and goes on until the test halts it.
    pub(super) fn end(&mut self, server: ServerId) {
        self.input(server, Input::End);
    }

    /// SIGSTOP.
    pub(super) fn stop(&mut self, server: ServerId) {
        self.hosts[server.index()].stopped = true;
    }

    /// SIGCONT; what lies unread is read afterwards, as the test delivers it.
    pub(super) fn wake(&mut self, server: ServerId) {
        self.hosts[server.index()].stopped = false;
    }

    /// Resets every link and probe between the servers: what is on the way is lost.
    pub(super) fn reset(&mut self) {
        let lost: Vec<_> = self.wire.drain(..).collect();
        for conn in 0..self.conns.len() {
            for server in ServerId::BOTH {
                let life = self.hosts[server.index()].life;
                self.send(server, life, Message::Closed { conn });
            }
        }
        for envelope in &lost {
            self.bounce(envelope);
        }
    }

    /// Nothing gets through between the servers any more, until both go on alone.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
        self.run(PEER_TIMEOUT * 2);
        for server in ServerId::BOTH {
            assert_eq!(self.role(server), RoleName::Standalone, "{server}");
        }
    }

    /// The servers reach each other again. What was on the way is lost.
    pub(super) fn mend(&mut self) {
        self.is_cut = false;
        self.reset();
    }

    /// The same, and they come together again.
    pub(super) fn heal(&mut self) {
        self.mend();
        self.run(PEER_TIMEOUT * 10);
    }

    /// A message is lost with its connection: its sender hears of it if it waits for an answer.
    fn bounce(&mut self, envelope: &Envelope) {
        let (to, from, life) = (
            envelope.from,
            envelope.to,
            self.hosts[envelope.to.index()].life,
        );
        let message = match &envelope.message {
            Message::Probe { probe, .. } | Message::Dismiss { probe, .. } => Message::ProbeResult {
                probe: *probe,
                result: ProbeResult::Broken,
            },
            Message::Relay { relay, .. } => Message::RelayResult {
                relay: *relay,
                result: None,
            },
            // The asker's connection breaks before it has read the answer.
            Message::ProbeResult { probe, .. } => {
                let result = ProbeResult::Broken;
                let message = Message::ProbeResult {
                    probe: *probe,
                    result,
                };
                return self.push(envelope.to, envelope.from, envelope.from_life, message);
            }
            Message::RelayResult { relay, .. } => {
                let message = Message::RelayResult {
                    relay: *relay,
                    result: None,
                };
                return self.push(envelope.to, envelope.from, envelope.from_life, message);
            }
            _ => return,
        };
        self.push(to, from, life, message);
    }

    fn push(&mut self, to: ServerId, from: ServerId, from_life: u32, message: Message) {
        let to_life = self.hosts[to.index()].life;
        self.wire.push_back(Envelope {
            to,
            to_life,
            from,
            from_life,
            message,
        });
    }

    fn send(&mut self, from: ServerId, life: u32, message: Message) {
        self.push(from.peer(), from, life, message);
    }

    pub(super) fn core(&self, server: ServerId) -> &Core<Caller> {
        self.hosts[server.index()].core.as_ref().expect("it runs")
    }

    /// Tells a server what time it is by the wall clock.
    pub(super) fn tell_time(&mut self, server: ServerId, seconds: u64) {
        let core = self.hosts[server.index()].core.as_mut().expect("it runs");
        core.tell_time(UnixTime(seconds));
    }

    pub(super) fn role(&self, server: ServerId) -> RoleName {
        self.core(server).status(Now(self.now)).role
    }

    pub(super) fn view(&self, server: ServerId) -> Option<View> {
        self.core(server).status(Now(self.now)).view
    }

    pub(super) fn events(&self, server: ServerId) -> &[Event] {
        &self.hosts[server.index()].events
    }

    pub(super) fn machine(&self, server: ServerId) -> &Machine {
        match &self.core(server).role {
            super::super::Role::Primary(primary) => &primary.machine,
            super::super::Role::Backup(backup) => &backup.machine,
            super::super::Role::Starting(_) | super::super::Role::Retired(_) => {
                panic!("{server} has no state")
            }
        }
    }

    pub(super) fn is_held(&self, server: ServerId, lock: &str) -> bool {
        self.machine(server).is_held(&name(lock))
    }

    pub(super) fn assert_whole(&self, primary: ServerId) {
        let here = self.core(primary).status(Now(self.now));
        let there = self.core(primary.peer()).status(Now(self.now));
        assert_eq!(
            (here.role, there.role),
            (RoleName::Primary, RoleName::Backup)
        );
        assert_eq!(here.view, there.view);
        assert!(here.in_sync && there.in_sync, "{here:?} {there:?}");
        assert_eq!((here.op, here.digest), (there.op, there.digest));
    }

    /// Hands something to a server, and carries out what comes back.
    pub(super) fn input(&mut self, server: ServerId, input: Input<Caller>) {
        let now = Now(self.now);
        let host = &mut self.hosts[server.index()];
        let Some(core) = &mut host.core else { return };
        let only_ticks = matches!(input, Input::Wake) && now < core.next_verdict();
        let mut effects = Vec::new();
        core.step(now, input, &mut effects);
        assert!(
            !only_ticks || effects.iter().all(leaves_the_peer_alone),
            "the driver reads what has arrived only before a verdict is due: {effects:?}"
        );
        core.flush(now, &mut effects);
        for effect in effects {
            self.perform(server, effect, None);
        }
    }

    fn perform(&mut self, me: ServerId, effect: Effect<Caller>, pending: Option<&Envelope>) {
        let life = self.hosts[me.index()].life;
        match effect {
            Effect::Reply(reply) => self.reply(me, &reply),
            Effect::FrameAnswer(answer) => {
                let Some(Message::Frame { conn, number, .. }) =
                    pending.map(|pending| &pending.message)
                else {
                    panic!("an answer without a frame");
                };
                let (conn, number) = (*conn, *number);
                self.send(
                    me,
                    life,
                    Message::FrameAnswer {
                        conn,
                        number,
                        answer,
                    },
                );
            }
            Effect::Introduction(peer) => {
                let pending = pending.map(|pending| &pending.message);
                let Some(Message::Probe { probe, .. } | Message::Dismiss { probe, .. }) = pending
                else {
                    panic!("an answer without a question");
                };
                let (probe, result) = (*probe, ProbeResult::Answered(peer));
                self.send(me, life, Message::ProbeResult { probe, result });
            }
            Effect::OpenStream {
                stream,
                number,
                frame,
                ..
            } => self.open(me, stream, number, frame),
            Effect::Send {
                stream,
                number,
                frame,
            } => {
                if let Some(conn) = self.conn_of(me, stream) {
                    self.send(
                        me,
                        life,
                        Message::Frame {
                            conn,
                            number,
                            frame,
                        },
                    );
                }
            }
            Effect::CloseOutStream(stream) => {
                if let Some(conn) = self.conn_of(me, stream) {
                    self.send(me, life, Message::Closed { conn });
                }
            }
            Effect::CloseInStream(stream) => {
                let conn = self.conns.iter().position(|conn| conn.accepted == stream);
                if let Some(conn) = conn {
                    // Nothing of it is read any more.
                    self.wire.retain(|envelope| {
                        !matches!(envelope.message, Message::Frame { conn: c, .. } if c == conn && envelope.to == me)
                    });
                    self.send(me, life, Message::Closed { conn });
                }
            }
            Effect::Probe { probe, asker, .. } => {
                self.question(me, probe, Message::Probe { probe, asker });
            }
            Effect::Dismiss { probe, view } => {
                self.question(me, probe, Message::Dismiss { probe, view });
            }
            Effect::AnnounceView { view } => self.send(me, life, Message::AnnounceView { view }),
            Effect::Relay { relay, request } => {
                if self.is_running(me.peer()) {
                    self.send(me, life, Message::Relay { relay, request });
                } else {
                    let result = None;
                    self.push(me, me.peer(), 0, Message::RelayResult { relay, result });
                }
            }
            Effect::AbandonRelays => {}
            Effect::Event(event) => self.hosts[me.index()].events.push(event),
        }
    }

    /// A connection that the peer dials; what comes on it comes later.
    pub(super) fn accept(&mut self) -> InStream {
        self.next_accepted += 1;
        InStream(self.next_accepted)
    }

    /// Asks a server to step down on `stream`. Nobody hears its answer.
    pub(super) fn dismiss(&mut self, server: ServerId, stream: InStream, view: View) {
        let now = Now(self.now);
        let core = self.hosts[server.index()].core.as_mut().expect("it runs");
        let mut effects = Vec::new();
        core.step(now, Input::Dismissed { stream, view }, &mut effects);
        effects.retain(|effect| !matches!(effect, Effect::Introduction(_)));
        for effect in effects {
            self.perform(server, effect, None);
        }
    }

    fn question(&mut self, me: ServerId, probe: ProbeId, request: Message) {
        if self.is_running(me.peer()) {
            let life = self.hosts[me.index()].life;
            return self.send(me, life, request);
        }
        let result = ProbeResult::Refused;
        self.push(me, me.peer(), 0, Message::ProbeResult { probe, result });
    }

    fn is_running(&self, server: ServerId) -> bool {
        self.hosts[server.index()].core.is_some()
    }

    fn open(&mut self, me: ServerId, stream: OutStream, number: FrameNumber, frame: Frame) {
        let life = self.hosts[me.index()].life;
        self.next_accepted += 1;
        let conn = self.conns.len();
        self.conns.push(Conn {
            from: me,
            out: OutStream(stream.0 + u64::from(life) * 1_000_000),
            accepted: InStream(self.next_accepted),
        });
        if self.is_running(me.peer()) {
            self.send(
                me,
                life,
                Message::Frame {
                    conn,
                    number,
                    frame,
                },
            );
        } else {
            self.push(me, me.peer(), 0, Message::Closed { conn });
        }
    }

    fn conn_of(&self, me: ServerId, stream: OutStream) -> Option<usize> {
        let life = u64::from(self.hosts[me.index()].life);
        let out = OutStream(stream.0 + life * 1_000_000);
        self.conns
            .iter()
            .position(|conn| conn.from == me && conn.out == out)
    }

    /// The link as its dialler knows it, if this life of it dialled.
    fn out_link(&self, me: ServerId, conn: usize) -> Option<OutStream> {
        let base = u64::from(self.hosts[me.index()].life) * 1_000_000;
        let conn = &self.conns[conn];
        let ours = conn.from == me && conn.out.0 >= base;
        ours.then(|| OutStream(conn.out.0 - base))
    }

    fn reply(&mut self, me: ServerId, reply: &Reply<Caller>) {
        match reply.to {
            Caller::Client(token) => {
                let before = self.replies.insert(token, reply.result.clone());
                assert_eq!(before, None, "answered twice");
            }
            Caller::Server { life, relay } => {
                let from_life = self.hosts[me.index()].life;
                let result = Some(reply.result.clone());
                self.wire.push_back(Envelope {
                    to: me.peer(),
                    to_life: life,
                    from: me,
                    from_life,
                    message: Message::RelayResult { relay, result },
                });
            }
        }
    }

    /// Delivers one message, unless its receiver is gone, or stopped: then it lies unread.
    pub(super) fn deliver(&mut self, envelope: Envelope) {
        let to = envelope.to;
        let host = &self.hosts[to.index()];
        if host.core.is_none() || host.life != envelope.to_life {
            return;
        }
        if host.stopped {
            return self.wire.push_back(envelope);
        }
        let input = match envelope.message.clone() {
            Message::Frame { conn, frame, .. } => Input::Frame {
                stream: self.conns[conn].accepted,
                frame,
            },
            Message::FrameAnswer {
                conn,
                number,
                answer,
            } => {
                let Some(stream) = self.out_link(to, conn) else {
                    return;
                };
                Input::FrameAnswered {
                    stream,
                    frame: number,
                    answer,
                }
            }
            Message::Closed { conn } => match self.out_link(to, conn) {
                Some(stream) => Input::OutStreamClosed { stream },
                None if self.conns[conn].from != to => Input::InStreamClosed {
                    stream: self.conns[conn].accepted,
                },
                None => return,
            },
            Message::Probe { asker, .. } => {
                self.next_accepted += 1;
                Input::Probe {
                    stream: InStream(self.next_accepted),
                    asker,
                }
            }
            Message::Dismiss { view, .. } => {
                self.next_accepted += 1;
                Input::Dismissed {
                    stream: InStream(self.next_accepted),
                    view,
                }
            }
            Message::ProbeResult { probe, result } => Input::Probed { probe, result },
            Message::Relay { relay, request } => Input::Request {
                to: Caller::Server {
                    life: envelope.from_life,
                    relay,
                },
                via: Via::Peer,
                request,
            },
            Message::RelayResult { relay, result } => Input::Relayed { relay, result },
            Message::AnnounceView { view } => Input::ViewAnnounced { view },
        };
        let now = Now(self.now);
        let core = self.hosts[to.index()].core.as_mut().expect("it runs");
        let only_ticks = matches!(input, Input::Wake) && now < core.next_verdict();
        let mut effects = Vec::new();
        core.step(now, input, &mut effects);
        assert!(
            !only_ticks || effects.iter().all(leaves_the_peer_alone),
            "the driver reads what has arrived only before a verdict is due: {effects:?}"
        );
        core.flush(now, &mut effects);
        for effect in effects {
            self.perform(to, effect, Some(&envelope));
        }
    }

    /// Takes the messages off the wire that fit, in order.
    pub(super) fn take(&mut self, fits: impl Fn(&Envelope) -> bool) -> Vec<Envelope> {
        let (taken, left) = self.wire.drain(..).partition(|envelope| fits(envelope));
        self.wire = left;
        taken.into()
    }

    /// Delivers everything that can be, and what comes of it.
    pub(super) fn run_to_rest(&mut self) {
        self.run_to_rest_but(|_| false);
    }

    /// Like [`Self::run_to_rest`], but holds back what fits.
    pub(super) fn run_to_rest_but(&mut self, held: impl Fn(&Envelope) -> bool) {
        for _ in 0..10_000 {
            let next = self
                .wire
                .iter()
                .position(|it| !self.is_cut && !held(it) && !self.hosts[it.to.index()].stopped);
            let Some(next) = next else { return };
            let envelope = self.wire.remove(next).expect("it is there");
            self.deliver(envelope);
        }
        panic!("the servers talk without end");
    }

    /// Lets time pass, with everything delivered at once.
    pub(super) fn run(&mut self, span: Duration) {
        self.run_but(span, |_| false);
    }

    /// Like [`Self::run`], but holds back what fits.
    pub(super) fn run_but(&mut self, span: Duration, held: impl Fn(&Envelope) -> bool) {
        let end = self.now + span;
        self.run_to_rest_but(&held);
        loop {
            let due = ServerId::BOTH
                .into_iter()
                .filter(|server| !self.hosts[server.index()].stopped)
                .filter_map(|server| {
                    Some((
                        self.hosts[server.index()].core.as_ref()?.next_wake(),
                        server,
                    ))
                })
                .min();
            let Some((wake, server)) = due.filter(|(wake, _)| wake.0 <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(wake.0);
            self.input(server, Input::Wake);
            self.run_to_rest_but(&held);
        }
    }

    /// Like [`Self::run`], on a way that loses what fits: it, and all behind it on its link, never
    /// arrives.
    pub(super) fn lose(&mut self, span: Duration, fits: impl Fn(&Envelope) -> bool) {
        let stuck = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let is_lost = |envelope: &Envelope| {
            let (Message::Frame { conn, .. } | Message::Closed { conn }) = envelope.message else {
                return false;
            };
            let mut stuck = stuck.borrow_mut();
            if fits(envelope) {
                stuck.insert(conn);
            }
            matches!(envelope.message, Message::Frame { .. }) && stuck.contains(&conn)
        };
        self.run_but(span, is_lost);
    }

    /// A client asks `server`. Gives the token of the answer.
    pub(super) fn ask(&mut self, server: ServerId, request: Request) -> u32 {
        let token = self.next_token;
        self.next_token += 1;
        self.input(
            server,
            Input::Request {
                to: Caller::Client(token),
                via: Via::Client,
                request,
            },
        );
        token
    }

    pub(super) fn reply_to(&self, token: u32) -> Option<Result<Answer, Refusal>> {
        self.replies.get(&token).cloned()
    }

    /// Asks, and lets everything be delivered.
    pub(super) fn answer(&mut self, server: ServerId, request: Request) -> Result<Answer, Refusal> {
        let token = self.ask(server, request);
        self.run_to_rest();
        self.reply_to(token).expect("an answer")
    }

    /// Opens a record at `server`.
    pub(super) fn open_session(&mut self, server: ServerId, client: u128) -> Client {
        self.open_as(server, client, None)
    }

    /// Asks for a record at `server`.
    pub(super) fn try_open(&mut self, server: ServerId, client: u128) -> Result<Answer, Refusal> {
        self.try_open_as(server, ClientId::from_u128(client), None)
    }

    fn try_open_as(
        &mut self,
        server: ServerId,
        client: ClientId,
        lease: Option<Lease>,
    ) -> Result<Answer, Refusal> {
        let terms = lease.map(SessionTerms::nameless);
        self.answer(server, Request::OpenSession { client, terms })
    }

    /// Opens a record, or a session.
    pub(super) fn open_as(
        &mut self,
        server: ServerId,
        client: u128,
        lease: Option<Lease>,
    ) -> Client {
        let id = ClientId::from_u128(client);
        match self.try_open_as(server, id, lease) {
            Ok(Answer::Opened(opened)) => Client {
                id,
                record: opened.session,
                next: 0,
            },
            other => panic!("not opened: {other:?}"),
        }
    }
}

/// A client that numbers its calls.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) record: SessionId,
    next: u64,
}

impl Client {
    /// The one that a test opened a record for by itself.
    pub(super) const fn new(id: ClientId, session: SessionId) -> Self {
        Self {
            id,
            record: session,
            next: 0,
        }
    }

    pub(super) fn call(&mut self, verb: Verb, lock: &str) -> Request {
        let seq = Seq(self.next);
        self.next += 1;
        Request::Call {
            id: CallId {
                client: self.id,
                session: self.record,
                seq,
                first_incomplete: seq,
            },
            verb,
            name: name(lock),
        }
    }

    pub(super) fn lock(&mut self, lock: &str) -> Request {
        self.call(Verb::Lock, lock)
    }

    pub(super) fn unlock(&mut self, lock: &str) -> Request {
        self.call(Verb::Unlock, lock)
    }

    pub(super) fn close_session(&self) -> Request {
        Request::CloseSession {
            client: self.id,
            session: self.record,
        }
    }
}

pub(super) fn name(text: &str) -> LockName {
    LockName::new(text).expect("a good name")
}

trait ExtractTo {
    fn extract_if_to(&mut self, server: ServerId) -> Vec<Envelope>;
}

impl ExtractTo for VecDeque<Envelope> {
    fn extract_if_to(&mut self, server: ServerId) -> Vec<Envelope> {
        let (gone, left) = self.drain(..).partition(|envelope| envelope.to == server);
        *self = left;
        gone.into()
    }
}

/// Whether nothing is held against the other server. A doubt is about oneself.
fn leaves_the_peer_alone(effect: &Effect<Caller>) -> bool {
    !matches!(
        effect,
        Effect::Probe { .. } | Effect::CloseInStream(_) | Effect::CloseOutStream(_)
    )
}
