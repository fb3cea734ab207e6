//! Messages as frames: four bytes of length, big-endian, then the message in postcard.
//!
//! A length reserves no memory in advance: only bytes that have arrived take room.
//!
//! A request carries its caller's deadline. tarpc panics while it decodes one that overflows the
//! clock, and its timer wheel panics at about two years. So that a hostile client cannot cause a
//! panic, neither reaches tarpc: the first ends the connection with an error, the second is cut to
//! [`LONGEST_WAIT`].

use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::{ClientMessage, Response};
use tokio_util::codec::{Decoder, Encoder};

use crate::config::LONGEST_WAIT;

const HEAD_BYTES: usize = 4;

/// An incoming message.
pub trait Incoming: Sized {
    /// Decodes a whole frame.
    ///
    /// # Errors
    ///
    /// When the frame is not exactly one message.
    fn decode(frame: &[u8]) -> io::Result<Self>;
}

impl<Resp: DeserializeOwned> Incoming for Response<Resp> {
    fn decode(frame: &[u8]) -> io::Result<Self> {
        decode_whole(frame)
    }
}

impl<Req: DeserializeOwned> Incoming for ClientMessage<Req> {
    fn decode(frame: &[u8]) -> io::Result<Self> {
        check_deadline(frame)?;
        let mut message = decode_whole(frame)?;
        if let Self::Request(request) = &mut message {
            let latest = Instant::now() + LONGEST_WAIT;
            request.context.deadline = request.context.deadline.min(latest);
        }
        Ok(message)
    }
}

/// Decodes the beginning of a [`ClientMessage`] as tarpc lays it out: the variant, and for a
/// request the seconds and nanoseconds until its deadline.
fn check_deadline(frame: &[u8]) -> io::Result<()> {
    const REQUEST: u32 = 0;
    let (variant, rest) = postcard::take_from_bytes::<u32>(frame).map_err(invalid)?;
    if variant != REQUEST {
        return Ok(());
    }
    let (wait, _) = postcard::take_from_bytes::<Duration>(rest).map_err(invalid)?;
    match Instant::now().checked_add(wait) {
        Some(deadline) if deadline.checked_add(LONGEST_WAIT).is_some() => Ok(()),
        _ => Err(invalid("a deadline beyond the end of time")),
    }
}

fn decode_whole<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(frame).map_err(invalid)? {
        (message, []) => Ok(message),
        _ => Err(invalid("bytes after the end of the message")),
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads `In` and writes `Out`.
pub(super) struct Codec<In, Out> {
    max_incoming_bytes: usize,
    max_outgoing_bytes: usize,
    messages: PhantomData<fn(Out) -> In>,
}

impl<In, Out> Codec<In, Out> {
    pub(super) const fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_incoming_bytes: max_frame_bytes,
            max_outgoing_bytes: max_frame_bytes,
            messages: PhantomData,
        }
    }

    pub(super) const fn write_up_to(&mut self, max_frame_bytes: usize) {
        self.max_outgoing_bytes = max_frame_bytes;
    }
}

fn check_length(bytes: usize, max: usize) -> io::Result<()> {
    if bytes <= max {
        return Ok(());
    }
    Err(invalid(format!(
        "a frame of {bytes} bytes, where {max} are the most"
    )))
}

impl<In: Incoming, Out> Decoder for Codec<In, Out> {
    type Item = In;
    type Error = io::Error;

    fn decode(&mut self, received: &mut BytesMut) -> io::Result<Option<In>> {
        let Some((&head, body)) = received.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(head)).map_err(invalid)?;
        check_length(length, self.max_incoming_bytes)?;
        let Some(frame) = body.get(..length) else {
            return Ok(None);
        };
        let message = In::decode(frame)?;
        received.advance(HEAD_BYTES + length);
        Ok(Some(message))
    }
}

impl<In, Out: Serialize> Encoder<Out> for Codec<In, Out> {
    type Error = io::Error;

    /// Leaves `outgoing` as it was when the message cannot be sent, so that the connection goes on.
    fn encode(&mut self, message: Out, outgoing: &mut BytesMut) -> io::Result<()> {
        let start = outgoing.len();
        outgoing.put_bytes(0, HEAD_BYTES);
        let encoded = postcard::to_io(&message, (&mut *outgoing).writer())
            .map(drop)
            .map_err(invalid);
        let length = outgoing.len() - start - HEAD_BYTES;
        if let Err(error) = encoded.and_then(|()| check_length(length, self.max_outgoing_bytes)) {
            outgoing.truncate(start);
            return Err(error);
        }
        let head = u32::try_from(length).map_err(invalid)?.to_be_bytes();
        outgoing[start..start + HEAD_BYTES].copy_from_slice(&head);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Requests = Codec<ClientMessage<String>, Response<String>>;

    fn request(wait: Duration) -> Vec<u8> {
        let trace = ([0_u8; 16], 0_u64, 1_u32);
        postcard::to_stdvec(&(0_u32, wait, trace, 7_u64, "hello")).expect("it encodes")
    }

    fn wait_of(body: &[u8]) -> io::Result<Duration> {
        match ClientMessage::<String>::decode(body)? {
            ClientMessage::Request(request) => Ok(request
                .context
                .deadline
                .saturating_duration_since(Instant::now())),
            other => panic!("not a request: {other:?}"),
        }
    }

    #[test]
    fn a_deadline_is_cut_down_to_the_longest_wait() {
        let century = Duration::from_hours(100 * 365 * 24);
        let wait = wait_of(&request(century)).expect("it decodes");
        assert!(wait <= LONGEST_WAIT && wait > LONGEST_WAIT / 2, "{wait:?}");
        let second = Duration::from_secs(1);
        assert!(wait_of(&request(second)).expect("it decodes") <= second);
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_an_error() {
        let near_the_end = Duration::from_secs(i64::MAX.unsigned_abs());
        for wait in [Duration::MAX, Duration::from_secs(u64::MAX), near_the_end] {
            let error = wait_of(&request(wait)).expect_err("an overflow");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{wait:?}");
        }
    }

    #[test]
    fn a_duration_that_overflows_itself_is_an_error() {
        let frame = postcard::to_stdvec(&(0_u32, u64::MAX, u32::MAX)).expect("it encodes");
        wait_of(&frame).expect_err("refused");
    }

    #[test]
    fn no_beginning_of_a_request_panics() {
        let whole = request(Duration::from_secs(1));
        for length in 0..whole.len() {
            assert!(wait_of(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn bytes_after_the_message_are_an_error() {
        let mut body = request(Duration::from_secs(1));
        body.push(0);
        wait_of(&body).expect_err("refused");
    }

    #[test]
    fn a_hostile_length_reserves_nothing() {
        let mut received = BytesMut::from(&[0, 0, 0xff, 0xff, 0][..]);
        let before = received.capacity();
        let decoded = Requests::new(64 * 1024).decode(&mut received);
        assert!(matches!(decoded, Ok(None)), "{decoded:?}");
        assert_eq!(received.capacity(), before);
    }

    #[test]
    fn a_frame_has_as_many_bytes_as_it_may_have_and_no_more() {
        let body = request(Duration::from_secs(1));
        let head = u32::try_from(body.len())
            .expect("a small frame")
            .to_be_bytes();
        let frame = [&head[..], &body[..]].concat();
        let decode = |max| Requests::new(max).decode(&mut BytesMut::from(&frame[..]));
        assert!(matches!(decode(body.len()), Ok(Some(_))));
        decode(body.len() - 1).expect_err("refused");
    }

    #[test]
    fn a_message_too_large_leaves_the_ones_before_it_whole() {
        let answer = |text: String| Response {
            request_id: 1,
            message: Ok(text),
        };
        let mut outgoing = BytesMut::new();
        let mut codec = Requests::new(100);
        codec
            .encode(answer("small".into()), &mut outgoing)
            .expect("it fits");
        let before = outgoing.clone();
        codec
            .encode(answer("x".repeat(100)), &mut outgoing)
            .expect_err("too large");
        assert_eq!(outgoing, before);
    }

    #[test]
    fn what_is_written_can_be_larger_than_what_is_read() {
        let answer = Response {
            request_id: 1,
            message: Ok("x".repeat(100)),
        };
        let mut codec = Requests::new(10);
        codec.write_up_to(200);
        let mut frame = BytesMut::new();
        codec.encode(answer, &mut frame).expect("it fits");
        codec.decode(&mut frame).expect_err("refused");
    }
}
