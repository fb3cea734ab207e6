//! What a hostile client or a false peer says: frames of the right form, and of nearly the right
//! form.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use lockservice::engine::pair::protocol::{
    Frame, Introduction, PeerState, ReplicationRequest, StreamPurpose,
};
use lockservice::machine::Command;
use lockservice::service::{
    AcquireOptions, CallId, Cursor, LockMode, LockServiceRequest, Request, Revision, SessionTerms,
    Verb,
};
use lockservice::types::{
    ClientAddress, ClientId, ClusterId, Digest, Lease, LockName, OpNumber, Retention, Seq,
    ServerId, SessionId, SessionName, Token, UnixTime, View,
};
use serde::Serialize;

/// What a hostile stranger can find out, and may use.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) client: ClientId,
    pub(crate) record: SessionId,
    pub(crate) view: View,
    pub(crate) op: OpNumber,
}

/// Something to say on a connection after its preface.
#[derive(Debug, Arbitrary)]
pub(crate) enum Speech {
    Bytes(Vec<u8>),
    Framed(Vec<u8>),
    /// A length, and nothing after it.
    Head(u32),
    Cancel(u8),
    Ask {
        wait: Wait,
        number: u8,
        what: Ask,
        /// One byte of the frame is another one.
        slip: Option<(u16, u8)>,
    },
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Wait {
    Long,
    Millis(u16),
    Any(u64, u32),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Ask {
    Status,
    Open(Who, Term),
    Lock(Call, Name),
    Unlock(Call, Name),
    KeepAlive(Who, Record),
    Goodbye(Who, Record),
    Standing(Place),
    Fence(Sight),
    OpenLink(Sight, Purpose, Pace),
    Copy(Sight, Vec<u8>),
    Forward(Sight, Op, Vec<Order>, Option<u64>),
    Join(Sight, Op),
    Relay(Order),
    UnknownMethod(u32, Vec<u8>),
    Acquire(Call, Name, Way),
    Release(Call, Number),
    Poll(Who, Record, u64),
    BreakLock(Call, Name, u64, String),
    Show(Name),
    List(String, u32, Option<Name>),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Who {
    Known,
    Any(u8),
}

/// The lease of a session; none at all for other records.
#[derive(Debug, Arbitrary)]
pub(crate) enum Term {
    None,
    Shortest,
    Millis(u32),
    /// With a name, and inside a session.
    Known(u32, String, u64),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Way {
    /// Exclusive where it is even, shared where it is odd, and from 128 on a number of permits.
    mode: u8,
    waits: bool,
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Record {
    Known,
    Near(i8),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Number {
    Small(u8),
    Large(u8),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
pub(crate) struct Call {
    who: Who,
    record: Record,
    seq: Number,
    first_incomplete: Number,
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Name {
    Short(u8),
    Long(u16),
    Bytes(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Sight {
    Same,
    Next(bool),
    Any(u64, bool),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Op {
    Near(i8),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Place {
    Starting,
    Primary(Sight, Op),
    Backup(Sight, Op),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Purpose {
    Form(Op),
    Resume,
    Sync,
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Pace {
    Right,
    Any(u64, u32),
}

#[derive(Debug, Arbitrary)]
pub(crate) enum Order {
    Open(Who, Term),
    Lock(Call, Name),
    Unlock(Call, Name),
    Goodbye(Who, Record),
    Expire(Record, Number),
    Acquire(Call, Name, Way),
    Release(Call, Number),
    Break(Call, Name, u64),
    Clock(u64),
    Retain(Call, Number, u32),
    Elapse(u64, u32),
}

impl Speech {
    pub(crate) fn bytes(&self, known: &Known) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Framed(body) => frame(body),
            Self::Head(length) => length.to_be_bytes().to_vec(),
            Self::Cancel(number) => frame(&encode(&(1_u32, TRACE, u64::from(*number)))),
            Self::Ask {
                wait,
                number,
                what,
                slip,
            } => {
                let head = (0_u32, wait.duration(), TRACE, u64::from(*number));
                let mut body = [encode(&head), what.bytes(known)].concat();
                if let Some((place, byte)) = slip {
                    let place = usize::from(*place) % body.len();
                    body[place] = *byte;
                }
                frame(&body)
            }
        }
    }
}

const TRACE: ([u8; 16], u64, u32) = ([0; 16], 0, 1);

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small frame");
    [&length.to_be_bytes()[..], body].concat()
}

pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("it encodes")
}

impl Wait {
    /// As it is encoded: the nanoseconds may be more than a second.
    fn duration(&self) -> (u64, u32) {
        match *self {
            Self::Long => (60, 0),
            Self::Millis(millis) => {
                let wait = Duration::from_millis(millis.into());
                (wait.as_secs(), wait.subsec_nanos())
            }
            Self::Any(seconds, nanoseconds) => (seconds, nanoseconds),
        }
    }
}

impl Ask {
    fn bytes(&self, known: &Known) -> Vec<u8> {
        type Client = LockServiceRequest;
        type Peer = ReplicationRequest;
        match self {
            Self::Status => encode(&Client::Status {}),
            Self::Open(who, term) => encode(&Client::OpenSession {
                client: who.id(known),
                session: term.session(),
            }),
            Self::Acquire(call, name, way) => encode(&Client::Acquire {
                id: call.id(known),
                name: name.name().as_str().to_owned(),
                options: way.how(),
            }),
            Self::Release(call, acquired) => encode(&Client::Release {
                id: call.id(known),
                acquired: Seq(acquired.value()),
            }),
            Self::BreakLock(call, name, token, reason) => encode(&Client::BreakLock {
                id: call.id(known),
                name: name.name().as_str().to_owned(),
                token: Token(*token),
                reason: reason.clone(),
            }),
            Self::Show(name) => encode(&Client::Show {
                name: name.name().as_str().to_owned(),
            }),
            Self::List(prefix, shard, after) => encode(&Client::List {
                prefix: prefix.clone(),
                from: Cursor {
                    shard: *shard,
                    after: after.as_ref().map(Name::name),
                },
            }),
            Self::Poll(who, record, since) => encode(&Client::Poll {
                client: who.id(known),
                session: record.number(known),
                since: Revision(*since),
                view: View::first(ServerId::A),
            }),
            Self::Lock(call, name) => lock(0, call.id(known), name),
            Self::Unlock(call, name) => lock(1, call.id(known), name),
            Self::KeepAlive(who, record) => encode(&Client::KeepAlive {
                client: who.id(known),
                session: record.number(known),
            }),
            Self::Goodbye(who, record) => encode(&Client::CloseSession {
                client: who.id(known),
                session: record.number(known),
            }),
            Self::Standing(place) => encode(&Peer::Probe {
                asker: place.introduction(known),
            }),
            Self::Fence(sight) => encode(&Peer::AnnounceView {
                view: sight.view(known),
            }),
            Self::OpenLink(sight, purpose, pace) => deliver(&Frame::Open {
                view: sight.view(known),
                purpose: purpose.purpose(known),
                peer_timeout: pace.peer_timeout(),
            }),
            Self::Copy(sight, chunk) => {
                let head = (1_u32, 1_u32, sight.view(known));
                [encode(&head), chunk.clone()].concat()
            }
            Self::Forward(sight, first_op, orders, digest) => deliver(&Frame::Forward {
                view: sight.view(known),
                first_op: first_op.number(known),
                commands: orders.iter().map(|order| order.command(known)).collect(),
                digest: digest.map(Digest),
            }),
            Self::Join(sight, op) => deliver(&Frame::Join {
                view: sight.view(known),
                op: op.number(known),
            }),
            Self::Relay(order) => encode(&Peer::Relay {
                request: order.request(known),
            }),
            Self::UnknownMethod(method, rest) => [encode(method), rest.clone()].concat(),
        }
    }
}

fn deliver(frame: &Frame) -> Vec<u8> {
    encode(&ReplicationRequest::Append {
        frame: frame.clone(),
    })
}

/// A call whose name need not be one, or not be text.
fn lock(verb: u32, id: CallId, name: &Name) -> Vec<u8> {
    const LOCK: u32 = 1;
    encode(&(LOCK + verb, id, name.bytes()))
}

impl Who {
    fn id(&self, known: &Known) -> ClientId {
        match self {
            Self::Known => known.client,
            Self::Any(value) => ClientId::from_u128(u128::from(*value)),
        }
    }
}

impl Record {
    pub(crate) fn number(&self, known: &Known) -> SessionId {
        SessionId(match *self {
            Self::Known => known.record.0,
            Self::Near(offset) => known.record.0.wrapping_add_signed(offset.into()),
            Self::Any(number) => number,
        })
    }
}

impl Number {
    fn value(&self) -> u64 {
        match *self {
            Self::Small(number) => number.into(),
            Self::Large(below) => u64::MAX - u64::from(below),
            Self::Any(number) => number,
        }
    }
}

impl Call {
    fn id(&self, known: &Known) -> CallId {
        CallId {
            client: self.who.id(known),
            session: self.record.number(known),
            seq: Seq(self.seq.value()),
            first_incomplete: Seq(self.first_incomplete.value()),
        }
    }
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Short(which) => format!("lock-{which}").into_bytes(),
            Self::Long(bytes) => vec![b'x'; usize::from(*bytes)],
            Self::Bytes(bytes) => bytes.clone(),
        }
    }

    /// A name that the library lets one build.
    fn name(&self) -> LockName {
        let text = String::from_utf8_lossy(&self.bytes()).into_owned();
        LockName::new(text).unwrap_or_else(|_| "x".parse().expect("a name"))
    }
}

impl Sight {
    pub(crate) fn view(&self, known: &Known) -> View {
        match *self {
            Self::Same => known.view,
            Self::Next(primary) => View {
                number: known.view.number + 1,
                primary: server(primary),
            },
            Self::Any(number, primary) => View {
                number,
                primary: server(primary),
            },
        }
    }
}

fn server(is_first: bool) -> ServerId {
    if is_first { ServerId::A } else { ServerId::B }
}

impl Op {
    pub(crate) fn number(&self, known: &Known) -> OpNumber {
        OpNumber(match *self {
            Self::Near(offset) => known.op.0.wrapping_add_signed(offset.into()),
            Self::Any(number) => number,
        })
    }
}

impl Place {
    pub(crate) fn introduction(&self, known: &Known) -> Introduction {
        Introduction {
            state: self.state(known),
            peer_timeout: lockservice::Timing::default().peer_timeout,
            highest: known.op,
            dropped: None,
            limits: lockservice::Limits::default().into(),
        }
    }

    fn state(&self, known: &Known) -> PeerState {
        match self {
            Self::Starting => PeerState::Starting,
            Self::Primary(sight, op) => PeerState::Primary {
                view: sight.view(known),
                op: op.number(known),
            },
            Self::Backup(sight, op) => PeerState::Backup {
                view: sight.view(known),
                op: op.number(known),
            },
        }
    }
}

impl Purpose {
    fn purpose(&self, known: &Known) -> StreamPurpose {
        match self {
            Self::Form(base) => StreamPurpose::Form {
                base: base.number(known),
                cluster: ClusterId(1),
            },
            Self::Resume => StreamPurpose::Resume,
            Self::Sync => StreamPurpose::Sync,
        }
    }
}

impl Pace {
    fn peer_timeout(&self) -> Duration {
        match *self {
            Self::Right => lockservice::Timing::default().peer_timeout,
            Self::Any(seconds, nanoseconds) => Duration::new(seconds >> 8, nanoseconds),
        }
    }
}

impl Term {
    fn session(&self) -> Option<Arc<SessionTerms>> {
        let lease = self.lease()?;
        Some(match *self {
            Self::Known(_, ref name, inside) => Arc::new(SessionTerms {
                lease,
                name: SessionName::new(name.as_str()).ok(),
                inside: Some(SessionId(inside)),
                address: Some(ClientAddress::new(name)),
            }),
            _ => SessionTerms::nameless(lease),
        })
    }

    fn lease(&self) -> Option<Lease> {
        let millis = match *self {
            Self::None => return None,
            Self::Shortest => return Lease::new(Lease::MIN).ok(),
            Self::Millis(millis) | Self::Known(millis, ..) => millis,
        };
        Lease::new(Duration::from_millis(millis.into())).ok()
    }
}

impl Way {
    fn how(self) -> AcquireOptions {
        let permits = self.mode.checked_sub(127).and_then(NonZeroU8::new);
        let mode = match permits {
            Some(most) => LockMode::Permits(most.into()),
            None if self.mode % 2 == 1 => LockMode::Shared,
            None => LockMode::Exclusive,
        };
        AcquireOptions {
            mode,
            waits: self.waits,
        }
    }
}

impl Order {
    fn command(&self, known: &Known) -> Command {
        match self {
            Self::Open(who, term) => Command::OpenSession {
                client: who.id(known),
                terms: term.session(),
            },
            Self::Acquire(call, name, way) => Command::Acquire {
                id: call.id(known),
                name: name.name(),
                options: way.how(),
            },
            Self::Break(call, name, token) => Command::Break {
                id: call.id(known),
                name: name.name(),
                token: Token(*token),
            },
            Self::Release(call, acquired) => Command::Release {
                id: call.id(known),
                acquired: Seq(acquired.value()),
            },
            Self::Lock(call, name) => call_command(call.id(known), Verb::Lock, name),
            Self::Unlock(call, name) => call_command(call.id(known), Verb::Unlock, name),
            Self::Goodbye(who, record) => Command::CloseSession {
                client: who.id(known),
                session: record.number(known),
            },
            Self::Expire(record, seen) => Command::Expire {
                session: record.number(known),
                seen: Seq(seen.value()),
            },
            Self::Retain(call, acquired, millis) => Command::Retain {
                id: call.id(known),
                acquired: Seq(acquired.value()),
                retention: retention(*millis),
            },
            Self::Elapse(token, left) => Command::Elapse {
                token: Token(*token),
                left: retention(*left),
            },
            Self::Clock(time) => Command::Clock {
                time: UnixTime(*time),
            },
        }
    }

    fn request(&self, known: &Known) -> Request {
        match self.command(known) {
            Command::OpenSession { client, terms } => Request::OpenSession { client, terms },
            Command::Acquire { id, name, options } => Request::Acquire { id, name, options },
            Command::Release { id, acquired } => Request::Release { id, acquired },
            Command::Break { id, name, token } => Request::Break {
                id,
                name,
                token,
                reason: String::new(),
                address: None,
            },
            Command::Retain {
                id,
                acquired,
                retention,
            } => Request::Retain {
                id,
                acquired,
                retention,
            },
            Command::Call { id, verb, name } => Request::Call { id, verb, name },
            Command::CloseSession { client, session } => Request::CloseSession { client, session },
            Command::Expire { session, .. } => Request::KeepAlive {
                client: known.client,
                session,
            },
            Command::Elapse { .. } | Command::Clock { .. } => Request::KeepAlive {
                client: known.client,
                session: known.record,
            },
        }
    }
}

fn retention(millis: u32) -> Retention {
    Retention::try_from(millis).unwrap_or_default()
}

fn call_command(id: CallId, verb: Verb, name: &Name) -> Command {
    let name = name.name();
    Command::Call { id, verb, name }
}
