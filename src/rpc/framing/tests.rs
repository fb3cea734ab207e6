use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join_all, poll_fn};
use futures::{FutureExt, StreamExt};
use tarpc::server::{BaseChannel, Channel, serve};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::*;

/// Counts the writes that a system would have been called for.
struct Counted {
    inner: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn counted(inner: DuplexStream) -> (Stream, Arc<AtomicUsize>) {
    let writes = Arc::new(AtomicUsize::new(0));
    let stream = Stream::new(Counted {
        inner,
        writes: writes.clone(),
    });
    (stream, writes)
}

fn response(id: u64) -> Response<u64> {
    Response {
        request_id: id,
        message: Ok(id),
    }
}

type Near = Transport<Response<u64>, Response<u64>>;

#[tokio::test]
async fn a_flush_is_put_off_once_and_then_done() {
    let (near, _far) = duplex(1024);
    let (stream, writes) = counted(near);
    let mut near = Near::new(stream, 1024, Stuck::No);
    let mut polls = 0;
    near.start_send_unpin(response(1)).expect("it fits");
    poll_fn(|cx| {
        polls += 1;
        near.start_send_unpin(response(2)).expect("it fits");
        near.poll_flush_unpin(cx)
    })
    .await
    .expect("flushed");
    assert_eq!(polls, 2);
    assert_eq!(
        writes.load(Ordering::Relaxed),
        1,
        "three messages share a write"
    );
}

#[tokio::test]
async fn a_flush_is_not_put_off_where_nothing_is_to_follow() {
    let (near, _far) = duplex(1024);
    let (stream, writes) = counted(near);
    let mut near = Near::new(stream, 1024, Stuck::No);
    near.start_send_unpin(response(1)).expect("it fits");
    near.flush_at_once();
    assert!(near.flush().now_or_never().is_some());
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_flush_of_nothing_wakes_nobody() {
    let (near, _far) = duplex(1024);
    let mut near = Near::new(Stream::new(near), 1024, Stuck::No);
    assert!(near.flush().now_or_never().is_some());
    near.send(response(1)).await.expect("sent");
    assert!(near.flush().now_or_never().is_some());
}

/// Lets every other task run that is ready.
async fn next_round() {
    let mut again = false;
    poll_fn(|cx| {
        if again {
            return Poll::Ready(());
        }
        again = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The answers become ready one in each round of the scheduler.
#[tokio::test]
async fn answers_that_come_one_by_one_share_their_writes() {
    let (near, far) = duplex(64 * 1024);
    let (far, writes) = counted(far);
    let channel = BaseChannel::with_defaults(server_transport(far, 1024));
    let handler = serve(|_, n: u64| async move {
        for _ in 0..n {
            next_round().await;
        }
        Ok(n)
    });
    tokio::spawn(channel.execute(handler).for_each(async |call| {
        tokio::spawn(call);
    }));
    let transport = client_transport::<u64, u64>(Stream::new(near), 1024);
    let client = tarpc::client::new(tarpc::client::Config::default(), transport).spawn();
    let calls = (0..64).map(|n| client.call(tarpc::context::current(), n));
    for answer in join_all(calls).await {
        answer.expect("answered");
    }
    let writes = writes.load(Ordering::Relaxed);
    assert!(writes <= 36, "{writes} writes");
}

/// Two transports, full of what the second one has written.
async fn stuffed(stuck: Stuck) -> (Near, Near) {
    let (near, far) = duplex(64);
    let mut near = Near::new(Stream::new(near), 1024, Stuck::Ignored);
    let mut far = Near::new(Stream::new(far), 1024, stuck);
    near.send(response(7)).await.expect("it fits");
    // A flush is put off once; what is pending then is pending because nobody reads.
    poll_fn(|cx| {
        while far.flush == Flush::Clean {
            far.start_send_unpin(response(1)).expect("it fits");
            let _put_off = far.poll_flush_unpin(cx);
            let _flushed = far.poll_flush_unpin(cx);
        }
        Poll::Ready(())
    })
    .await;
    (near, far)
}

#[tokio::test]
async fn a_server_reads_nothing_while_its_answers_are_not_taken() {
    let (mut near, mut far) = stuffed(Stuck::No).await;
    assert!(far.next().now_or_never().is_none());
    let mut taken = 0;
    let read = poll_fn(|cx| {
        // As tarpc does it: it reads, and then writes.
        let read = far.poll_next_unpin(cx);
        let _ = far.poll_flush_unpin(cx);
        while near.poll_next_unpin(cx).is_ready() {
            taken += 1;
        }
        read
    });
    let read = read.await.expect("a message").expect("a good one");
    assert_eq!(read.request_id, 7);
    assert!(taken > 0);
}

#[tokio::test]
async fn a_client_reads_also_while_its_questions_are_not_taken() {
    let (_near, mut far) = stuffed(Stuck::Ignored).await;
    assert!(far.next().now_or_never().is_some());
}

#[tokio::test]
async fn buffers_are_small_until_messages_come_many_at_a_time() {
    let (near, far) = duplex(64 * 1024);
    let mut near = Near::new(Stream::new(near), 1024, Stuck::Ignored);
    let mut far = Near::new(Stream::new(far), 1024, Stuck::Ignored);
    let room = |end: &Near| end.frames.read_buffer().capacity();
    for id in 0..1_000 {
        near.send(response(id)).await.expect("somebody reads");
        far.next().await.expect("a message").expect("it is whole");
        assert!(room(&far) <= SMALL_BUFFER);
    }
    for id in 0..100 {
        near.feed(response(id)).await.expect("it fits");
    }
    near.flush().await.expect("somebody reads");
    far.next().await.expect("a message").expect("it is whole");
    assert!(room(&far) >= LARGE_BUFFER - SMALL_BUFFER, "{}", room(&far));
}
