//! What tarpc does that this crate relies on, or guards against. An upgrade of tarpc that changes
//! one of these turns a test red; then the code that the test names is to be thought over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, SinkExt, StreamExt};
use lockservice::rpc;
use lockservice::rpc::ServerTransport;
use lockservice::transport::Stream;
use tarpc::client::{Config, RpcError};
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::{ClientMessage, Response, context};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

type Client = tarpc::client::Channel<u64, u64>;

fn client_on(stream: DuplexStream) -> Client {
    let transport = rpc::client_transport(Stream::new(stream), 1024);
    tarpc::client::new(Config::default(), transport).spawn()
}

fn channel_on(stream: DuplexStream) -> BaseChannel<u64, u64, ServerTransport<u64, u64>> {
    BaseChannel::with_defaults(rpc::server_transport(Stream::new(stream), 1024))
}

fn within(wait: Duration) -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + wait;
    context
}

/// Kept from tarpc by `rpc/codec.rs`.
#[test]
fn decoding_a_deadline_beyond_the_clock_panics() {
    let trace = ([0_u8; 16], 0_u64, 1_u32);
    let request = (0_u32, Duration::from_secs(u64::MAX), trace, 7_u64, 1_u64);
    let bytes = postcard::to_stdvec(&request).expect("it encodes");
    let decoded = std::panic::catch_unwind(|| postcard::from_bytes::<ClientMessage<u64>>(&bytes));
    decoded.expect_err("refused");
}

/// Likewise. And for the clerk: a timeout of years must not reach tarpc.
#[tokio::test]
async fn a_deadline_of_years_panics_the_task_that_reads_it() {
    let (mut client, server) = tarpc::transport::channel::unbounded();
    let mut server = BaseChannel::<u64, u64, _>::with_defaults(server);
    let century = Duration::from_hours(100 * 365 * 24);
    let trace = ([0_u8; 16], 0_u64, 1_u32);
    let bytes = postcard::to_stdvec(&(0_u32, century, trace, 7_u64, 1_u64)).expect("it encodes");
    let request: ClientMessage<u64> = postcard::from_bytes(&bytes).expect("it decodes");
    client.send(request).await.expect("sent");
    assert!(
        tokio::spawn(async move { server.next().await })
            .await
            .is_err_and(|e| e.is_panic())
    );
}

/// The clerk takes each of these for "may have happened".
#[tokio::test]
async fn a_closed_connection_is_a_shutdown() {
    let (near, far) = duplex(1024);
    let client = client_on(near);
    let mut server = channel_on(far);
    let closes = async {
        server
            .next()
            .await
            .expect("a request")
            .expect("well-formed");
        drop(server);
    };
    let (result, ()) = tokio::join!(client.call(context::current(), 1), closes);
    assert!(matches!(result, Err(RpcError::Shutdown)), "{result:?}");
}

#[tokio::test]
async fn garbage_from_a_server_is_a_channel_error() {
    let (near, mut far) = duplex(1024);
    let client = client_on(near);
    far.write_all(&[0, 0, 0, 1, 0xff]).await.expect("sent");
    let result = client.call(context::current(), 1).await;
    assert!(matches!(result, Err(RpcError::Channel(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_deadline_exceeded() {
    let (near, _far) = duplex(1024);
    let result = client_on(near)
        .call(within(Duration::from_secs(1)), 1)
        .await;
    assert!(
        matches!(result, Err(RpcError::DeadlineExceeded)),
        "{result:?}"
    );
}

/// The clerk takes these words, and no others, for "certainly not executed": the kind of a server's
/// error does not survive the way.
#[tokio::test]
async fn a_request_over_the_limit_is_a_server_error() {
    let (near, far) = duplex(1024);
    let client = client_on(near);
    let (_never, wait) = oneshot::channel::<()>();
    let wait = wait.map(|_| ()).shared();
    let handler = server::serve(move |_, n: u64| wait.clone().map(move |()| Ok(n)));
    let calls = channel_on(far).max_concurrent_requests(1).execute(handler);
    tokio::spawn(calls.for_each(async |call| {
        tokio::spawn(call);
    }));
    let first = client.call(context::current(), 1);
    let second = client.call(context::current(), 2);
    let result = futures::future::select(Box::pin(first), Box::pin(second)).await;
    let (result, _) = result.factor_first();
    let Err(RpcError::Server(error)) = result else {
        panic!("{result:?}")
    };
    assert_eq!(error.detail, "server throttled the request.");
    assert_ne!(
        error.kind,
        std::io::ErrorKind::WouldBlock,
        "the kind that was sent"
    );
}

/// So a graceful stop can answer what is in flight, and a client may close its half early.
#[tokio::test]
async fn a_clients_fin_does_not_stop_its_handlers() {
    let (near, far) = duplex(1024);
    let mut near = rpc::client_transport::<u64, u64>(Stream::new(near), 1024);
    let (go, gone) = oneshot::channel::<()>();
    let gone = gone.map(|_| ()).shared();
    let handler = server::serve(move |_, n: u64| gone.clone().map(move |()| Ok(n)));
    let mut calls = Box::pin(channel_on(far).execute(handler));
    near.send(request(7)).await.expect("sent");
    let call = tokio::spawn(calls.next().await.expect("a request"));
    near.close().await.expect("closed");
    let drained = tokio::spawn(calls.for_each(async |_| ()));
    go.send(()).expect("somebody waits");
    call.await.expect("not dropped");
    let answer = near.next().await.expect("an answer").expect("well-formed");
    assert!(
        matches!(answer, Response { message: Ok(7), .. }),
        "{answer:?}"
    );
    drained.await.expect("it ends when all is answered");
}

/// So a handler must not hold work that may not be half done.
#[tokio::test]
async fn a_call_that_is_dropped_drops_its_handler() {
    let (near, far) = duplex(1024);
    let client = client_on(near);
    let started = Arc::new(tokio::sync::Notify::new());
    let dropped = Arc::new(tokio::sync::Notify::new());
    let handler = {
        let (started, dropped) = (started.clone(), dropped.clone());
        server::serve(move |_, _: u64| async move {
            let _guard = scopeguard(dropped);
            started.notify_one();
            std::future::pending().await
        })
    };
    tokio::spawn(channel_on(far).execute(handler).for_each(async |call| {
        tokio::spawn(call);
    }));
    let call = tokio::spawn(async move { client.call(context::current(), 1).await });
    started.notified().await;
    call.abort();
    dropped.notified().await;
}

/// So the server answers for a handler that panicked.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_is_silent_until_the_deadline() {
    let (near, far) = duplex(1024);
    let client = client_on(near);
    let panicked = Arc::new(AtomicBool::new(false));
    let handler = {
        let panicked = panicked.clone();
        server::serve(move |_, n: u64| async move {
            panicked.store(true, Ordering::Relaxed);
            if n == 1 { panic!("on purpose") } else { Ok(n) }
        })
    };
    tokio::spawn(channel_on(far).execute(handler).for_each(async |call| {
        tokio::spawn(call);
    }));
    let result = client.call(within(Duration::from_secs(1)), 1).await;
    assert!(panicked.load(Ordering::Relaxed));
    assert!(
        matches!(result, Err(RpcError::DeadlineExceeded)),
        "{result:?}"
    );
}

fn request(message: u64) -> ClientMessage<u64> {
    let trace = ([0_u8; 16], 0_u64, 1_u32);
    let wait = Duration::from_secs(10);
    let bytes = postcard::to_stdvec(&(0_u32, wait, trace, 1_u64, message)).expect("it encodes");
    postcard::from_bytes(&bytes).expect("it decodes")
}

fn scopeguard(notify: Arc<tokio::sync::Notify>) -> impl Drop {
    struct Guard(Arc<tokio::sync::Notify>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    Guard(notify)
}
