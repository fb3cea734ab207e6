//! One suite for every transport: what the servers and the clerk rely on holds over TCP, Unix
//! sockets and memory alike.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use lockservice::rpc;
use lockservice::rpc::{DialError, GreetError, Purpose, Rejection, RunId};
use lockservice::service::PROTOCOL_VERSION;
use lockservice::transport::{
    Addr, Listener, MemoryNetwork, Network, PairId, Stream, SystemNetwork,
};
use lockservice::types::ServerId;
use tarpc::client::RpcError;
use tarpc::context;
use tarpc::server::{BaseChannel, Channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAX_FRAME_BYTES: usize = 4096;

#[tarpc::service]
trait Echo {
    /// Gives `text` back `times` times.
    async fn echo(text: String, times: u32) -> String;
}

#[derive(Clone)]
struct EchoServer;

impl Echo for EchoServer {
    async fn echo(self, _: context::Context, text: String, times: u32) -> String {
        text.repeat(usize::try_from(times).expect("a small number"))
    }
}

/// A network, and an address on it that is listened on.
struct Place {
    network: Arc<dyn Network>,
    listener: Listener,
    addr: Addr,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    async fn tcp() -> Self {
        Self::at(Arc::new(SystemNetwork::default()), "127.0.0.1:0", None).await
    }

    async fn unix() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let addr = format!("unix:{}", dir.path().join("socket").display());
        Self::at(Arc::new(SystemNetwork::default()), &addr, Some(dir)).await
    }

    async fn memory() -> Self {
        Self::at(Arc::new(MemoryNetwork::new()), "memory:place", None).await
    }

    async fn at(network: Arc<dyn Network>, addr: &str, dir: Option<tempfile::TempDir>) -> Self {
        let addr = addr.parse().expect("an address");
        let listener = network.listen(&addr).await.expect("nobody else listens");
        let addr = listener.local_addr();
        Self {
            network,
            listener,
            addr,
            _dir: dir,
        }
    }

    /// Connects without a preface.
    async fn connect(&self) -> Stream {
        self.network
            .connect(&self.addr)
            .await
            .expect("somebody listens")
    }

    async fn accept(&mut self) -> Stream {
        self.listener.accept().await.expect("a connection").0
    }

    /// Dials, while the other end is given to `other`.
    async fn dial_to<T>(
        &mut self,
        other: impl AsyncFnOnce(Stream) -> T,
    ) -> (Result<Stream, DialError>, T) {
        let dial = rpc::dial(&*self.network, &self.addr, Purpose::Client);
        let answer = async { other(self.listener.accept().await.expect("a connection").0).await };
        tokio::join!(dial, answer)
    }

    /// A connection, as both ends have it after the preface.
    async fn pair(&mut self) -> (Stream, Stream) {
        let (near, far) = self.dial_to(welcome).await;
        (near.expect("welcome"), far)
    }

    /// Serves every connection that comes, until the runtime ends.
    fn serve(self) -> (Arc<dyn Network>, Addr) {
        let place = (self.network.clone(), self.addr.clone());
        tokio::spawn(async move {
            let mut place = self;
            loop {
                tokio::spawn(serve_connection(place.accept().await));
            }
        });
        place
    }
}

async fn welcome(mut stream: Stream) -> Stream {
    rpc::greet(&mut stream).await.expect("a preface");
    rpc::accept(&mut stream).await.expect("sent");
    stream
}

async fn serve_connection(stream: Stream) {
    let transport = rpc::server_transport(welcome(stream).await, MAX_FRAME_BYTES);
    BaseChannel::with_defaults(transport)
        .execute(EchoServer.serve())
        .for_each(|call| async {
            tokio::spawn(call);
        })
        .await;
}

fn client_on(stream: Stream) -> EchoClient {
    let transport = rpc::client_transport(stream, MAX_FRAME_BYTES);
    EchoClient::new(tarpc::client::Config::default(), transport).spawn()
}

async fn client(place: &(Arc<dyn Network>, Addr)) -> EchoClient {
    client_on(
        rpc::dial(&*place.0, &place.1, Purpose::Client)
            .await
            .expect("served"),
    )
}

async fn echo(client: &EchoClient, text: &str, times: u32) -> Result<String, RpcError> {
    client
        .echo(context::current(), text.to_owned(), times)
        .await
}

/// A frame with a request in it whose caller would wait for `wait`.
fn request_frame(wait: Duration) -> Vec<u8> {
    let trace = ([0_u8; 16], 0_u64, 1_u32);
    let message = (0_u32, "hello", 1_u32);
    frame(&postcard::to_stdvec(&(0_u32, wait, trace, 7_u64, message)).expect("it encodes"))
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small frame");
    [&length.to_be_bytes()[..], body].concat()
}

/// Everything that comes until the other end has closed, however it does that.
async fn read_to_end(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut all).await;
    all
}

async fn a_call_is_answered(place: Place) {
    let client = client(&place.serve()).await;
    assert_eq!(echo(&client, "ab", 2).await.expect("answered"), "abab");
}

async fn a_hundred_calls_at_once_are_answered(place: Place) {
    let client = client(&place.serve()).await;
    let texts: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let answers = join_all(texts.iter().map(|text| echo(&client, text, 1))).await;
    for (text, answer) in texts.iter().zip(answers) {
        assert_eq!(&answer.expect("answered"), text);
    }
}

async fn a_request_too_large_fails_alone(place: Place) {
    let client = client(&place.serve()).await;
    let result = echo(&client, &"x".repeat(MAX_FRAME_BYTES), 1).await;
    assert!(matches!(result, Err(RpcError::Send(_))), "{result:?}");
    assert_eq!(
        echo(&client, "still here", 1).await.expect("answered"),
        "still here"
    );
}

async fn an_answer_too_large_ends_the_connection(place: Place) {
    let place = place.serve();
    let client_one = client(&place).await;
    let result = echo(&client_one, "xxxx", 2048).await;
    assert!(
        matches!(result, Err(RpcError::Shutdown | RpcError::Channel(_))),
        "{result:?}"
    );
    echo(&client_one, "a", 1).await.expect_err("no echo");
    echo(&client(&place).await, "a", 1)
        .await
        .expect("it answers");
}

/// Sends `bytes` behind a good preface, and expects to be cut off without harm to anybody else.
async fn is_cut_off(place: Place, bytes: &[u8]) {
    let place = place.serve();
    let bystander = client(&place).await;
    let mut stream = rpc::dial(&*place.0, &place.1, Purpose::Client)
        .await
        .expect("served");
    stream.write_all(bytes).await.expect("sent");
    assert_eq!(read_to_end(&mut stream).await, b"");
    echo(&bystander, "a", 1).await.expect("it answers");
    echo(&client(&place).await, "a", 1)
        .await
        .expect("it answers");
}

async fn a_frame_too_large_ends_the_connection(place: Place) {
    is_cut_off(place, &u32::MAX.to_be_bytes()).await;
}

async fn garbage_ends_the_connection(place: Place) {
    is_cut_off(place, &frame(&[0xff; 100])).await;
}

async fn a_deadline_beyond_the_clock_ends_the_connection(place: Place) {
    is_cut_off(place, &request_frame(Duration::MAX)).await;
}

async fn a_far_deadline_is_served(place: Place) {
    let place = place.serve();
    let mut stream = rpc::dial(&*place.0, &place.1, Purpose::Client)
        .await
        .expect("served");
    let century = Duration::from_hours(100 * 365 * 24);
    stream
        .write_all(&request_frame(century))
        .await
        .expect("sent");
    let length = stream.read_u32().await.expect("an answer");
    let mut answer = vec![0; usize::try_from(length).expect("a small frame")];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert!(answer.ends_with(b"hello"), "{answer:?}");
}

async fn a_frame_may_come_in_pieces(place: Place) {
    let place = place.serve();
    let mut stream = rpc::dial(&*place.0, &place.1, Purpose::Client)
        .await
        .expect("served");
    for byte in request_frame(Duration::from_secs(10)) {
        stream.write_all(&[byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    stream.read_u32().await.expect("it answers");
}

async fn a_server_that_goes_away_fails_its_calls(mut place: Place) {
    let (near, mut far) = place.pair().await;
    let client = client_on(near);
    let goes_away = async {
        far.read_u8().await.expect("the beginning of a call");
        drop(far);
    };
    let (result, ()) = tokio::join!(echo(&client, "a", 1), goes_away);
    assert!(
        matches!(result, Err(RpcError::Shutdown | RpcError::Channel(_))),
        "{result:?}"
    );
}

async fn an_answer_cut_short_fails_its_call(mut place: Place) {
    let (near, mut far) = place.pair().await;
    let client = client_on(near);
    let cut_short = async {
        far.read_u8().await.expect("the beginning of a call");
        far.write_all(&[0, 0, 0, 9, 1, 2]).await.expect("sent");
        drop(far);
    };
    let (result, ()) = tokio::join!(echo(&client, "a", 1), cut_short);
    assert!(matches!(result, Err(RpcError::Channel(_))), "{result:?}");
}

async fn the_purpose_arrives_as_it_was_said(mut place: Place) {
    let pair = PairId(0x0123_4567_89ab_cdef);
    for purpose in [
        Purpose::Client,
        Purpose::Peer {
            from: ServerId::A,
            pair,
            run: RunId(7),
        },
        Purpose::Peer {
            from: ServerId::B,
            pair,
            run: RunId(7),
        },
        Purpose::Peer {
            from: ServerId::at(9).expect("a place"),
            pair,
            run: RunId(7),
        },
    ] {
        let dial = rpc::dial(&*place.network, &place.addr, purpose);
        let greet = async {
            let mut stream = place.listener.accept().await.expect("a connection").0;
            let heard = rpc::greet(&mut stream).await.expect("a preface");
            rpc::accept(&mut stream).await.expect("sent");
            heard
        };
        let (dialed, heard) = tokio::join!(dial, greet);
        dialed.expect("accepted");
        assert_eq!(heard, purpose);
    }
}

async fn every_rejection_arrives_as_it_was_said(mut place: Place) {
    for rejection in [
        Rejection::Busy,
        Rejection::OtherServers,
        Rejection::SameServer,
        Rejection::Itself,
        Rejection::Version {
            theirs: PROTOCOL_VERSION,
        },
    ] {
        let (dialed, ()) = place
            .dial_to(async |mut stream| {
                rpc::greet(&mut stream).await.expect("a preface");
                rpc::reject(&mut stream, rejection).await.expect("sent");
            })
            .await;
        assert!(
            matches!(dialed, Err(DialError::Rejected(heard)) if heard == rejection),
            "{dialed:?}"
        );
    }
}

async fn a_stranger_is_told_where_it_is(mut place: Place) {
    let page = format!("POST / HTTP/1.1\r\n\r\n{}", "x".repeat(32 * 1024));
    for words in [page.as_bytes(), b"\n", b"lockserf"] {
        let mut stranger = place.connect().await;
        stranger.write_all(words).await.expect("sent");
        let mut server = place.accept().await;
        let mut heard = String::new();
        let (greeted, heard_all) = tokio::join!(
            async {
                let greeted = rpc::greet(&mut server).await;
                drop(server);
                greeted
            },
            async {
                stranger.shutdown().await.expect("sent");
                stranger.read_to_string(&mut heard).await
            }
        );
        assert!(matches!(greeted, Err(GreetError::Stranger)), "{greeted:?}");
        heard_all.expect("the end is no reset");
        assert!(
            heard.starts_with("This is a lock server") && heard.ends_with("\r\n"),
            "{heard}"
        );
        assert!(heard.contains("lockc"), "{heard}");
    }
}

async fn another_version_that_hangs_up_at_once_is_known_all_the_same(mut place: Place) {
    let mut dialer = place.connect().await;
    dialer.write_all(b"lockserv\x00\x63").await.expect("sent");
    let mut server = place.accept().await;
    drop(dialer);
    let greeted = rpc::greet(&mut server).await;
    assert!(
        matches!(greeted, Err(GreetError::Version { theirs: 99 })),
        "{greeted:?}"
    );
}

async fn another_version_is_told_ours(mut place: Place) {
    let mut dialer = place.connect().await;
    dialer
        .write_all(b"lockserv\x00\x63and whatever that version says next")
        .await
        .expect("sent");
    let mut server = place.accept().await;
    let (greeted, mut heard) = tokio::join!(rpc::greet(&mut server), async {
        let mut heard = [0; 11];
        dialer.read_exact(&mut heard).await.expect("an answer");
        drop(dialer);
        heard.to_vec()
    });
    assert!(
        matches!(greeted, Err(GreetError::Version { theirs: 99 })),
        "{greeted:?}"
    );
    assert_eq!(heard.pop(), Some(1));
    assert_eq!(
        heard,
        [&b"lockserv"[..], &PROTOCOL_VERSION.to_be_bytes()].concat()
    );
}

async fn a_server_of_another_version_is_known(mut place: Place) {
    let (dialed, ()) = place
        .dial_to(async |mut stream| {
            stream.write_all(b"lockserv\x00\x63").await.expect("sent");
            read_to_end(&mut stream).await;
        })
        .await;
    let known = matches!(
        dialed,
        Err(DialError::Rejected(Rejection::Version { theirs: 99 }))
    );
    assert!(known, "{dialed:?}");
}

async fn another_kind_of_server_is_known(mut place: Place) {
    let (dialed, ()) = place
        .dial_to(async |mut stream| {
            stream
                .write_all(b"SSH-2.0-OpenSSH_9.2\r\n")
                .await
                .expect("sent");
            read_to_end(&mut stream).await;
        })
        .await;
    assert!(
        matches!(dialed, Err(DialError::NotALockServer)),
        "{dialed:?}"
    );
}

async fn a_malformed_preface_is_refused(mut place: Place) {
    for rest in [[7_u8, 0], [1, 26], [0, 1]] {
        let mut dialer = place.connect().await;
        let version = PROTOCOL_VERSION.to_be_bytes();
        let opening = [b"lockserv", &version[..], &rest, &[0; 8]].concat();
        dialer.write_all(&opening).await.expect("sent");
        let mut server = place.accept().await;
        let greeted = rpc::greet(&mut server).await;
        assert!(matches!(greeted, Err(GreetError::Malformed)), "{greeted:?}");
    }
}

async fn a_half_open_connection_only_waits(mut place: Place) {
    let mut dialer = place.connect().await;
    dialer.write_all(b"locks").await.expect("sent");
    let mut server = place.accept().await;
    let mut greet = Box::pin(rpc::greet(&mut server));
    assert!(greet.as_mut().now_or_never().is_none());
    drop(dialer);
    let greeted = greet.await;
    assert!(matches!(greeted, Err(GreetError::Broken(_))), "{greeted:?}");
}

async fn a_server_that_breaks_off_in_the_preface_is_no_dead_one(mut place: Place) {
    let (dialed, ()) = place.dial_to(async |stream| drop(stream)).await;
    assert!(matches!(dialed, Err(DialError::Broken(_))), "{dialed:?}");
}

async fn nobody_listens_once_the_listener_is_dropped(place: Place) {
    place
        .network
        .connect(&place.addr)
        .await
        .expect("it answers");
    let Place {
        network,
        listener,
        addr,
        _dir,
    } = place;
    drop(listener);
    let dialed = rpc::dial(&*network, &addr, Purpose::Client).await;
    assert!(matches!(dialed, Err(DialError::Refused(_))), "{dialed:?}");
    let again = network.listen(&addr).await;
    assert!(again.is_ok(), "{again:?}");
}

async fn an_address_in_use_is_refused(place: Place) {
    let error = place.network.listen(&place.addr).await.expect_err("in use");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

macro_rules! over_every_transport {
    ($($test:ident)*) => {
        over_every_transport!(tcp: $($test)*);
        over_every_transport!(unix: $($test)*);
        over_every_transport!(memory: $($test)*);
    };
    ($transport:ident: $($test:ident)*) => {
        mod $transport {
            $(
                #[tokio::test]
                async fn $test() {
                    let test = super::$test(super::Place::$transport().await);
                    let limit = std::time::Duration::from_secs(20);
                    tokio::time::timeout(limit, test).await.expect("it ends");
                }
            )*
        }
    };
}

over_every_transport! {
    a_call_is_answered
    a_hundred_calls_at_once_are_answered
    a_request_too_large_fails_alone
    an_answer_too_large_ends_the_connection
    a_frame_too_large_ends_the_connection
    garbage_ends_the_connection
    a_deadline_beyond_the_clock_ends_the_connection
    a_far_deadline_is_served
    a_frame_may_come_in_pieces
    a_server_that_goes_away_fails_its_calls
    an_answer_cut_short_fails_its_call
    the_purpose_arrives_as_it_was_said
    every_rejection_arrives_as_it_was_said
    a_stranger_is_told_where_it_is
    another_version_is_told_ours
    another_version_that_hangs_up_at_once_is_known_all_the_same
    a_server_of_another_version_is_known
    another_kind_of_server_is_known
    a_malformed_preface_is_refused
    a_half_open_connection_only_waits
    a_server_that_breaks_off_in_the_preface_is_no_dead_one
    nobody_listens_once_the_listener_is_dropped
    an_address_in_use_is_refused
}

#[tokio::test]
async fn each_network_refuses_what_is_not_on_it() {
    let memory: Addr = "memory:a".parse().expect("an address");
    let tcp: Addr = "127.0.0.1:1".parse().expect("an address");
    let error = SystemNetwork::default()
        .connect(&memory)
        .await
        .expect_err("not here");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("MemoryNetwork"), "{error}");
    let error = MemoryNetwork::new()
        .listen(&tcp)
        .await
        .expect_err("not here");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_host_name_is_resolved() {
    let any: Addr = "localhost:0".parse().expect("an address");
    let network = SystemNetwork::default();
    let mut listener = network.listen(&any).await.expect("a free port");
    let Addr::Tcp(bound) = listener.local_addr() else {
        panic!("not TCP")
    };
    let port = bound.rsplit_once(':').expect("a port").1;
    let named: Addr = format!("localhost:{port}").parse().expect("an address");
    let (near, far) = tokio::join!(network.connect(&named), listener.accept());
    assert!(near.is_ok() && far.is_ok());
}
