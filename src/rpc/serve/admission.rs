//! Admission control: counts unanswered requests, in all and of each connection.
//!
//! A request takes memory until its answer is written. A server refuses more requests than it can
//! work on. But a refusal is an answer too, so with twice as many unanswered, it stops reading from
//! connections that have more than a few: a client that floods the server waits, and others do not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::Serialize;

use crate::rpc::Transport;
use crate::rpc::framing::Incoming;

/// How many unanswered requests a connection may always have.
const FEW: usize = 4;

/// The unanswered requests of a server. Clones are of the same server.
#[derive(Debug, Clone)]
pub(crate) struct AdmissionControl {
    unanswered: Arc<AtomicUsize>,
    most: usize,
}

/// The unanswered requests of one connection. Clones are of the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Quota(Arc<QuotaState>);

/// Counts as answered when dropped.
#[derive(Debug)]
struct QuotaState {
    admission: AdmissionControl,
    unanswered: AtomicUsize,
}

impl AdmissionControl {
    /// Creates the counter of a server that works on `calls` at a time.
    pub(crate) fn new(calls: usize) -> Self {
        Self {
            unanswered: Arc::default(),
            most: calls.saturating_mul(2),
        }
    }

    pub(crate) fn quota(&self) -> Quota {
        Quota(Arc::new(QuotaState {
            admission: self.clone(),
            unanswered: AtomicUsize::default(),
        }))
    }
}

impl Quota {
    /// Whether another request may be read. If not, it may be again once some are answered on this
    /// connection.
    fn has_room(&self) -> bool {
        let QuotaState {
            admission,
            unanswered,
        } = &*self.0;
        unanswered.load(Ordering::Relaxed) < FEW
            || admission.unanswered.load(Ordering::Relaxed) < admission.most
    }

    /// Whether all requests have been answered.
    fn is_empty(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed) == 0
    }

    /// A request has been read.
    pub(super) fn take(&self) {
        self.0.unanswered.fetch_add(1, Ordering::Relaxed);
        self.0.admission.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has been answered.
    pub(super) fn give_back(&self) {
        self.0.unanswered.fetch_sub(1, Ordering::Relaxed);
        self.0.admission.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for QuotaState {
    fn drop(&mut self) {
        let own = *self.unanswered.get_mut();
        self.admission.unanswered.fetch_sub(own, Ordering::Relaxed);
    }
}

/// A transport that reads only while another request is admitted, and always writes. Poll it again
/// whenever a request has been answered.
#[derive(Debug)]
pub(super) struct Gated<In, Out> {
    pub(super) transport: Transport<In, Out>,
    pub(super) quota: Quota,
}

impl<In: Incoming, Out> Stream for Gated<In, Out> {
    type Item = io::Result<In>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.quota.has_room() {
            self.transport.poll_next_unpin(cx)
        } else {
            Poll::Pending
        }
    }
}

impl<In, Out: Serialize> Sink<Out> for Gated<In, Out> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Out) -> io::Result<()> {
        self.transport.start_send_unpin(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.quota.is_empty() {
            self.transport.flush_at_once();
        }
        self.transport.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_close_unpin(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_only_who_has_few_may_have_more() {
        let admission = AdmissionControl::new(5);
        let (greedy, modest) = (admission.quota(), admission.quota());
        while greedy.has_room() {
            greedy.take();
        }
        assert_eq!(admission.unanswered.load(Ordering::Relaxed), 10);
        for _ in 0..FEW {
            assert!(modest.has_room());
            modest.take();
        }
        assert!(!modest.has_room());

        modest.give_back();
        assert!(modest.has_room() && !greedy.has_room());
        drop(greedy);
        modest.take();
        assert!(modest.has_room());
        drop(modest);
        assert_eq!(admission.unanswered.load(Ordering::Relaxed), 0);
    }
}
