//! The role machine of a server of the pair: what it does, as a pure `step(now, input) -> effects`.
//!
//! No clock, no IO, no randomness, no tasks: the shell ([`driver`](super::driver)) hands in what
//! happened and when, and carries out what comes back. So the very code that runs can be explored,
//! replayed and simulated. The rules M1 to M10 of the protocol are marked where they are kept; leaving
//! any of them out loses an acknowledged call, splits the pair or hangs a call within a few steps.
//!
//! A *link* is a connection on which a primary feeds the other server. It is [`OutLink`] to the
//! primary, which dials it, and [`InLink`] to the other side, which accepts it.

mod event;
mod heard;
mod outbox;
mod primary;
mod receiver;
#[cfg(test)]
mod tests;
mod waiting;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

pub use event::{Death, Descent, Event, Suspicion};

use self::outbox::{Acked, Outbox};
use self::primary::{Mode, Primary};
use self::receiver::{Backup, Floor, Starting};
use self::waiting::{Pending, Waiting};
use self::watch::{Lateness, Watch};
use crate::config::{Limits, MAX_UNACKED_COMMANDS, Timing};
use crate::machine::Machine;
use crate::service::{
    Answer, Frame, FrameAnswer, LinkPurpose, Refusal, Request, Resource, RoleName, Standing,
};
use crate::types::{Digest, OpNumber, ServerId, View};

/// A moment: how long the server has been running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub Duration);

impl Now {
    /// How long ago `earlier` was; nothing if it is yet to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `span` later.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// A link that this server dialled. Numbered by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutLink(pub u64);

/// A connection from the peer that this server accepted. Numbered by the shell, in the order in which
/// they were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InLink(pub u64);

/// A frame that this server sent. Numbers rise across links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNumber(pub u64);

/// A probe of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// A request on its way to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u64);

/// How a request reached this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// From the client.
    Client,
    /// From the peer, which relayed it.
    Peer,
}

/// What a server is told when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which server of the pair it is.
    pub me: ServerId,
    /// Whether it may form a pair of one when no peer answers.
    pub alone: bool,
    /// See [`Timing::peer_timeout`].
    pub peer_timeout: Duration,
    /// See [`Timing::record_time_to_live`].
    pub record_time_to_live: Duration,
    /// What it accepts at the most.
    pub limits: Limits,
    /// The wall clock when it started, in microseconds since 1970. A new pair's op numbers begin at
    /// the wall clock, so that they are above those of any pair before it.
    pub started_at: u64,
}

impl Settings {
    /// The settings of server `me`.
    #[must_use]
    pub const fn new(
        me: ServerId,
        alone: bool,
        timing: Timing,
        limits: Limits,
        started_at: u64,
    ) -> Self {
        Self {
            me,
            alone,
            peer_timeout: timing.peer_timeout,
            record_time_to_live: timing.record_time_to_live,
            limits,
            started_at,
        }
    }
}

/// What happened. `T` is whatever the shell answers a request with; the core only hands it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<T> {
    /// Nothing but that time has passed. Due at [`Core::next_wake`].
    Wake,
    /// A client asks. Answered by [`Effect::Reply`], sooner or later.
    Request {
        /// Where the answer goes.
        to: T,
        /// How it came.
        via: Via,
        /// What is asked.
        request: Request,
    },
    /// The peer probes this server. Answered in the same step by [`Effect::Standing`].
    Who {
        /// The connection that it came on.
        link: InLink,
        /// Where the peer stands.
        asker: Standing,
    },
    /// A frame of the peer's. Answered in the same step by [`Effect::FrameAnswer`].
    Frame {
        /// The connection that it came on.
        link: InLink,
        /// The frame.
        frame: Frame,
    },
    /// A connection from the peer ended.
    InLinkClosed {
        /// Which.
        link: InLink,
    },
    /// The answer to a frame that this server sent.
    FrameAnswered {
        /// On which link.
        link: OutLink,
        /// Which frame.
        frame: FrameNumber,
        /// The answer.
        answer: FrameAnswer,
    },
    /// A link that this server dialled could not be opened, or ended.
    OutLinkClosed {
        /// Which.
        link: OutLink,
    },
    /// A probe ended.
    Probed {
        /// Which.
        probe: ProbeId,
        /// How.
        result: ProbeResult,
    },
    /// A relayed request ended.
    Relayed {
        /// Which.
        relay: RelayId,
        /// The primary's answer; none if the connection failed.
        result: Option<Result<Answer, Refusal>>,
    },
    /// The peer says that it has a higher view.
    Fenced {
        /// That view.
        view: View,
    },
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeResult {
    /// The peer answered.
    Answered(Standing),
    /// Nobody listens at the peer's address.
    Refused,
    /// The connection broke before the answer, or what answered is not the peer.
    Broken,
}

/// An answer to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// Where it goes.
    pub to: T,
    /// What it is.
    pub result: Result<Answer, Refusal>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answer a client.
    Reply(Reply<T>),
    /// Answer the frame of this step.
    FrameAnswer(FrameAnswer),
    /// Answer the probe of this step.
    Standing(Standing),
    /// Dial the peer and send the opening frame.
    OpenLink {
        /// The new link.
        link: OutLink,
        /// The number of the opening frame.
        number: FrameNumber,
        /// The opening frame.
        frame: Frame,
    },
    /// Send a frame on a link.
    Send {
        /// Which link.
        link: OutLink,
        /// The number of the frame.
        number: FrameNumber,
        /// The frame.
        frame: Frame,
    },
    /// Hang up a link that this server dialled.
    CloseOutLink(OutLink),
    /// Hang up a link that this server accepted.
    CloseInLink(InLink),
    /// Dial the peer anew and ask who it is.
    Probe {
        /// Which probe this is.
        probe: ProbeId,
        /// How long to wait before.
        pause: Duration,
        /// Where this server stands.
        asker: Standing,
    },
    /// Tell the peer that this server has a higher view.
    Fence {
        /// That view.
        view: View,
    },
    /// Hand a request to the primary.
    Relay {
        /// Which relay this is.
        relay: RelayId,
        /// What is asked.
        request: Request,
    },
    /// Stop waiting for relayed requests: the peer is not primary any more.
    AbandonRelays,
    /// Report.
    Event(Event),
}

/// How a server stands, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Overview {
    /// Its role.
    pub role: RoleName,
    /// Its view.
    pub view: Option<View>,
    /// The last op it applied.
    pub op: OpNumber,
    /// Its digest there.
    pub digest: Digest,
    /// Of a primary: what its backup acknowledged.
    pub acked: Option<OpNumber>,
    /// It trusts its own state and its link with the peer.
    pub in_sync: bool,
    /// Client records.
    pub clients: u64,
    /// Held locks.
    pub locks: u64,
}

/// The role machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core<T> {
    settings: Settings,
    role: Role<T>,
    watch: Watch,
    floor: Floor,
    relays: BTreeMap<RelayId, Relay<T>>,
    next_relay: RelayId,
    next_link: OutLink,
    next_frame: FrameNumber,
    /// The highest op this server ever had: a pair that it forms begins above it.
    highest_op: OpNumber,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Role<T> {
    Starting(Starting),
    Primary(Primary<T>),
    Backup(Backup),
}

/// A request that this server handed to the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relay<T> {
    to: T,
    request: Request,
    failures: u32,
    /// Whether it is on its way.
    sent: bool,
}

/// How often a relay is tried before its client is sent away.
const MAX_RELAY_FAILURES: u32 = 3;

impl<T> Core<T> {
    /// A server that has just started.
    #[must_use]
    pub const fn new(settings: Settings, now: Now) -> Self {
        Self {
            role: Role::Starting(Starting::new()),
            watch: Watch::new(settings.peer_timeout, now),
            floor: Floor::new(),
            relays: BTreeMap::new(),
            next_relay: RelayId(0),
            next_link: OutLink(0),
            next_frame: FrameNumber(0),
            highest_op: OpNumber(0),
            settings,
        }
    }

    /// Takes what happened; adds to `effects` what is to be done.
    ///
    /// The shell calls [`Self::flush`] once it has handed in everything that was ready.
    pub fn step(&mut self, now: Now, input: Input<T>, effects: &mut Vec<Effect<T>>) {
        self.check_clock(now, effects);
        match input {
            Input::Wake => self.wake(now, effects),
            Input::Request { to, via, request } => self.request(now, to, via, request, effects),
            Input::Who { link, asker } => self.who(now, link, asker, effects),
            Input::Frame { link, frame } => {
                let answer = self.frame(now, link, frame, effects);
                effects.push(Effect::FrameAnswer(answer));
            }
            Input::InLinkClosed { link } => self.in_link_closed(now, link, effects),
            Input::FrameAnswered {
                link,
                frame,
                answer,
            } => self.frame_answered(now, link, frame, answer, effects),
            Input::OutLinkClosed { link } => self.out_link_closed(now, link, effects),
            Input::Probed { probe, result } => self.probed(now, probe, result, effects),
            Input::Relayed { relay, result } => self.relayed(now, relay, result, effects),
            Input::Fenced { view } => self.fenced(now, view, effects),
        }
    }

    /// Sends what there is for the other server. One forward carries everything that has queued up
    /// since the last one left.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        self.send_payload(now, effects);
        // The last chunk of a copy may just have been acknowledged.
        if self.consider_join(now, effects) {
            self.send_payload(now, effects);
        }
        let interval = self.watch.heartbeat_interval();
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some((outbox, _)) = primary.sending() else {
            return;
        };
        // What is acknowledged already needs no frame: the outcome of a repeated call.
        let acked = outbox.is_followed().then(|| outbox.acked());
        if let Some((outbox, machine)) = primary.sending() {
            let heartbeat = outbox.next_heartbeat(machine, interval, self.next_frame, now);
            send(heartbeat, &mut self.next_frame, effects);
        }
        if let Some(acked) = acked {
            primary.release(acked, None, effects);
        }
    }

    fn send_payload(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let wanted = primary.waits_for_frame();
        if let Some((outbox, machine)) = primary.sending() {
            let payload = outbox.next_payload(machine, wanted, self.next_frame, now);
            send(payload, &mut self.next_frame, effects);
        }
    }

    /// When [`Input::Wake`] is due, if nothing else comes before.
    #[must_use]
    pub fn next_wake(&self) -> Now {
        let watch = &self.watch;
        let peer = match &self.role {
            Role::Starting(starting) if starting.is_receiving() => watch.silence_deadline(),
            Role::Starting(_) => self.probe_wake(watch.next_probe()),
            Role::Primary(primary) => match &primary.mode {
                Mode::Alone { sync: Some(_) } => watch.silence_deadline(),
                Mode::Alone { sync: None } => self.probe_wake(watch.next_probe()),
                Mode::Paired { .. } => self.watch_wake(),
            },
            Role::Backup(_) => self.watch_wake(),
        };
        let mut due = watch.tick_due().min(peer);
        if let Role::Primary(primary) = &self.role {
            let interval = watch.heartbeat_interval();
            let heartbeat = primary
                .outbox()
                .and_then(|outbox| outbox.heartbeat_due(interval));
            due = due
                .min(heartbeat.unwrap_or(due))
                .min(primary.heard.next_sweep());
        }
        due
    }

    /// When the probe in progress is over, or else `next`.
    fn probe_wake(&self, next: Now) -> Now {
        self.watch.probe_deadline().unwrap_or(next)
    }

    /// When [`Self::watch_peer`] has something to do.
    fn watch_wake(&self) -> Now {
        let next = match (self.is_linked(), self.is_joined()) {
            (false, _) => self.watch.next_probe(),
            (true, true) => self.watch.quiet_deadline(),
            (true, false) => self.watch.silence_deadline(),
        };
        self.probe_wake(next)
    }

    /// See [`Timing::peer_timeout`].
    #[must_use]
    pub const fn peer_timeout(&self) -> Duration {
        self.settings.peer_timeout
    }

    /// How this server stands.
    #[must_use]
    pub fn overview(&self, now: Now) -> Overview {
        let trusted =
            self.is_linked() && !self.watch.is_in_doubt() && !self.watch.link_is_silent(now);
        let (role, view, machine, acked, in_sync) = match &self.role {
            Role::Starting(_) => (RoleName::Starting, None, None, None, false),
            Role::Primary(primary) => {
                let (role, outbox) = match &primary.mode {
                    Mode::Alone { .. } => (RoleName::Alone, None),
                    Mode::Paired { outbox, .. } => (RoleName::Primary, Some(outbox)),
                };
                let in_sync = trusted && outbox.is_some_and(Outbox::is_followed);
                let acked = outbox.map(Outbox::acked);
                (
                    role,
                    Some(primary.view),
                    Some(&primary.machine),
                    acked,
                    in_sync,
                )
            }
            Role::Backup(backup) => (
                RoleName::Backup,
                Some(backup.view),
                Some(&backup.machine),
                None,
                trusted,
            ),
        };
        Overview {
            role,
            view,
            op: machine.map_or(OpNumber(0), Machine::op),
            digest: machine.map_or(Digest(0), Machine::digest),
            acked,
            in_sync,
            clients: machine.map_or(0, Machine::clients),
            locks: machine.map_or(0, Machine::locks),
        }
    }

    /// Where this server stands, as it tells its peer.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &self.role {
            Role::Starting(_) => Standing::Starting,
            Role::Primary(primary) => Standing::Primary {
                view: primary.view,
                op: primary.machine.op(),
            },
            Role::Backup(backup) => Standing::Backup {
                view: backup.view,
                op: backup.machine.op(),
            },
        }
    }

    /// Whether there is a link with the peer, as far as this server knows.
    fn is_linked(&self) -> bool {
        match &self.role {
            Role::Starting(starting) => starting.is_receiving(),
            Role::Primary(primary) => match &primary.mode {
                Mode::Alone { sync } => sync.is_some(),
                Mode::Paired { outbox, .. } => outbox.link().is_some(),
            },
            Role::Backup(backup) => backup.link.is_some(),
        }
    }

    fn check_clock(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let late = match self.watch.check_clock(now) {
            Lateness::None => return,
            Lateness::Voids => None,
            Lateness::Doubt(late) => Some(late),
        };
        // [M1] A verdict counts only if this server ran throughout. The void probe's answer may lie
        // unread beside the timer; it must not be believed either.
        if self.watch.is_probing() {
            self.probe(now, effects);
        }
        let Some(late) = late else { return };
        // [M8] The peer may have taken over, answered clients and died since. An alone primary has
        // nobody who could.
        let can_be_replaced = match &self.role {
            Role::Starting(_) => false,
            Role::Primary(primary) => matches!(primary.mode, Mode::Paired { .. }),
            Role::Backup(_) => true,
        };
        if can_be_replaced {
            self.watch.doubt_from(self.next_frame);
            effects.push(Effect::Event(Event::Doubt { late }));
            self.suspect(now, Suspicion::Doubt, effects);
        }
    }

    fn wake(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        match &mut self.role {
            Role::Starting(starting) => {
                if starting.is_receiving() {
                    if self.watch.link_is_silent(now) {
                        self.drop_copy(now, effects);
                    }
                    return;
                }
                if self.watch.probe_is_over(now) {
                    if self.settings.alone {
                        return self.form_alone(now, effects);
                    }
                    self.watch.back_off(now);
                }
                self.probe_if_due(now, effects);
            }
            Role::Primary(primary) => {
                let count = primary.expire(now, &self.settings);
                if count > 0 {
                    effects.push(Effect::Event(Event::RecordsExpired { count }));
                }
                match &primary.mode {
                    Mode::Alone { sync: Some(_) } if self.watch.link_is_silent(now) => {
                        self.break_sync(now, effects);
                    }
                    Mode::Alone { sync: Some(_) } => {}
                    Mode::Alone { sync: None } => {
                        if self.watch.probe_is_over(now) {
                            self.watch.back_off(now);
                        }
                        self.probe_if_due(now, effects);
                    }
                    Mode::Paired { .. } => self.watch_peer(now, effects),
                }
            }
            Role::Backup(_) => self.watch_peer(now, effects),
        }
    }

    /// Asks a quiet peer, and believes the timer of a probe.
    fn watch_peer(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let cut = !self.is_linked();
        if self.watch.probe_is_over(now) {
            if cut || self.watch.link_is_silent(now) {
                return self.peer_is_dead(now, Death::Silent, effects);
            }
            self.watch.end_probe();
        }
        if self.watch.is_probing() {
            return;
        }
        let due = match (cut, self.is_joined()) {
            (true, _) => self.watch.is_probe_due(now),
            (false, true) => self.watch.is_quiet(now),
            (false, false) => self.watch.link_is_silent(now),
        };
        if due {
            self.probe(now, effects);
        }
    }

    /// False of a primary whose backup has not taken the join yet: to be asked makes a starting server
    /// drop the copy that it has, so that must not happen lightly.
    fn is_joined(&self) -> bool {
        match &self.role {
            Role::Primary(primary) => primary.outbox().is_some_and(Outbox::is_followed),
            Role::Starting(_) | Role::Backup(_) => true,
        }
    }

    fn probe(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let probe = self.watch.begin_probe(now);
        effects.push(Effect::Probe {
            probe,
            pause: Duration::ZERO,
            asker: self.standing(),
        });
    }

    fn probe_if_due(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        if self.watch.is_probe_due(now) {
            self.probe(now, effects);
        }
    }

    /// Nothing is decided about a suspect peer before it was probed.
    fn suspect(&mut self, now: Now, reason: Suspicion, effects: &mut Vec<Effect<T>>) {
        if self.watch.is_probing() {
            return;
        }
        effects.push(Effect::Event(Event::Suspect { reason }));
        self.probe(now, effects);
    }

    fn request(
        &mut self,
        now: Now,
        to: T,
        via: Via,
        request: Request,
        effects: &mut Vec<Effect<T>>,
    ) {
        let refusal = match &mut self.role {
            Role::Primary(primary) => {
                let asked = (to, via, request);
                return primary.execute(now, &self.settings, self.next_frame, asked, effects);
            }
            Role::Backup(_) if via == Via::Client => {
                if self.relays.len() < self.settings.limits.calls {
                    return self.relay(to, request, effects);
                }
                Refusal::Overloaded(Resource::Calls)
            }
            Role::Backup(_) | Role::Starting(_) => Refusal::NotReady,
        };
        effects.push(Effect::Reply(Reply {
            to,
            result: Err(refusal),
        }));
    }

    fn relay(&mut self, to: T, request: Request, effects: &mut Vec<Effect<T>>) {
        let relay = self.next_relay;
        self.next_relay = RelayId(relay.0 + 1);
        effects.push(Effect::Relay {
            relay,
            request: request.clone(),
        });
        let entry = Relay {
            to,
            request,
            failures: 0,
            sent: true,
        };
        self.relays.insert(relay, entry);
    }

    fn relayed(
        &mut self,
        now: Now,
        relay: RelayId,
        result: Option<Result<Answer, Refusal>>,
        effects: &mut Vec<Effect<T>>,
    ) {
        let Some(mut entry) = self.relays.remove(&relay) else {
            return;
        };
        if let Some(result) = result {
            let to = entry.to;
            return effects.push(Effect::Reply(Reply { to, result }));
        }
        entry.failures += 1;
        entry.sent = false;
        if entry.failures >= MAX_RELAY_FAILURES || !matches!(self.role, Role::Backup(_)) {
            return effects.push(Effect::Reply(Reply {
                to: entry.to,
                result: Err(Refusal::Interrupted),
            }));
        }
        self.relays.insert(relay, entry);
        self.suspect(now, Suspicion::RelayFailed, effects);
    }

    /// Sends the relays again whose connection failed.
    fn resend_relays(&mut self, effects: &mut Vec<Effect<T>>) {
        for (relay, entry) in &mut self.relays {
            if !entry.sent {
                entry.sent = true;
                effects.push(Effect::Relay {
                    relay: *relay,
                    request: entry.request.clone(),
                });
            }
        }
    }

    fn who(&mut self, now: Now, link: InLink, asker: Standing, effects: &mut Vec<Effect<T>>) {
        // [M10] Being asked decides nothing: a question that does not fit only makes this server ask.
        match &mut self.role {
            Role::Starting(starting) => {
                // [M3] Who hears `Starting` may form a pair with this server, or sync it: nothing that
                // was sent before may reach into that.
                let current = starting.drop_copy();
                self.floor.raise(link, current);
                effects.extend(current.map(Effect::CloseInLink));
                if asker == Standing::Starting {
                    self.watch.hurry(now);
                    self.probe_if_due(now, effects);
                }
            }
            Role::Primary(primary) => match &primary.mode {
                Mode::Alone { sync: None } => {
                    self.watch.hurry(now);
                    self.probe_if_due(now, effects);
                }
                Mode::Alone { sync: Some(_) } if asker == Standing::Starting => {}
                Mode::Paired { .. } if fits_backup(asker, primary.view) => {}
                Mode::Alone { .. } | Mode::Paired { .. } => {
                    self.suspect(now, Suspicion::StrangeQuestion, effects);
                }
            },
            Role::Backup(backup) => {
                if !matches!(asker, Standing::Primary { view, .. } if view == backup.view) {
                    self.suspect(now, Suspicion::StrangeQuestion, effects);
                }
            }
        }
        effects.push(Effect::Standing(self.standing()));
    }

    fn probed(
        &mut self,
        now: Now,
        probe: ProbeId,
        result: ProbeResult,
        effects: &mut Vec<Effect<T>>,
    ) {
        if !self.watch.is_probe(probe) {
            return;
        }
        match result {
            // [M2] A probe whose connection breaks says nothing.
            ProbeResult::Broken => {
                let (probe, pause) = self.watch.repeat_probe(now);
                effects.push(Effect::Probe {
                    probe,
                    pause,
                    asker: self.standing(),
                });
            }
            ProbeResult::Refused => self.probe_refused(now, effects),
            ProbeResult::Answered(standing) => self.probe_answered(now, standing, effects),
        }
    }

    fn probe_refused(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        match &self.role {
            Role::Starting(starting) if starting.is_receiving() => self.watch.end_probe(),
            Role::Starting(_) if self.settings.alone => self.form_alone(now, effects),
            Role::Starting(_) => self.watch.back_off(now),
            Role::Primary(primary) if matches!(primary.mode, Mode::Alone { .. }) => {
                self.watch.back_off(now);
            }
            Role::Primary(_) | Role::Backup(_) => self.peer_is_dead(now, Death::Refused, effects),
        }
    }

    fn probe_answered(&mut self, now: Now, peer: Standing, effects: &mut Vec<Effect<T>>) {
        let (view, alone) = match &self.role {
            Role::Starting(starting) => {
                let receiving = starting.is_receiving();
                return self.met_while_starting(now, peer, receiving, effects);
            }
            Role::Primary(primary) => (primary.view, matches!(primary.mode, Mode::Alone { .. })),
            Role::Backup(backup) => (backup.view, false),
        };
        match peer.view() {
            None if alone => self.sync(now, effects),
            None => self.peer_is_dead(now, Death::Restarted, effects),
            Some(theirs) if theirs > view => {
                self.step_down(now, Descent::HigherView(theirs), effects);
            }
            Some(theirs) if theirs < view => {
                effects.push(Effect::Fence { view });
                self.watch.back_off(now);
            }
            Some(_) => self.resume(now, peer, effects),
        }
    }

    fn met_while_starting(
        &mut self,
        now: Now,
        peer: Standing,
        receiving: bool,
        effects: &mut Vec<Effect<T>>,
    ) {
        if receiving {
            return self.watch.end_probe();
        }
        if peer == Standing::Starting && self.settings.me == ServerId::A {
            return self.form(now, effects);
        }
        // Whoever has the state finds out by its own probe, and dials.
        self.watch.back_off(now);
    }

    /// The peer is where it should be.
    fn resume(&mut self, now: Now, peer: Standing, effects: &mut Vec<Effect<T>>) {
        let silent = self.watch.link_is_silent(now);
        self.watch.satisfy(now);
        match (&mut self.role, peer) {
            (Role::Primary(primary), Standing::Backup { op, .. }) => {
                let Mode::Paired { outbox, .. } = &mut primary.mode else {
                    return;
                };
                // [M9] The op that it names counts as its acknowledgement: the one it sent may be lost
                // with the link, and no further call may come. It may also be older than one that has
                // arrived since.
                let known = op <= outbox.acked() || outbox.settle(op);
                if !known {
                    return self.peer_is_dead(now, Death::Diverged, effects);
                }
                let acked = outbox.acked();
                let cut = outbox.link().is_none();
                primary.release(acked, None, effects);
                if cut || silent {
                    self.open_link(now, LinkPurpose::Resume, effects);
                    effects.push(Effect::Event(Event::Resumed));
                }
            }
            (Role::Backup(_), Standing::Primary { .. }) => self.resend_relays(effects),
            _ => {}
        }
    }

    fn peer_is_dead(&mut self, now: Now, death: Death, effects: &mut Vec<Effect<T>>) {
        // [M8] Whoever is in doubt may hold an old state, and must not go on with it.
        if self.watch.is_in_doubt() {
            return self.step_down(now, Descent::Doubt(death), effects);
        }
        match &self.role {
            Role::Starting(_) => {}
            Role::Primary(_) => self.go_alone(now, death, effects),
            Role::Backup(_) => self.take_over(now, death, effects),
        }
        // A peer that was found starting can be synced at once.
        if death == Death::Restarted {
            self.sync(now, effects);
        }
    }

    fn form(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let view = View::first(self.settings.me);
        let base = self.base(now);
        let mut primary = Primary::alone(view, Machine::new(base), &self.settings, now);
        primary.mode = Mode::Paired {
            outbox: Outbox::new(base),
            waiting: Waiting::new(),
        };
        self.enter(now, Role::Primary(primary), Event::Formed { view }, effects);
        self.open_link(now, LinkPurpose::Form { base }, effects);
        self.execute_relays(now, effects);
    }

    fn form_alone(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let view = View::first(self.settings.me);
        let machine = Machine::new(self.base(now));
        let primary = Primary::alone(view, machine, &self.settings, now);
        self.enter(
            now,
            Role::Primary(primary),
            Event::FormedAlone { view },
            effects,
        );
        self.execute_relays(now, effects);
    }

    /// Where the op numbers of a new pair begin: at the wall clock.
    fn base(&self, now: Now) -> OpNumber {
        let running = u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX);
        let clock = OpNumber(self.settings.started_at.saturating_add(running));
        clock.max(self.highest_op.next())
    }

    fn go_alone(&mut self, now: Now, death: Death, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Mode::Paired { outbox, waiting } =
            std::mem::replace(&mut primary.mode, Mode::Alone { sync: None })
        else {
            return;
        };
        primary.view = primary.view.next(self.settings.me);
        let view = primary.view;
        let mut outbox = outbox;
        effects.extend(outbox.close().map(Effect::CloseOutLink));
        effects.push(Effect::Event(Event::WentAlone { view, death }));
        let replies = waiting.into_all().map(Pending::into_reply);
        effects.extend(replies.map(Effect::Reply));
        self.watch.restart(now);
        self.watch.back_off(now);
    }

    fn take_over(&mut self, now: Now, death: Death, effects: &mut Vec<Effect<T>>) {
        let Some(Backup {
            view,
            machine,
            link,
        }) = self.leave_backup()
        else {
            return;
        };
        effects.extend(link.map(Effect::CloseInLink));
        let view = view.next(self.settings.me);
        let op = machine.op();
        let primary = Primary::alone(view, machine, &self.settings, now);
        let event = Event::TookOver { view, op, death };
        self.enter(now, Role::Primary(primary), event, effects);
        self.watch.back_off(now);
        self.execute_relays(now, effects);
    }

    fn leave_backup(&mut self) -> Option<Backup> {
        match std::mem::replace(&mut self.role, Role::Starting(Starting::new())) {
            Role::Backup(backup) => Some(backup),
            other => {
                self.role = other;
                None
            }
        }
    }

    /// This server is primary now: the requests that it had handed to the peer are its own.
    fn execute_relays(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        effects.push(Effect::AbandonRelays);
        for entry in std::mem::take(&mut self.relays).into_values() {
            self.request(now, entry.to, Via::Client, entry.request, effects);
        }
    }

    fn step_down(&mut self, now: Now, descent: Descent, effects: &mut Vec<Effect<T>>) {
        let role = std::mem::replace(&mut self.role, Role::Starting(Starting::new()));
        let (view, op, waiting) = match role {
            Role::Starting(_) => return,
            Role::Primary(primary) => {
                let (outbox, waiting) = match primary.mode {
                    Mode::Alone { sync } => (sync, None),
                    Mode::Paired { outbox, waiting } => (Some(outbox), Some(waiting)),
                };
                let link = outbox.and_then(|mut outbox| outbox.close());
                effects.extend(link.map(Effect::CloseOutLink));
                (primary.view, primary.machine.op(), waiting)
            }
            Role::Backup(backup) => {
                effects.extend(backup.link.map(Effect::CloseInLink));
                (backup.view, backup.machine.op(), None)
            }
        };
        self.highest_op = self.highest_op.max(op);
        self.watch.restart(now);
        effects.push(Effect::Event(Event::SteppedDown { view, descent }));
        for pending in waiting.into_iter().flat_map(Waiting::into_all) {
            self.pass_on(pending, effects);
        }
        self.probe_if_due(now, effects);
    }

    /// A request that this server executed and could not answer: the new primary can, by the request's
    /// own ids. A request that came by a relay goes back, or it might circle.
    fn pass_on(&mut self, pending: Pending<T>, effects: &mut Vec<Effect<T>>) {
        match pending.via {
            Via::Client => self.relay(pending.to, pending.request, effects),
            Via::Peer => effects.push(Effect::Reply(Reply {
                to: pending.to,
                result: Err(Refusal::Interrupted),
            })),
        }
    }

    fn fenced(&mut self, now: Now, view: View, effects: &mut Vec<Effect<T>>) {
        // [M7] A late copy of an old fence must change nothing.
        if self.standing().view().is_some_and(|own| view > own) {
            self.step_down(now, Descent::HigherView(view), effects);
        }
    }

    fn sync(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Mode::Alone { sync: sync @ None } = &mut primary.mode else {
            return;
        };
        let op = primary.machine.op();
        *sync = Some(Outbox::new(op));
        effects.push(Effect::Event(Event::SyncBegan { op }));
        self.open_link(now, LinkPurpose::Sync, effects);
    }

    fn break_sync(&mut self, now: Now, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Mode::Alone { sync } = &mut primary.mode else {
            return;
        };
        let Some(mut outbox) = sync.take() else {
            return;
        };
        effects.extend(outbox.close().map(Effect::CloseOutLink));
        effects.push(Effect::Event(Event::SyncBroken));
        self.watch.back_off(now);
    }

    /// [M4] When the peer has nearly caught up, the primary makes the new view and, in the same step,
    /// stops answering on its own: the peer may take over from the moment it has the join.
    fn consider_join(&mut self, now: Now, effects: &mut Vec<Effect<T>>) -> bool {
        let Role::Primary(primary) = &mut self.role else {
            return false;
        };
        let Mode::Alone { sync } = &mut primary.mode else {
            return false;
        };
        if sync
            .as_ref()
            .is_some_and(|outbox| outbox.len() > MAX_UNACKED_COMMANDS)
        {
            self.break_sync(now, effects);
            return false;
        }
        let Some(mut outbox) = sync.take_if(|outbox| outbox.has_nearly_caught_up()) else {
            return false;
        };
        primary.view = primary.view.next(self.settings.me);
        let view = primary.view;
        outbox.join(view, primary.machine.op());
        primary.mode = Mode::Paired {
            outbox,
            waiting: Waiting::new(),
        };
        self.watch.restart(now);
        effects.push(Effect::Event(Event::BackupJoining { view }));
        true
    }

    fn open_link(&mut self, now: Now, purpose: LinkPurpose, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let Some((outbox, machine)) = primary.sending() else {
            return;
        };
        effects.extend(outbox.close().map(Effect::CloseOutLink));
        let link = self.next_link;
        self.next_link = OutLink(link.0 + 1);
        let number = self.next_frame;
        self.next_frame = FrameNumber(number.0 + 1);
        let copy = (purpose == LinkPurpose::Sync).then(|| machine.snapshot());
        outbox.open(link, view, number, copy, now);
        self.watch.hear_on_link(now);
        effects.push(Effect::OpenLink {
            link,
            number,
            frame: Frame::Open {
                view,
                purpose,
                peer_timeout: self.settings.peer_timeout,
            },
        });
    }

    fn frame_answered(
        &mut self,
        now: Now,
        link: OutLink,
        frame: FrameNumber,
        answer: FrameAnswer,
        effects: &mut Vec<Effect<T>>,
    ) {
        if let FrameAnswer::Fenced { view } = answer {
            return self.fenced(now, view, effects);
        }
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let view = primary.view;
        let Some((outbox, _)) = primary.sending() else {
            return;
        };
        if !outbox.is_current(link) {
            return;
        }
        let op = match answer {
            FrameAnswer::Ack { op } => op,
            FrameAnswer::PeerTimeout { theirs } => {
                let ours = self.settings.peer_timeout;
                effects.push(Effect::Event(Event::PeerTimeoutMismatch { ours, theirs }));
                return self.out_link_closed(now, link, effects);
            }
            _ => return self.out_link_closed(now, link, effects),
        };
        let acked = outbox.acknowledge(link, frame, op);
        let safe = outbox.acked();
        match acked {
            Acked::Stale => return,
            Acked::Impossible => return self.peer_is_dead(now, Death::Diverged, effects),
            Acked::Joined => effects.push(Effect::Event(Event::BackupJoined { view })),
            Acked::Progress => {}
        }
        self.watch.hear_on_link(now);
        self.watch.note_acked(frame);
        primary.release(safe, Some(frame), effects);
    }

    fn out_link_closed(&mut self, now: Now, link: OutLink, effects: &mut Vec<Effect<T>>) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        match &mut primary.mode {
            Mode::Alone { sync: Some(outbox) } if outbox.is_current(link) => {
                self.break_sync(now, effects);
            }
            Mode::Paired { outbox, .. } if outbox.is_current(link) => {
                effects.extend(outbox.close().map(Effect::CloseOutLink));
                self.suspect(now, Suspicion::LinkClosed, effects);
            }
            Mode::Alone { .. } | Mode::Paired { .. } => {}
        }
    }

    /// Takes a role. A change of role or view voids a probe.
    fn enter(&mut self, now: Now, role: Role<T>, event: Event, effects: &mut Vec<Effect<T>>) {
        self.role = role;
        self.watch.restart(now);
        effects.push(Effect::Event(event));
    }
}

/// Whether `asker` is the backup that the primary of `view` believes in.
fn fits_backup(asker: Standing, view: View) -> bool {
    matches!(asker, Standing::Backup { view: theirs, .. } if theirs == view)
}

fn send<T>(frame: Option<(OutLink, Frame)>, next: &mut FrameNumber, effects: &mut Vec<Effect<T>>) {
    let Some((link, frame)) = frame else { return };
    effects.push(Effect::Send {
        link,
        number: *next,
        frame,
    });
    *next = FrameNumber(next.0 + 1);
}
