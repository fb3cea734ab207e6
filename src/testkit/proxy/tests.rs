//! Every control, in front of an echo server.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::*;
use crate::testkit::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// An echo server that can be stopped and started again; its connections end with it.
struct Echo {
    place: Reserved,
    task: tokio::task::JoinHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        Self::start_at(Reserved::tcp().expect("a port")).await
    }

    async fn start_at(place: Reserved) -> Self {
        let address = place.addr().to_string();
        let listener = TcpListener::bind(address).await.expect("it is reserved");
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Self { place, task }
    }

    async fn proxy(&self) -> Proxy {
        let upstream = self.place.addr().clone();
        Proxy::start(upstream).await.expect("a proxy")
    }

    async fn stop(self) -> Reserved {
        self.task.abort();
        let _ = self.task.await;
        self.place
    }
}

async fn dial(proxy: &Proxy) -> io::Result<TcpStream> {
    TcpStream::connect(proxy.addr().to_string()).await
}

async fn client(proxy: &Proxy) -> TcpStream {
    dial(proxy).await.expect("the proxy listens")
}

async fn says(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("it is open");
}

async fn hears(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    let read = tokio::time::timeout(SOON, stream.read_exact(&mut heard));
    read.await.expect("in time").expect("it is open");
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

/// What has arrived by now at the client: None if nothing has.
fn has_heard(stream: &TcpStream) -> Option<usize> {
    stream.try_read(&mut [0; 64]).ok()
}

async fn is_reset(stream: &mut TcpStream) {
    let mut heard = [0; 64];
    let read = tokio::time::timeout(SOON, stream.read(&mut heard));
    let error = read.await.expect("in time").expect_err("it was reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn is_refused(proxy: &Proxy) {
    let error = dial(proxy).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

async fn traffic(proxy: &Proxy, what: &str, holds: impl Fn(Traffic) -> bool) {
    wait_until(what, SOON, async || holds(proxy.traffic())).await;
}

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut client = client(&proxy).await;
    says(&mut client, "hello").await;
    hears(&mut client, "hello").await;

    let seen = proxy.traffic();
    assert_eq!((seen.accepted, seen.open), (1, 1));
    let five = Flow {
        arrived: 5,
        passed: 5,
        discarded: 0,
    };
    assert_eq!((seen.requests, seen.replies), (five, five));
}

#[tokio::test]
async fn much_passes_in_order() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let (mut from, mut to) = client(&proxy).await.into_split();
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&copy).await.expect("it is open");
        to.shutdown().await.expect("it is open");
    });
    let mut heard = Vec::new();
    from.read_to_end(&mut heard).await.expect("a gentle end");
    writer.await.expect("written");
    assert!(heard == sent);
    traffic(&proxy, "no connection", |seen| seen.open == 0).await;
}

#[tokio::test]
async fn a_cut_resets_connections_and_refuses_new_ones_until_it_is_mended() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    for _ in 0..3 {
        let mut client = client(&proxy).await;
        says(&mut client, "hello").await;
        hears(&mut client, "hello").await;
        proxy.cut();
        is_refused(&proxy).await;
        is_reset(&mut client).await;
        assert_eq!(proxy.traffic().open, 0);
        proxy.mend();
    }
    let mut client = client(&proxy).await;
    says(&mut client, "again").await;
    hears(&mut client, "again").await;
}

#[tokio::test]
async fn what_is_connected_goes_on_while_new_ones_are_refused() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut client = client(&proxy).await;
    says(&mut client, "a").await;
    hears(&mut client, "a").await;
    proxy.refuse_new();
    is_refused(&proxy).await;
    says(&mut client, "b").await;
    hears(&mut client, "b").await;
}

#[tokio::test]
async fn a_reset_ends_what_is_connected_and_nothing_else() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut old = client(&proxy).await;
    says(&mut old, "a").await;
    hears(&mut old, "a").await;
    proxy.reset();
    let mut new = client(&proxy).await;
    says(&mut new, "b").await;
    hears(&mut new, "b").await;
    is_reset(&mut old).await;
}

#[tokio::test]
async fn a_blackhole_passes_nothing_and_what_was_sent_arrives_after_it() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut old = client(&proxy).await;
    says(&mut old, "a").await;
    hears(&mut old, "a").await;
    proxy.blackhole();
    says(&mut old, "b").await;
    let mut new = client(&proxy).await;
    says(&mut new, "c").await;
    traffic(&proxy, "both are at the proxy", |seen| {
        seen.accepted == 2 && seen.requests.arrived == 2
    })
    .await;
    assert_eq!(proxy.traffic().requests.passed, 1);
    assert_eq!((has_heard(&old), has_heard(&new)), (None, None));
    proxy.pass();
    hears(&mut old, "b").await;
    hears(&mut new, "c").await;
}

#[tokio::test]
async fn each_direction_is_held_by_itself_and_let_go_in_order() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut client = client(&proxy).await;

    proxy.hold(Direction::Requests);
    says(&mut client, "one ").await;
    says(&mut client, "two").await;
    traffic(&proxy, "a held request", |seen| seen.requests.arrived > 0).await;
    assert_eq!(proxy.traffic().requests.passed, 0);

    proxy.hold(Direction::Replies);
    proxy.release(Direction::Requests);
    traffic(&proxy, "a held reply", |seen| seen.replies.arrived > 0).await;
    assert_eq!(proxy.traffic().requests.passed, 7);
    assert_eq!(proxy.traffic().replies.passed, 0);
    assert_eq!(has_heard(&client), None);

    proxy.release(Direction::Replies);
    hears(&mut client, "one two").await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_held_too() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut client = client(&proxy).await;
    says(&mut client, "a").await;
    hears(&mut client, "a").await;
    proxy.hold(Direction::Replies);
    let _place = echo.stop().await;
    traffic(&proxy, "still open", |seen| seen.open == 1).await;
    assert_eq!(has_heard(&client), None);
    proxy.release(Direction::Replies);
    let end = client.read(&mut [0; 8]).await;
    assert!(end.is_err() || end.is_ok_and(|length| length == 0));
}

#[tokio::test]
async fn replies_are_dropped_while_requests_go_on_and_the_torn_stream_is_reset_afterwards() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut client = client(&proxy).await;
    proxy.drop_replies();
    says(&mut client, "hello").await;
    traffic(&proxy, "a lost reply", |seen| seen.replies.discarded == 5).await;
    says(&mut client, "hello").await;
    traffic(&proxy, "a lost reply", |seen| seen.replies.discarded == 10).await;
    assert_eq!(proxy.traffic().replies.passed, 0);
    assert_eq!(has_heard(&client), None);

    proxy.pass();
    is_reset(&mut client).await;
    let mut new = self::client(&proxy).await;
    says(&mut new, "again").await;
    hears(&mut new, "again").await;
}

#[tokio::test]
async fn a_delay_holds_every_chunk_back_for_that_long() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut client = client(&proxy).await;
    let delay = Duration::from_millis(60);
    proxy.delay(Direction::Requests, delay);
    proxy.delay(Direction::Replies, delay);
    let start = Instant::now();
    says(&mut client, "a").await;
    hears(&mut client, "a").await;
    assert!(start.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn a_proxy_is_as_reachable_as_its_server() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let mut old = client(&proxy).await;
    says(&mut old, "a").await;
    hears(&mut old, "a").await;

    let place = echo.stop().await;
    assert!(old.read(&mut [0; 8]).await.is_ok_and(|length| length == 0));
    wait_until("a refusal", SOON, async || dial(&proxy).await.is_err()).await;
    is_refused(&proxy).await;

    let _echo = Echo::start_at(place).await;
    wait_until("a listener", SOON, async || dial(&proxy).await.is_ok()).await;
    let mut new = client(&proxy).await;
    says(&mut new, "b").await;
    hears(&mut new, "b").await;
}

#[tokio::test]
async fn a_proxy_may_be_started_before_its_server() {
    let place = Reserved::tcp().expect("a port");
    let proxy = Proxy::start(place.addr().clone()).await.expect("a proxy");
    is_refused(&proxy).await;
    let _echo = Echo::start_at(place).await;
    wait_until("a listener", SOON, async || dial(&proxy).await.is_ok()).await;
}

#[tokio::test]
async fn a_cut_proxy_stays_cut_when_its_server_comes_back() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    let place = echo.stop().await;
    wait_until("a refusal", SOON, async || dial(&proxy).await.is_err()).await;
    proxy.cut();
    let _echo = Echo::start_at(place).await;
    is_refused(&proxy).await;
    proxy.mend();
    let mut client = client(&proxy).await;
    says(&mut client, "a").await;
    hears(&mut client, "a").await;
}

#[tokio::test]
async fn unix_sockets_are_carried_and_cut_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("server");
    let server = UnixListener::bind(&path).expect("a socket");
    let proxy = Proxy::start(Addr::Unix(path)).await.expect("a proxy");
    drop(server.accept().await.expect("the proxy's look"));
    let Addr::Unix(front) = proxy.addr() else {
        unreachable!("the proxy of a Unix socket is one")
    };
    let mut client = UnixStream::connect(front).await.expect("it listens");
    let (mut accepted, _) = server.accept().await.expect("a connection");
    client.write_all(b"hi").await.expect("it is open");
    let mut heard = [0; 2];
    accepted.read_exact(&mut heard).await.expect("it is open");

    proxy.cut();
    let refused = UnixStream::connect(front).await.expect_err("a refusal");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(
        client
            .read(&mut heard)
            .await
            .is_ok_and(|length| length == 0)
    );
    proxy.mend();
    UnixStream::connect(front).await.expect("it listens again");
}

#[tokio::test]
async fn a_connection_that_lost_a_large_packet_carries_nothing_more_that_way_and_others_go_on() {
    let echo = Echo::start().await;
    let proxy = echo.proxy().await;
    proxy.lose_larger_than(Direction::Requests, 8);
    let (mut one, mut other) = (client(&proxy).await, client(&proxy).await);
    says(&mut one, "small").await;
    hears(&mut one, "small").await;
    says(&mut one, "larger than that").await;
    traffic(&proxy, "the loss", |seen| seen.requests.discarded == 16).await;
    says(&mut one, "small").await;
    traffic(&proxy, "the rest", |seen| seen.requests.discarded == 21).await;
    assert_eq!(has_heard(&one), None);
    says(&mut other, "small").await;
    hears(&mut other, "small").await;

    proxy.lose_nothing(Direction::Requests);
    let mut third = client(&proxy).await;
    says(&mut third, "larger than that").await;
    hears(&mut third, "larger than that").await;
}
