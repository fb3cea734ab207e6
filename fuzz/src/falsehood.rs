//! A false server: it listens where the other server should, and answers what the input says.

use arbitrary::Arbitrary;
use lockservice::engine::pair::protocol::{FrameAnswer, ReplicationResponse};
use lockservice::rpc::{accept, greet};
use lockservice::service::{Answer, Opened, Refusal};
use lockservice::transport::{Listener, Stream};
use lockservice::types::{ServerId, View};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::speech::{Known, Op, Place, Record, Sight, encode, frame};

/// What a false server answers to one request.
#[derive(Debug, Arbitrary)]
pub(crate) enum Lie {
    Standing(Place),
    Ack(Op),
    Fenced(Sight),
    Closed,
    PeerTimeout(u16),
    Relayed(bool),
    Opened(Record),
    Interrupted,
    Bytes(Vec<u8>),
    HangUp,
    Silence,
}

/// Answers one connection after the other until there is nothing left to say.
pub(crate) async fn answer(mut listener: Listener, known: &Known, lies: Vec<Lie>) {
    let mut lies = lies.into_iter();
    while let Ok((mut stream, _)) = listener.accept().await {
        if greet(&mut stream).await.is_err() || accept(&mut stream).await.is_err() {
            continue;
        }
        while let Some(number) = hear(&mut stream).await {
            let Some(lie) = lies.next() else { return };
            let Some(bytes) = lie.bytes(number, known) else {
                break;
            };
            if stream.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
}

/// The number of the next request.
async fn hear(stream: &mut Stream) -> Option<u64> {
    type Head = (u32, Duration, ([u8; 16], u64, u32), u64);
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let (head, _) = postcard::take_from_bytes::<Head>(&body).ok()?;
    Some(head.3)
}

impl Lie {
    /// None: it hangs up.
    fn bytes(&self, number: u64, known: &Known) -> Option<Vec<u8>> {
        let answer = |answer: &ReplicationResponse| {
            let ok: Result<&ReplicationResponse, ()> = Ok(answer);
            Some(frame(&encode(&(number, ok))))
        };
        let deliver = |is: FrameAnswer| answer(&ReplicationResponse::Append(is));
        let relay = |is: Result<Answer, Refusal>| answer(&ReplicationResponse::Relay(is));
        match self {
            Self::Standing(place) => answer(&ReplicationResponse::Probe(place.introduction(known))),
            Self::Ack(op) => deliver(FrameAnswer::Ack {
                op: op.number(known),
            }),
            Self::Fenced(sight) => deliver(FrameAnswer::HigherView {
                view: sight.view(known),
            }),
            Self::Closed => deliver(FrameAnswer::Closed),
            Self::PeerTimeout(millis) => deliver(FrameAnswer::PeerTimeout {
                theirs: Duration::from_millis(u64::from(*millis)),
            }),
            Self::Relayed(granted) => relay(Ok(Answer::Call(*granted))),
            Self::Opened(record) => relay(Ok(Answer::Opened(Opened {
                session: record.number(known),
                time_to_live: Duration::from_secs(1),
                inside: Vec::new(),
                view: View::first(ServerId::A),
            }))),
            Self::Interrupted => relay(Err(Refusal::Interrupted)),
            Self::Bytes(bytes) => Some(frame(bytes)),
            Self::HangUp => None,
            Self::Silence => Some(Vec::new()),
        }
    }
}
