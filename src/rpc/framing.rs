//! A stream as a transport for tarpc.
//!
//! tarpc flushes whenever it has nothing more to write at the moment. With many calls in flight
//! that is after nearly every message, and each flush is a system call, the most expensive part of
//! a message. So a flush is deferred once: the connection's task is woken again at once, and what
//! became ready meanwhile goes out by the same write. A task with nothing else to do is polled
//! immediately, so a lone call loses little; a server that has answered all requests does not
//! defer.
//!
//! A server reads nothing from a client that does not read its answers: otherwise such a client
//! could fill the server's memory with answers. (A client always reads, or two ends with full
//! buffers would wait for each other for ever.)
//!
//! Each incoming message counts against Tokio's budget of the task. Otherwise a client that floods
//! its connection would keep the thread from all others, and the servers from their heartbeats.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Sink, SinkExt as _, Stream as Messages, StreamExt as _};
use serde::Serialize;
use tarpc::{ClientMessage, Response};
use tokio::task::coop::poll_proceed;
use tokio_util::codec::Framed;

use super::codec::Codec;
use crate::transport::Stream;

pub use super::codec::Incoming;

/// A transport that reads `In` and writes `Out`.
///
/// A frame that is too large, or is not an `In`, ends it with an error.
pub struct Transport<In, Out> {
    frames: Framed<Stream, Codec<In, Out>>,
    is_roomy: bool,
    flush: Flush,
    stuck: Stuck,
}

/// Whether to read while the other side does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// A client always reads.
    Ignored,
    /// A server whose client reads: its messages are read.
    No,
    /// A server whose client does not read: nothing is read from it.
    Yes,
}

/// The initial size of a connection's buffers, in bytes: a few messages. Most connections are idle.
const SMALL_BUFFER: usize = 512;

/// Their size once many messages arrive at a time, in bytes; and how much is collected for one
/// write.
const LARGE_BUFFER: usize = 8 * 1024;

/// The state of a deferred flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Nothing has been written since the last flush.
    Clean,
    /// Something has been written, and no flush requested.
    Written,
    /// The same, and the next flush is not deferred.
    AtOnce,
    /// A flush was requested, and deferred.
    PutOff,
}

/// The transport of a server: reads requests, writes responses.
pub type ServerTransport<Req, Resp> = Transport<ClientMessage<Req>, Response<Resp>>;

/// The transport of a client: reads responses, writes requests.
pub type ClientTransport<Req, Resp> = Transport<Response<Resp>, ClientMessage<Req>>;

/// Makes the server's end of a connection that has passed its [`preface`](super::preface).
///
/// A deadline further away than an hour is taken for one of an hour.
#[must_use]
pub fn server_transport<Req, Resp>(
    stream: Stream,
    max_frame_bytes: usize,
) -> ServerTransport<Req, Resp>
where
    ClientMessage<Req>: Incoming,
{
    Transport::new(stream, max_frame_bytes, Stuck::No)
}

/// Makes the client's end of a connection that has passed its [`preface`](super::preface).
#[must_use]
pub fn client_transport<Req, Resp>(
    stream: Stream,
    max_frame_bytes: usize,
) -> ClientTransport<Req, Resp>
where
    Response<Resp>: Incoming,
{
    Transport::new(stream, max_frame_bytes, Stuck::Ignored)
}

impl<In: Incoming, Out> Transport<In, Out> {
    fn new(stream: Stream, max_frame_bytes: usize, stuck: Stuck) -> Self {
        let codec = Codec::new(max_frame_bytes);
        let mut frames = Framed::with_capacity(stream, codec, SMALL_BUFFER);
        frames.set_backpressure_boundary(LARGE_BUFFER);
        Self {
            frames,
            is_roomy: false,
            flush: Flush::Clean,
            stuck,
        }
    }

    /// Grows the buffer when one read has brought several messages. It would not grow by itself, as
    /// decoding makes room again.
    fn make_room(&mut self) {
        let waiting = self.frames.read_buffer().len();
        if !self.is_roomy && waiting > SMALL_BUFFER / 4 {
            self.frames
                .read_buffer_mut()
                .reserve(LARGE_BUFFER - waiting.min(LARGE_BUFFER));
            self.is_roomy = true;
        }
    }
}

impl<In, Out> Transport<In, Out> {
    /// Sets the size limit of written frames, if it differs from that of read ones.
    #[must_use]
    pub fn writing_up_to(mut self, max_frame_bytes: usize) -> Self {
        self.frames.codec_mut().write_up_to(max_frame_bytes);
        self
    }

    /// Does not defer the next flush, as nothing more is about to be written.
    pub fn flush_at_once(&mut self) {
        if self.flush == Flush::Written {
            self.flush = Flush::AtOnce;
        }
    }

    /// Notes whether the other side reads. Once it does again, its messages are read.
    fn note<T>(&mut self, written: Poll<T>, cx: &Context<'_>) -> Poll<T> {
        let now = match (self.stuck, written.is_pending()) {
            (Stuck::Ignored, _) => Stuck::Ignored,
            (_, true) => Stuck::Yes,
            (_, false) => Stuck::No,
        };
        if (self.stuck, now) == (Stuck::Yes, Stuck::No) {
            cx.waker().wake_by_ref();
        }
        self.stuck = now;
        written
    }
}

impl<In, Out> fmt::Debug for Transport<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("flush", &self.flush)
            .finish_non_exhaustive()
    }
}

impl<In: Incoming, Out> Messages for Transport<In, Out> {
    type Item = io::Result<In>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<In>>> {
        if self.stuck == Stuck::Yes {
            return Poll::Pending;
        }
        // Hundreds of messages fit into one read, and tarpc refuses those beyond its limit in a
        // loop.
        let turn = ready!(poll_proceed(cx));
        let next = ready!(self.frames.poll_next_unpin(cx));
        self.make_room();
        turn.made_progress();
        Poll::Ready(next)
    }
}

impl<In, Out: Serialize> Sink<Out> for Transport<In, Out> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.frames.poll_ready_unpin(cx);
        self.note(ready, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Out) -> io::Result<()> {
        self.frames.start_send_unpin(message)?;
        if self.flush == Flush::Clean {
            self.flush = Flush::Written;
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.flush {
            Flush::Clean => Poll::Ready(Ok(())),
            Flush::Written => {
                self.flush = Flush::PutOff;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Flush::AtOnce | Flush::PutOff => {
                let flushed = self.frames.poll_flush_unpin(cx);
                ready!(self.note(flushed, cx))?;
                self.flush = Flush::Clean;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.frames.poll_close_unpin(cx)
    }
}

#[cfg(test)]
mod tests;
