//! One connection: what it opens with, and the requests that come on it.
//!
//! A connection is one task. Its handlers are polled by that task, in the order in which their requests
//! came, and not spawned: so the requests of a connection reach the engine in their order, and answers
//! that become ready together share a write.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};

use futures::future::poll_fn;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Sink as _, Stream as _, StreamExt as _};
use serde::Serialize;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel, Config, Requests, Serve};
use tarpc::{ClientMessage, RequestName, ServerError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::accept::Seat;
use super::burden::{Burden, Gated, Share};
use super::replication::ReplicationRpc;
use super::rpc::LockRpc;
use crate::config::{MAX_FRAME_BYTES, MAX_REQUEST_BYTES};
use crate::engine::pair::core::InLink;
use crate::net::framing::Incoming;
use crate::net::{
    Purpose, Rejection, ServerTransport, Stream, accept, greet, reject, server_transport,
};
use crate::service::{LockService as _, Replication as _};

/// How many requests of the peer may be in flight on one connection: every client's call may be
/// relayed, and is counted against the limit of calls.
const PEER_REQUESTS: usize = usize::MAX;

/// How many answers of a connection are kept until it takes them; the handlers of the others wait.
const READY_ANSWERS: usize = 64;

/// Serves one connection until it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    seat: Seat,
    link: InLink,
    mut stream: Stream,
    who: String,
) {
    let patience = shared.config.timing.preface_timeout;
    let purpose = tokio::select! {
        biased;
        () = shared.stopping.cancelled() => return,
        greeted = timeout(patience, greet(&mut stream)) => match greeted {
            Ok(Ok(purpose)) => purpose,
            Ok(Err(error)) => return tracing::info!(%who, "refused a connection: {error}"),
            Err(_) => return tracing::info!(%who, "refused a connection: it did not say what it is"),
        },
    };
    match purpose {
        Purpose::Client => match seat.take(shared.config.limits.connections) {
            Some(_seated) => serve_client(&shared, stream).await,
            None => turn_away(&mut stream, &who, Rejection::Busy).await,
        },
        Purpose::Peer { from, pair } => {
            let config = &shared.config;
            if from == config.me.peer() && pair == config.servers.pair_id() {
                serve_peer(&shared, link, stream).await;
            } else {
                turn_away(&mut stream, &who, Rejection::NotYourPeer).await;
            }
        }
    }
}

async fn turn_away(stream: &mut Stream, who: &str, why: Rejection) {
    tracing::warn!(%who, "refused a connection: {why}");
    let _ = reject(stream, why).await;
}

async fn serve_client(shared: &Arc<Shared>, mut stream: Stream) {
    if accept(&mut stream).await.is_err() {
        return;
    }
    let rpc = LockRpc::new(shared.clone()).serve();
    let most = shared.config.limits.calls_per_connection;
    let transport = server_transport(stream, MAX_REQUEST_BYTES).writing_up_to(MAX_FRAME_BYTES);
    let share = shared.burden.share();
    answer_requests(transport, rpc, most, share, &shared.stopping).await;
}

async fn serve_peer(shared: &Arc<Shared>, link: InLink, mut stream: Stream) {
    let hang_up = CancellationToken::new();
    shared.pair.link_accepted(link, hang_up.clone()).await;
    if accept(&mut stream).await.is_ok() {
        let rpc = ReplicationRpc::new(shared.pair.clone(), link).serve();
        let transport = server_transport(stream, MAX_FRAME_BYTES);
        let share = Burden::new(PEER_REQUESTS).share();
        tokio::select! {
            biased;
            () = hang_up.cancelled() => {}
            () = answer_requests(transport, rpc, PEER_REQUESTS, share, &shared.stopping) => {}
        }
    }
    shared.pair.link_closed(link).await;
}

/// Answers requests until the connection ends, or until the server stops and all that are in flight are
/// answered. What comes later is left unread, or dropped: its client asks the other server.
async fn answer_requests<S>(
    transport: ServerTransport<S::Req, S::Resp>,
    serve: S,
    most: usize,
    share: Share,
    stopping: &CancellationToken,
) where
    S: Serve + Clone,
    S::Req: RequestName,
    S::Resp: Serialize,
    ClientMessage<S::Req>: Incoming,
{
    let config = Config {
        pending_response_buffer: most.min(READY_ANSWERS),
    };
    let gated = Gated {
        transport,
        share: share.clone(),
    };
    let channel = BaseChannel::new(config, gated).max_concurrent_requests(most);
    let mut requests = pin!(channel.requests());
    let serve = CatchPanic(serve);
    let mut handlers = FuturesUnordered::new();
    let mut stopping = pin!(stopping.cancelled());
    loop {
        tokio::select! {
            biased;
            Some(()) = handlers.next() => share.give_back(),
            request = requests.next() => match request {
                Some(Ok(request)) => {
                    share.take();
                    handlers.push(request.execute(serve.clone()));
                }
                Some(Err(error)) => return tracing::debug!("a connection ended: {error}"),
                None => return,
            },
            () = &mut stopping => break,
        }
    }
    poll_fn(|cx| poll_drained(cx, requests.as_mut(), &mut handlers)).await;
    let _ = poll_fn(|cx| requests.channel_pin_mut().poll_close(cx)).await;
}

/// Ready when all that were in flight are answered, or the connection has ended. What comes late is
/// dropped; tarpc counts it as in flight until it is polled again, and nothing tells when it no longer does.
fn poll_drained<C: Channel>(
    cx: &mut task::Context<'_>,
    mut requests: Pin<&mut Requests<C>>,
    handlers: &mut FuturesUnordered<impl Future<Output = ()>>,
) -> Poll<()> {
    loop {
        while handlers.poll_next_unpin(cx) == Poll::Ready(Some(())) {}
        match requests.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(late))) => drop(late),
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    if handlers.is_empty() && requests.channel().in_flight_requests() == 0 {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}

/// Answers a handler's panic at once, which tarpc would leave to the caller's deadline.
#[derive(Clone)]
struct CatchPanic<S>(S);

impl<S: Serve> Serve for CatchPanic<S> {
    type Req = S::Req;
    type Resp = S::Resp;

    async fn serve(self, context: Context, request: S::Req) -> Result<S::Resp, ServerError> {
        let handler = AssertUnwindSafe(self.0.serve(context, request));
        handler.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a handler panicked; its caller is told so");
            let detail = "the handler of this request panicked".to_owned();
            Err(ServerError::new(std::io::ErrorKind::Other, detail))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tarpc::client::RpcError;
    use tarpc::context;
    use tokio::io::duplex;
    use tokio::sync::Semaphore;
    use tokio::task::yield_now;

    use super::*;
    use crate::net::client_transport;

    #[tokio::test]
    async fn a_handler_that_panics_is_told_to_its_caller_and_disturbs_no_other_call() {
        let (near, far) = duplex(MAX_FRAME_BYTES);
        tokio::spawn(async move {
            let transport = server_transport(Stream::new(far), MAX_FRAME_BYTES);
            let handler = tarpc::server::serve(|_, n: u64| async move {
                assert!(n != 13, "a planned panic");
                Ok(n)
            });
            let share = Burden::new(10).share();
            answer_requests(transport, handler, 10, share, &CancellationToken::new()).await;
        });
        let transport = client_transport::<u64, u64>(Stream::new(near), MAX_FRAME_BYTES);
        let client = tarpc::client::new(tarpc::client::Config::default(), transport).spawn();
        let call = |n| client.call(context::current(), n);
        let (before, panicked, after) = tokio::join!(call(12), call(13), call(14));
        assert_eq!((before.ok(), after.ok()), (Some(12), Some(14)));
        assert!(matches!(panicked, Err(RpcError::Server(_))), "{panicked:?}");
        assert_eq!(call(15).await.ok(), Some(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_may_read_no_more_writes_what_is_ready() {
        const IN_FLIGHT: usize = READY_ANSWERS + 16;
        let burden = Burden::new(IN_FLIGHT / 2);
        let (begun, gate) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
        let (near, far) = duplex(MAX_FRAME_BYTES);
        let (counter, opened, share) = (begun.clone(), gate.clone(), burden.share());
        tokio::spawn(async move {
            let transport = server_transport(Stream::new(far), MAX_FRAME_BYTES);
            let handler = tarpc::server::serve(move |_, n: u64| {
                counter.fetch_add(1, Ordering::Relaxed);
                let opened = opened.clone();
                async move {
                    let _open = opened.acquire().await;
                    Ok(n)
                }
            });
            answer_requests(transport, handler, 1_000, share, &CancellationToken::new()).await;
        });
        let transport = client_transport::<u64, u64>(Stream::new(near), MAX_FRAME_BYTES);
        let client = tarpc::client::new(tarpc::client::Config::default(), transport).spawn();
        let calls = tokio::spawn(async move {
            join_all((0..100).map(|n| client.call(context::current(), n))).await
        });
        while begun.load(Ordering::Relaxed) < IN_FLIGHT {
            yield_now().await;
        }
        // Others have as much unanswered as there may be in all, and it stays so.
        let others = burden.share();
        (0..IN_FLIGHT).for_each(|_| others.take());
        gate.add_permits(1);
        let answers = calls.await.expect("it does not panic");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}
