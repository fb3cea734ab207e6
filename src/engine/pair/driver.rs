//! The driver: the one task that owns the role machine, and with it the lock machine.
//!
//! Everything that happens reaches it through its inboxes, one after the other; it hands each to
//! the core and carries out what comes back. It never waits for anybody else, so whoever gets an
//! answer from it (a probe, a heartbeat) knows that the state's owner is alive.
//!
//! Whatever is ready is taken in before anything is sent, so a batch holds all that came since the
//! last one; and before a timer is believed, so an answer that is there is never overlooked (rule
//! M1).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::core::{
    Core, Effect, FrameNumber, InStream, Input, OutStream, ProbeId, RelayId, Reply, Settings,
};
use super::forward::Forwarder;
use super::inbox::{FromClient, FromPeer, PeerInbox, ReplyTo};
use super::peer::{Peer, unhurried};
use super::probe::{self, ProbeRequest};
use super::relay::RelayQueue;
use super::report::{Reporter, report};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::engine::{LoadCounter, Now};
use crate::service::Request;
use crate::types::{ClusterId, View};

/// How much is taken in before what there is is sent: some 100 us of work, so that the first of
/// many waiting calls is not held up for the last.
const ROUND: usize = 256;

/// How often the rest of the process gets to run before a timer is held against somebody. What has
/// arrived needs a few hops from the socket to the inbox.
const HOPS: usize = 8;

pub(super) struct Driver {
    core: Core<ReplyTo>,
    effects: Vec<Effect<ReplyTo>>,
    started: Instant,
    clients: mpsc::Receiver<FromClient>,
    /// What has been taken from `clients`, and is about to be looked at.
    arrived: Vec<FromClient>,
    peers: mpsc::Receiver<FromPeer>,
    inbox: PeerInbox,
    activity: Arc<LoadCounter>,
    /// Tells the connections which cluster this server is a member of.
    cluster: watch::Sender<Option<ClusterId>>,
    peer: Peer,
    relay_capacity: usize,
    /// The connections that were accepted from the peer, and how to hang up.
    accepted: BTreeMap<InStream, CancellationToken>,
    forwarder: Option<(OutStream, Forwarder)>,
    relays: Option<RelayQueue>,
    /// A connection for relays led nowhere: the next ones have small segments.
    small_relays: bool,
    probe: Option<AbortHandle>,
    reporter: Reporter,
    /// Whom to tell when this server has handed over to its peer.
    handed_over: Option<oneshot::Sender<()>>,
}

impl Driver {
    pub(super) fn new(
        settings: Settings,
        peer: Peer,
        clients: mpsc::Receiver<FromClient>,
        peers: mpsc::Receiver<FromPeer>,
        inbox: PeerInbox,
        activity: Arc<LoadCounter>,
        cluster: watch::Sender<Option<ClusterId>>,
    ) -> Self {
        Self {
            core: Core::new(settings, Now::default()),
            effects: Vec::new(),
            started: Instant::now(),
            clients,
            arrived: Vec::new(),
            peers,
            inbox,
            activity,
            cluster,
            peer,
            relay_capacity: settings.limits.relays(),
            accepted: BTreeMap::new(),
            forwarder: None,
            relays: None,
            small_relays: false,
            probe: None,
            reporter: Reporter::default(),
            handed_over: None,
        }
    }

    fn now(&self) -> Now {
        Now(self.started.elapsed())
    }

    /// Runs for ever; the server drops it to stop.
    pub(super) async fn run(mut self) -> Infallible {
        let mut timer = pin!(sleep_until(self.wake_at()));
        let much = self.core.peer_timeout() / 64;
        loop {
            tokio::select! {
                biased;
                Some(message) = self.peers.recv() => self.take_from_peer(message),
                1.. = self.clients.recv_many(&mut self.arrived, ROUND) => {}
                () = &mut timer => {}
            }
            self.core.tell_time(SystemTime::now().into());
            self.take_what_is_ready();
            // Under load there is always a message, and never an idle moment for the timer.
            if self.now() >= self.core.next_wake() {
                self.wake().await;
            }
            self.flush();
            let state = self.core.peer_state();
            let peer_timeout = self.core.peer_timeout();
            self.reporter.tell_waiting(state, &self.peer, peer_timeout);
            // Nearly every message puts the wake off a little. The timer is moved only when it
            // comes too late, or much too early.
            let wake_at = self.wake_at();
            let set_to = timer.deadline();
            if timer.is_elapsed() || wake_at < set_to || wake_at > set_to + much {
                timer.as_mut().reset(wake_at);
            }
        }
    }

    fn wake_at(&self) -> Instant {
        self.started + self.core.next_wake().0
    }

    async fn wake(&mut self) {
        let now = self.now();
        if now < self.core.next_verdict() {
            return self.step_at(now, Input::Wake, Some);
        }
        for _ in 0..HOPS {
            yield_now().await;
            self.take_what_is_ready();
        }
        self.step(Input::Wake);
    }

    fn take_what_is_ready(&mut self) {
        for _ in 0..ROUND {
            let Ok(message) = self.peers.try_recv() else {
                break;
            };
            self.take_from_peer(message);
        }
        let room = ROUND.saturating_sub(self.arrived.len());
        let more = self.clients.recv_many(&mut self.arrived, room);
        let _ = more.now_or_never();
        let mut arrived = std::mem::take(&mut self.arrived);
        self.activity.add(arrived.len());
        for message in arrived.drain(..) {
            self.take_from_client(message);
        }
        self.arrived = arrived;
    }

    fn take_from_client(&mut self, message: FromClient) {
        match message {
            FromClient::Request { via, request, to } => {
                self.step(Input::Request { to, via, request });
            }
            FromClient::Status { to } => {
                let _ = to.send(self.core.status(self.now()));
            }
            FromClient::End { handed_over } => {
                self.handed_over = Some(handed_over);
                self.step(Input::End);
            }
        }
    }

    fn take_from_peer(&mut self, message: FromPeer) {
        let input = match message {
            FromPeer::Accepted { stream, hang_up } => {
                self.accepted.insert(stream, hang_up);
                return;
            }
            FromPeer::Probe { stream, asker, to } => {
                return self.introduce(Input::Probe { stream, asker }, to);
            }
            FromPeer::Dismissed { stream, view, to } => {
                return self.introduce(Input::Dismissed { stream, view }, to);
            }
            FromPeer::Frame { stream, frame, to } => return self.answer_frame(stream, frame, to),
            FromPeer::ViewAnnounced { view } => Input::ViewAnnounced { view },
            FromPeer::InStreamClosed { stream } => {
                self.accepted.remove(&stream);
                Input::InStreamClosed { stream }
            }
            FromPeer::FrameAnswered {
                stream,
                frame,
                answer,
            } => Input::FrameAnswered {
                stream,
                frame,
                answer,
            },
            FromPeer::OutStreamClosed { stream } => Input::OutStreamClosed { stream },
            FromPeer::Probed { probe, result } => {
                self.reporter.probed(Some(&result));
                Input::Probed { probe, result }
            }
            FromPeer::Relayed { relay, result } => Input::Relayed { relay, result },
        };
        self.step(input);
    }

    fn introduce(&mut self, input: Input<ReplyTo>, to: oneshot::Sender<Introduction>) {
        let mut to = Some(to);
        self.step_and(input, |effect| match effect {
            Effect::Introduction(introduction) => {
                if let Some(to) = to.take() {
                    let _ = to.send(introduction);
                }
                None
            }
            other => Some(other),
        });
    }

    fn answer_frame(&mut self, stream: InStream, frame: Frame, to: oneshot::Sender<FrameAnswer>) {
        if let Frame::Forward { commands, .. } = &frame {
            self.activity.add(commands.len());
        }
        let mut to = Some(to);
        self.step_and(Input::Frame { stream, frame }, |effect| match effect {
            Effect::FrameAnswer(answer) => {
                let _ = to.take().map(|to| to.send(answer));
                None
            }
            other => Some(other),
        });
    }

    fn step(&mut self, input: Input<ReplyTo>) {
        self.step_and(input, Some);
    }

    /// Steps, and carries out what the core wants, but for what `first` takes.
    fn step_and(
        &mut self,
        input: Input<ReplyTo>,
        first: impl FnMut(Effect<ReplyTo>) -> Option<Effect<ReplyTo>>,
    ) {
        self.step_at(self.now(), input, first);
    }

    fn step_at(
        &mut self,
        now: Now,
        input: Input<ReplyTo>,
        first: impl FnMut(Effect<ReplyTo>) -> Option<Effect<ReplyTo>>,
    ) {
        self.core.step(now, input, &mut self.effects);
        self.perform_all(first);
    }

    fn flush(&mut self) {
        let now = self.now();
        self.core.flush(now, &mut self.effects);
        self.announce_cluster();
        self.perform_all(Some);
        if self.core.has_handed_over() {
            // Nobody waits for it any more when the server ends anyway.
            let _ = self.handed_over.take().map(|to| to.send(()));
        }
    }

    fn announce_cluster(&self) {
        let cluster = self.core.cluster();
        self.cluster.send_if_modified(|announced| {
            let is_new = *announced != cluster;
            *announced = cluster;
            is_new
        });
    }

    /// Carries out what the core wants, but for what `first` takes.
    fn perform_all(&mut self, mut first: impl FnMut(Effect<ReplyTo>) -> Option<Effect<ReplyTo>>) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            if let Some(effect) = first(effect) {
                self.perform(effect);
            }
        }
        self.effects = effects;
    }

    fn perform(&mut self, effect: Effect<ReplyTo>) {
        match effect {
            // Nobody waits any more: the client went away, or its deadline has passed.
            Effect::Reply(Reply { to, result }) => drop(to.send(result)),
            Effect::OpenStream {
                stream,
                number,
                frame,
                small_segments,
            } => {
                let peer = self.peer.clone().in_small_segments(small_segments);
                let forwarder = Forwarder::spawn(peer, stream, self.inbox.clone());
                self.forwarder = Some((stream, forwarder));
                self.send(stream, number, frame);
            }
            Effect::Send {
                stream,
                number,
                frame,
            } => self.send(stream, number, frame),
            Effect::CloseOutStream(stream) => {
                self.forwarder.take_if(|(current, _)| *current == stream);
            }
            Effect::CloseInStream(stream) => {
                if let Some(hang_up) = self.accepted.get(&stream) {
                    hang_up.cancel();
                }
            }
            Effect::Probe {
                probe,
                pause,
                asker,
            } => self.ask_peer(probe, pause, ProbeRequest::Probe(asker)),
            Effect::Dismiss { probe, view } => {
                let peer_timeout = self.core.peer_timeout();
                let question = ProbeRequest::StepDown { view, peer_timeout };
                self.ask_peer(probe, Duration::ZERO, question);
            }
            Effect::AnnounceView { view } => self.announce_view(view),
            Effect::Relay { relay, request } => self.relay(relay, &request),
            Effect::AbandonRelays => self.relays = None,
            Effect::Event(event) => report(&event, &self.peer),
            Effect::FrameAnswer(_) | Effect::Introduction(_) => {
                debug_assert!(false, "answers come in the step of their question");
            }
        }
    }

    fn send(&self, stream: OutStream, number: FrameNumber, frame: Frame) {
        if let Some((current, forwarder)) = &self.forwarder
            && *current == stream
        {
            forwarder.send(number, frame);
        }
    }

    fn ask_peer(&mut self, probe: ProbeId, pause: Duration, question: ProbeRequest) {
        if let Some(void) = self.probe.take() {
            if !void.is_finished() {
                self.reporter.probed(None);
            }
            void.abort();
        }
        let (peer, inbox) = (self.peer.clone(), self.inbox.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let result = probe::ask(&peer, question).await;
            inbox.send(FromPeer::Probed { probe, result }).await;
        });
        self.probe = Some(task.abort_handle());
    }

    fn announce_view(&self, view: View) {
        let peer = self.peer.clone();
        let patience = self.core.peer_timeout();
        tokio::spawn(tokio::time::timeout(patience, async move {
            // Lost fences do not matter: the next probe finds the same.
            let connection = peer.connect("a fence", 1).await.ok()?;
            tokio::select! {
                biased;
                result = connection.client.announce_view(unhurried(), view) => result.ok(),
                () = connection.running => None,
            }
        }));
    }

    fn relay(&mut self, relay: RelayId, request: &Request) {
        if self
            .relays
            .as_ref()
            .is_some_and(|relays| relays.send(relay, request))
        {
            return;
        }
        // There is no connection, or it has broken and reports what was on it.
        self.small_relays |= self.relays.as_ref().is_some_and(RelayQueue::led_nowhere);
        let relays = RelayQueue::spawn(
            self.peer.clone().in_small_segments(self.small_relays),
            self.relay_capacity,
            self.core.peer_timeout() * 2,
            self.inbox.clone(),
        );
        relays.send(relay, request);
        self.relays = Some(relays);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }
}
