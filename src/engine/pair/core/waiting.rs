//! Answers that are ready but not safe yet: they wait for the backup.
//!
//! An answer that was given an op waits for the acknowledgement of that op. One that was not (a
//! refusal, a keep-alive) rests on state that a stopped and woken primary may hold long after its
//! backup has taken over; so it waits for the acknowledgement of a frame that was sent after the
//! question came (rule M5 of the protocol). It also waits for the op at which it was given, for it
//! tells of what led there, and a frame can be acknowledged before commands that were executed
//! earlier: a heartbeat that was sent beside a batch, or the first frame of a new link.

use std::collections::VecDeque;

#[cfg(test)]
use super::tests::Names;
use super::{FrameNumber, Reply};
use crate::engine::leader::PendingRequest;
use crate::service::{Answer, Refusal};
use crate::types::OpNumber;

/// An answer that waits, with what was asked: it is asked elsewhere if this server loses its role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PendingAnswer<T> {
    pub(super) request: PendingRequest<T>,
    pub(super) result: Result<Answer, Refusal>,
}

impl<T> PendingAnswer<T> {
    pub(super) fn into_reply(self) -> Reply<T> {
        Reply {
            to: self.request.to,
            result: self.result,
        }
    }
}

/// Everything that waits for the backup, each queue in the order in which it will be released.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Waiting<T> {
    for_op: VecDeque<(OpNumber, PendingAnswer<T>)>,
    for_frame: VecDeque<(FrameNumber, OpNumber, PendingAnswer<T>)>,
}

impl<T> Waiting<T> {
    pub(super) const fn new() -> Self {
        Self {
            for_op: VecDeque::new(),
            for_frame: VecDeque::new(),
        }
    }

    /// Adds an answer that is safe once `op` is acknowledged. Ops must not fall.
    pub(super) fn push_for_op(&mut self, op: OpNumber, pending: PendingAnswer<T>) {
        debug_assert!(self.for_op.back().is_none_or(|(last, _)| *last <= op));
        self.for_op.push_back((op, pending));
    }

    /// Adds an answer that is safe once `frame`, or a later one, is acknowledged, and `op` as well.
    /// Neither must fall.
    pub(super) fn push_for_frame(
        &mut self,
        frame: FrameNumber,
        op: OpNumber,
        pending: PendingAnswer<T>,
    ) {
        self.for_frame.push_back((frame, op, pending));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.for_op.is_empty() && self.for_frame.is_empty()
    }

    pub(super) fn wants_frame(&self) -> bool {
        !self.for_frame.is_empty()
    }

    /// Takes out the next answer that is safe now that `op` is acknowledged.
    pub(super) fn pop_for_op(&mut self, acked: OpNumber) -> Option<PendingAnswer<T>> {
        let (op, _) = self.for_op.front()?;
        if *op > acked {
            return None;
        }
        self.for_op.pop_front().map(|(_, pending)| pending)
    }

    /// Takes out the next answer that is safe now that `acked` is acknowledged, and everything up
    /// to `acked_op`.
    pub(super) fn pop_for_frame(
        &mut self,
        acked: FrameNumber,
        acked_op: OpNumber,
    ) -> Option<PendingAnswer<T>> {
        let (frame, op, _) = self.for_frame.front()?;
        if *frame > acked || *op > acked_op {
            return None;
        }
        self.for_frame.pop_front().map(|(_, _, pending)| pending)
    }

    /// Takes out everything.
    pub(super) fn into_all(self) -> impl Iterator<Item = PendingAnswer<T>> {
        let for_op = self.for_op.into_iter().map(|(_, pending)| pending);
        for_op.chain(self.for_frame.into_iter().map(|(_, _, pending)| pending))
    }

    #[cfg(test)]
    pub(super) fn name(&mut self, names: &mut impl Names) {
        let frames = self.for_frame.iter_mut();
        frames.for_each(|(frame, _, _)| names.frame(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Via;
    use crate::service::Request;
    use crate::types::{ClientId, SessionId};

    #[test]
    fn an_answer_without_an_op_waits_for_its_frame_and_for_the_op_that_it_saw() {
        let client = ClientId::from_u128(1);
        let session = SessionId(1);
        let asked = PendingRequest {
            to: (),
            via: Via::Client,
            request: Request::KeepAlive { client, session },
        };
        let result = Ok(Answer::Done);
        let pending = PendingAnswer {
            request: asked,
            result,
        };
        let mut waiting = Waiting::new();
        for frame in [5, 6] {
            waiting.push_for_frame(FrameNumber(frame), OpNumber(30), pending.clone());
        }
        let mut is_safe = |frame, op| {
            let popped = waiting.pop_for_frame(FrameNumber(frame), OpNumber(op));
            popped.is_some()
        };
        assert!(!is_safe(4, 30) && !is_safe(4, 31));
        assert!(!is_safe(5, 29) && !is_safe(7, 29));
        assert!(is_safe(5, 30) && !is_safe(5, 30));
        assert!(is_safe(7, 31));
    }
}
