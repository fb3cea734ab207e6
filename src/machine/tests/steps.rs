//! Sequences of commands for property tests: short, and about few things, so that they meet.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::service::LockMode;
use crate::types::{ClientAddress, SessionName};

/// Commands for a machine that starts at op 0.
pub(super) fn commands() -> impl Strategy<Value = Vec<Command>> {
    vec(step(), 1..60).prop_map(|steps| {
        let mut opened = Vec::new();
        let mut commands = Vec::new();
        for step in steps {
            let command = step.command(&opened);
            commands.push(command);
            if let Some(Command::OpenSession { client, .. }) = commands.last() {
                opened.push((SessionId(commands.len() as u64), *client));
            }
        }
        commands
    })
}

/// What a call does.
#[derive(Debug, Clone)]
enum Deed {
    Plain(Verb),
    Acquire(AcquireOptions),
    /// What the call this far before acquired.
    Release(u64),
    Break(Token),
    /// What the call this far before acquired, for so long.
    Retain(u64, Retention),
}

/// A command that names its record by its place among those opened before.
#[derive(Debug, Clone)]
enum Step {
    Open {
        client: u8,
        /// The length of its name in bytes, and how many ops before it the outer record was opened.
        session: Option<(usize, u64)>,
    },
    Call {
        record: usize,
        stranger: bool,
        numbers: (u64, u64),
        deed: Deed,
        lock: u8,
    },
    Goodbye {
        record: usize,
        stranger: bool,
    },
    Expire {
        record: usize,
        seen: u64,
    },
    Clock(u64),
    Elapse(Token, Retention),
}

impl Step {
    fn command(self, opened: &[(SessionId, ClientId)]) -> Command {
        let find = |record: usize, stranger| {
            let (number, client) = *opened
                .get(record % opened.len().max(1))
                .unwrap_or(&(SessionId(0), ALICE));
            let client = if stranger {
                ClientId::from_u128(99)
            } else {
                client
            };
            (number, client)
        };
        match self {
            Self::Open { client, session } => Command::OpenSession {
                client: ClientId::from_u128(client.into()),
                terms: session.map(|(bytes, before)| {
                    let text = "x".repeat(bytes);
                    let last = opened.last().map_or(0, |(number, _)| number.0);
                    Arc::new(SessionTerms {
                        lease: Lease::new(Lease::MIN).expect("a lease"),
                        name: SessionName::new(text.as_str()).ok(),
                        inside: (last + 2).checked_sub(before).map(SessionId),
                        address: Some(ClientAddress::new(&text)),
                    })
                }),
            },
            Self::Elapse(token, left) => Command::Elapse { token, left },
            Self::Call {
                record,
                stranger,
                numbers: (seq, first_incomplete),
                deed,
                lock,
            } => {
                let (record, client) = find(record, stranger);
                let id = CallId {
                    client,
                    session: record,
                    seq: Seq(seq),
                    first_incomplete: Seq(first_incomplete),
                };
                let lock = format!("lock-{lock}");
                match deed {
                    Deed::Plain(verb) => call(id, verb, &lock),
                    Deed::Acquire(how) => Command::Acquire {
                        id,
                        name: name(&lock),
                        options: how,
                    },
                    Deed::Break(token) => Command::Break {
                        id,
                        name: name(&lock),
                        token,
                    },
                    Deed::Retain(before, retention) => Command::Retain {
                        id,
                        acquired: Seq(seq.saturating_sub(before)),
                        retention,
                    },
                    Deed::Release(before) => Command::Release {
                        id,
                        acquired: Seq(seq.saturating_sub(before)),
                    },
                }
            }
            Self::Goodbye { record, stranger } => {
                let (record, client) = find(record, stranger);
                Command::CloseSession {
                    client,
                    session: record,
                }
            }
            Self::Expire { record, seen } => Command::Expire {
                session: find(record, false).0,
                seen: Seq(seen),
            },
            Self::Clock(time) => Command::Clock {
                time: UnixTime(time),
            },
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let record = 0..4_usize;
    let stranger = prop::bool::weighted(0.03);
    let call = (record.clone(), stranger, numbers(), deed(), 0..3_u8);
    let session = prop::option::weighted(0.7, (0..300_usize, 0..6_u64));
    let open = (0..3_u8, session);
    prop_oneof![
        3 => open.prop_map(|(client, session)| Step::Open { client, session }),
        1 => (token(), retention()).prop_map(|(token, left)| Step::Elapse(token, left)),
        20 => call.prop_map(|(record, stranger, numbers, deed, lock)| Step::Call {
            record,
            stranger,
            numbers,
            deed,
            lock,
        }),
        1 => (record.clone(), stranger)
            .prop_map(|(record, stranger)| Step::Goodbye { record, stranger }),
        1 => (0..4_u64).prop_map(Step::Clock),
        1 => (record, number()).prop_map(|(record, seen)| Step::Expire { record, seen }),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let permits = (1..4_u32).prop_map(|most| LockMode::Permits(most.try_into().expect("not zero")));
    let mode =
        prop_oneof![2 => Just(LockMode::Exclusive), 1 => Just(LockMode::Shared), 2 => permits];
    let how =
        (mode, prop::bool::weighted(0.8)).prop_map(|(mode, waits)| AcquireOptions { mode, waits });
    prop_oneof![
        1 => prop_oneof![Just(Verb::Lock), Just(Verb::Unlock)].prop_map(Deed::Plain),
        2 => how.prop_map(Deed::Acquire),
        2 => (0..4_u64).prop_map(Deed::Release),
        2 => token().prop_map(Deed::Break),
        2 => (0..4_u64, retention()).prop_map(|(before, time)| Deed::Retain(before, time)),
    ]
}

fn token() -> impl Strategy<Value = Token> {
    (1..30_u64).prop_map(Token)
}

fn retention() -> impl Strategy<Value = Retention> {
    prop_oneof![Just(0), 1..4_u32, Just(86_400_000)]
        .prop_map(|millis| millis.try_into().expect("a day at most"))
}

/// The numbers of a call, seldom such as no honest client sends.
fn numbers() -> impl Strategy<Value = (u64, u64)> {
    (number(), number(), prop::bool::weighted(0.05)).prop_map(|(one, other, is_odd)| {
        let (seq, first_incomplete) = (one.max(other), one.min(other));
        if is_odd {
            (first_incomplete, seq)
        } else {
            (seq, first_incomplete)
        }
    })
}

/// A sequence number: mostly small, now and then at an edge.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        30 => 0..8_u64,
        1 => CALL_WINDOW - 2..CALL_WINDOW + 8,
        1 => u64::MAX - 2..=u64::MAX,
    ]
}
