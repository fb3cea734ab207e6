//! What is on the way between the servers, and how it gets lost.

use std::collections::VecDeque;
use std::rc::Rc;

use super::cores::{Caller, Try};
use crate::engine::pair::core::{FrameNumber, InStream, ProbeResult};
use crate::engine::pair::protocol::{Frame, FrameAnswer, Introduction};
use crate::service::{Answer, Refusal, Request};
use crate::types::{ServerId, View};

/// One direction of a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pipe<M> {
    pub(super) queue: VecDeque<M>,
    /// It has been closed behind what is in the queue.
    pub(super) ended: bool,
    /// There is somebody who reads it.
    pub(super) read: bool,
    /// What is in it gets no further: large packets are lost.
    pub(super) stuck: bool,
}

impl<M> Pipe<M> {
    pub(super) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            ended: false,
            read: true,
            stuck: false,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.read && !self.stuck && (self.ended || !self.queue.is_empty())
    }

    pub(super) fn send(&mut self, message: M) {
        if self.read && !self.ended {
            self.queue.push_back(message);
        }
    }

    /// Nobody reads it any more.
    pub(super) fn abandon(&mut self) {
        self.queue.clear();
        self.read = false;
    }

    /// What is on the way is lost, and the reader will find out.
    pub(super) fn break_off(&mut self) {
        self.queue.clear();
        self.ended = true;
        self.stuck = false;
    }
}

/// A link that a primary dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Conn {
    pub(super) from: ServerId,
    /// Its name at the other end.
    pub(super) accepted: InStream,
    pub(super) forth: Pipe<(FrameNumber, Rc<Frame>)>,
    pub(super) back: Pipe<(FrameNumber, FrameAnswer)>,
}

impl Conn {
    pub(super) const fn new(from: ServerId, accepted: InStream) -> Self {
        Self {
            from,
            accepted,
            forth: Pipe::new(),
            back: Pipe::new(),
        }
    }

    /// The server that dialled it hangs up; what it sent can still be read.
    pub(super) fn close_by_dialler(&mut self) {
        // What is on the way may come late, or never.
        self.forth.stuck = false;
        self.forth.ended = true;
        self.back.abandon();
        for (number, _) in &mut self.forth.queue {
            *number = FrameNumber(u64::MAX);
        }
    }

    /// The server that accepted it hangs up; what it answered can still be read.
    pub(super) fn close_by_acceptor(&mut self) {
        self.back.ended = true;
        self.forth.abandon();
    }

    pub(super) fn reset(&mut self) {
        self.forth.break_off();
        self.back.break_off();
    }

    pub(super) const fn is_over(&self) -> bool {
        !self.forth.read && !self.back.read
    }
}

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PeerQuestion {
    Who(Introduction),
    StepDown(View),
}

/// A message outside of the links.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Message {
    /// A probe, on a connection of its own. Unless it is awaited, its sender has begun another one.
    Probe {
        asks: PeerQuestion,
        link: InStream,
        awaited: bool,
    },
    /// How the receiver's probe ended.
    Probed(ProbeResult),
    Relay {
        who: Caller,
        request: Rc<Request>,
    },
    Relayed {
        who: Try,
        result: Option<Result<Answer, Refusal>>,
    },
    AnnounceView(View),
    /// A client's, to a server that is stopped.
    Request {
        who: Try,
        request: Rc<Request>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) to: ServerId,
    pub(super) message: Message,
}

impl Flight {
    /// What its sender hears when its connection breaks, if it waits for something.
    pub(super) fn bounce(self) -> Option<Self> {
        let sender = self.to.peer();
        let (to, message) = match self.message {
            Message::Probe { awaited: true, .. } => (sender, Message::Probed(ProbeResult::Broken)),
            Message::Probed(ProbeResult::Answered(_)) => {
                (self.to, Message::Probed(ProbeResult::Broken))
            }
            Message::Probed(result) => (self.to, Message::Probed(result)),
            Message::Relay {
                who: Caller::Relay(who),
                ..
            } => (sender, Message::Relayed { who, result: None }),
            Message::Relayed { who, .. } => (self.to, Message::Relayed { who, result: None }),
            Message::Request { who, request } => (self.to, Message::Request { who, request }),
            Message::Probe { .. } | Message::Relay { .. } | Message::AnnounceView(_) => {
                return None;
            }
        };
        Some(Self { to, message })
    }
}
