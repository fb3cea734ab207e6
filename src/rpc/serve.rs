//! Answers the requests of one connection.
//!
//! A connection is one task. Its handlers are polled by that task, in the order in which their
//! requests came, and not spawned: so the requests of a connection reach the engine in their order,
//! and answers that become ready together share a write.

mod admission;
mod idle;

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::{self, Poll};

use futures::future::Either;
use futures::future::poll_fn;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Sink as _, Stream as _, StreamExt as _};
use serde::Serialize;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel, Config, Requests, Serve};
use tarpc::{ClientMessage, RequestName, ServerError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use self::admission::Gated;
pub(crate) use self::admission::{AdmissionControl, Quota};
pub(crate) use self::idle::Idle;
use super::ServerTransport;
use super::framing::Incoming;

/// How many answers are kept until the connection takes them; further handlers wait.
const READY_ANSWERS: usize = 64;

/// Whether the answer to a request may be large. A connection works on one such request at a time,
/// until its answer has been taken.
pub(crate) type IsLook<Req> = fn(&Req) -> bool;

/// Answers requests until the connection ends, or its `idle` timer expires, or until the server
/// stops and all requests in flight are answered. Later requests are left unread or dropped: their
/// client asks another server.
pub(crate) async fn answer_requests<S>(
    transport: ServerTransport<S::Req, S::Resp>,
    serve: S,
    is_look: IsLook<S::Req>,
    most: usize,
    quota: Quota,
    mut idle: Idle,
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
        quota: quota.clone(),
    };
    let channel = BaseChannel::new(config, gated).max_concurrent_requests(most);
    let mut requests = pin!(channel.requests());
    let serve = CatchPanic(serve);
    let looking = Semaphore::new(1);
    let mut look_ended = false;
    let mut handlers = FuturesUnordered::new();
    let mut stopping = pin!(stopping.cancelled());
    loop {
        tokio::select! {
            biased;
            Some(was_look) = handlers.next() => {
                quota.give_back();
                idle.note();
                look_ended |= was_look;
            }
            request = poll_fn(|cx| {
                let polled = requests.as_mut().poll_next(cx);
                if look_ended && requests.pending_responses_mut().is_empty() {
                    look_ended = false;
                    looking.add_permits(1);
                }
                polled
            }) => match request {
                Some(Ok(request)) => {
                    quota.take();
                    idle.note();
                    let is_look = is_look(&request.get().message);
                    let handler = request.execute(serve.clone());
                    handlers.push(if is_look {
                        Either::Right(in_turn(&looking, handler).map(|()| true))
                    } else {
                        Either::Left(handler.map(|()| false))
                    });
                }
                Some(Err(error)) => return tracing::debug!("a connection ended: {error}"),
                None => return,
            },
            () = &mut stopping => break,
            () = idle.is_over(), if handlers.is_empty() => {
                return tracing::debug!("a connection is closed: nothing was heard on it for long");
            }
        }
    }
    looking.close();
    poll_fn(|cx| poll_drained(cx, requests.as_mut(), &mut handlers)).await;
    let _ = poll_fn(|cx| requests.channel_pin_mut().poll_close(cx)).await;
}

/// Works on a request once it has a permit. It keeps the permit, as its answer is still to be
/// taken.
fn in_turn<'a>(
    turns: &'a Semaphore,
    handler: impl Future<Output = ()> + 'a,
) -> impl Future<Output = ()> + 'a {
    // Not an async function, which would hold the handler, 2 KiB, twice.
    turns.acquire().then(|turn| {
        // If it is closed, all continue.
        let _ = turn.map(SemaphorePermit::forget);
        handler
    })
}

/// Completes when all requests in flight are answered, or the connection has ended. Later requests
/// are dropped; tarpc counts them as in flight until it is polled again, and gives no signal when
/// it no longer does.
fn poll_drained<C: Channel>(
    cx: &mut task::Context<'_>,
    mut requests: Pin<&mut Requests<C>>,
    handlers: &mut FuturesUnordered<impl Future>,
) -> Poll<()> {
    loop {
        while matches!(handlers.poll_next_unpin(cx), Poll::Ready(Some(_))) {}
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

/// Answers at once if a handler panics; tarpc would leave its caller to the deadline.
#[derive(Clone)]
struct CatchPanic<S>(S);

impl<S: Serve> Serve for CatchPanic<S> {
    type Req = S::Req;
    type Resp = S::Resp;

    // Not an async function, which would hold the request twice.
    fn serve(
        self,
        context: Context,
        request: S::Req,
    ) -> impl Future<Output = Result<S::Resp, ServerError>> {
        let handler = AssertUnwindSafe(self.0.serve(context, request));
        handler.catch_unwind().map(|served| {
            served.unwrap_or_else(|_| {
                tracing::error!("a handler panicked; its caller is told so");
                let detail = "the handler of this request panicked".to_owned();
                Err(ServerError::new(std::io::ErrorKind::Other, detail))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use tarpc::client::{self, RpcError};
    use tarpc::context;
    use tokio::io::duplex;
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::sleep;

    use super::*;
    use crate::config::{LONGEST_WAIT, MAX_FRAME_BYTES};
    use crate::rpc::{client_transport, server_transport};
    use crate::transport::Stream;

    #[tokio::test]
    async fn a_handler_that_panics_is_told_to_its_caller_and_disturbs_no_other_call() {
        let (near, far) = duplex(MAX_FRAME_BYTES);
        tokio::spawn(async move {
            let transport = server_transport(Stream::new(far), MAX_FRAME_BYTES);
            let handler = tarpc::server::serve(|_, n: u64| async move {
                assert!(n != 13, "a planned panic");
                Ok(n)
            });
            let quota = AdmissionControl::new(10).quota();
            answer_requests(
                transport,
                handler,
                |_| false,
                10,
                quota,
                Idle::new(LONGEST_WAIT),
                &CancellationToken::new(),
            )
            .await;
        });
        let transport = client_transport::<u64, u64>(Stream::new(near), MAX_FRAME_BYTES);
        let client = client::new(client::Config::default(), transport).spawn();
        let call = |n| client.call(context::current(), n);
        let (before, panicked, after) = tokio::join!(call(12), call(13), call(14));
        assert_eq!((before.ok(), after.ok()), (Some(12), Some(14)));
        assert!(matches!(panicked, Err(RpcError::Server(_))), "{panicked:?}");
        assert_eq!(call(15).await.ok(), Some(15));
    }

    /// After which a connection of the tests is closed.
    const IDLE: Duration = Duration::from_mins(10);

    /// A client of a connection whose handlers wait at a gate, but for that of 99; and how many
    /// have begun.
    fn gated(
        is_look: IsLook<u64>,
        quota: Quota,
    ) -> (client::Channel<u64, u64>, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (near, far) = duplex(MAX_FRAME_BYTES);
        let (begun, gate) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
        let (counter, opened) = (begun.clone(), gate.clone());
        tokio::spawn(async move {
            let transport = server_transport(Stream::new(far), MAX_FRAME_BYTES);
            let handler = tarpc::server::serve(move |_, n: u64| {
                let (counter, opened) = (counter.clone(), opened.clone());
                async move {
                    if n != 99 {
                        counter.fetch_add(1, Ordering::Relaxed);
                        let _open = opened.acquire().await;
                    }
                    Ok(n)
                }
            });
            let stopping = CancellationToken::new();
            let idle = Idle::new(IDLE);
            answer_requests(transport, handler, is_look, 1_000, quota, idle, &stopping).await;
        });
        let transport = client_transport(Stream::new(near), MAX_FRAME_BYTES);
        let client = client::new(client::Config::default(), transport).spawn();
        (client, begun, gate)
    }

    fn call_all(
        client: &client::Channel<u64, u64>,
        calls: Range<u64>,
    ) -> JoinHandle<Vec<Result<u64, RpcError>>> {
        let client = client.clone();
        tokio::spawn(
            async move { join_all(calls.map(|n| client.call(context::current(), n))).await },
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_may_read_no_more_writes_what_is_ready() {
        const IN_FLIGHT: usize = READY_ANSWERS + 16;
        let admission = AdmissionControl::new(IN_FLIGHT / 2);
        let (client, begun, gate) = gated(|_| false, admission.quota());
        let calls = call_all(&client, 0..90);
        while begun.load(Ordering::Relaxed) < IN_FLIGHT {
            yield_now().await;
        }
        // Others have as much unanswered as there may be in all, and it stays so.
        let others = admission.quota();
        (0..IN_FLIGHT).for_each(|_| others.take());
        gate.add_permits(1);
        let answers = calls.await.expect("it does not panic");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn looks_are_worked_on_one_at_a_time_and_hold_up_no_other_call() {
        let quota = AdmissionControl::new(1_000).quota();
        let (client, begun, gate) = gated(|n| *n != 99, quota);
        let looks = call_all(&client, 0..20);
        let other = call_all(&client, 99..100).await.expect("no panic");
        assert_eq!(other.first().map(Result::is_ok), Some(true));
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        gate.add_permits(1);
        let answers = looks.await.expect("it does not panic");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_heard_is_closed() {
        let (client, _, gate) = gated(|_| false, AdmissionControl::new(10).quota());
        gate.add_permits(1);
        for n in 0..5 {
            let answer = client.call(context::current(), n).await;
            assert_eq!(answer.ok(), Some(n), "it was heard in time");
            sleep(IDLE * 3 / 4).await;
        }
        sleep(IDLE / 2).await;
        let closed = client.call(context::current(), 6).await;
        assert!(closed.is_err(), "{closed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_waits_for_an_answer_is_not_closed() {
        let (client, _, gate) = gated(|_| false, AdmissionControl::new(10).quota());
        let mut patient = context::current();
        patient.deadline = std::time::Instant::now() + LONGEST_WAIT;
        let call = client.call(patient, 1);
        let (answer, ()) = tokio::join!(call, async {
            sleep(IDLE * 3 / 2).await;
            gate.add_permits(1);
        });
        assert_eq!(answer.ok(), Some(1));
        sleep(IDLE * 3 / 4).await;
        let answer = client.call(context::current(), 2).await;
        assert_eq!(answer.ok(), Some(2), "the answer counts as a sign of life");
    }
}
