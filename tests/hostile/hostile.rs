//! What strangers, broken clients and wrong configurations do to a live server: nothing. They are
//! told why they are refused, and an honest clerk is served all along.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use lockservice::clerk::Clerk;
use lockservice::config::{CALL_WINDOW, Timing};
use lockservice::rpc::{DialError, Purpose, Rejection, RunId, client_transport, dial};
use lockservice::service::{
    CallId, LockServiceClient, LockServiceRequest, PROTOCOL_VERSION, Refusal, Resource,
};
use lockservice::testkit::{Direction, Pair, PairOptions, Process, Reserved, wait_until};
use lockservice::transport::{Addr, PairId, Servers, Stream, SystemNetwork};
use lockservice::types::{ClientId, NameError, Seq, ServerId};
use tarpc::context::{self, Context};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn processes() -> PairOptions {
    PairOptions::processes(env!("CARGO_BIN_EXE_lockd"))
}

/// A connection without a preface.
async fn connect(addr: &Addr) -> TcpStream {
    let stream = TcpStream::connect(addr.to_string()).await;
    stream.expect("somebody listens")
}

/// A connection with a good preface, of which the server expects requests.
async fn greeted(addr: &Addr) -> Stream {
    let stream = dial(&SystemNetwork::default(), addr, Purpose::Client).await;
    stream.expect("it welcomes clients")
}

/// A client that sends what a clerk never would.
async fn raw_client(addr: &Addr) -> LockServiceClient {
    let mut config = tarpc::client::Config::default();
    config.max_in_flight_requests = 10_000;
    let transport = client_transport(greeted(addr).await, 4 * 1024 * 1024);
    LockServiceClient::new(config, transport).spawn()
}

fn soon() -> Context {
    let mut context = context::current();
    context.deadline = Instant::now() + PATIENCE;
    context
}

/// A call in a new record of a new client.
async fn first_call(client: &LockServiceClient) -> CallId {
    let id = ClientId::random();
    let opened = client
        .open_session(soon(), id, None)
        .await
        .expect("an answer");
    CallId {
        client: id,
        session: opened.expect("a record").session,
        seq: Seq(0),
        first_incomplete: Seq(0),
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until the server has hung up.
async fn hung_up(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // A reset is as good an end as any.
    let _ = in_time("the end of a connection", stream.read_to_end(&mut rest)).await;
}

async fn serves_an_honest_clerk(pair: &Pair) {
    let clerk = pair.clerk().await;
    assert!(clerk.lock("honest").await.expect("an answer"));
    assert!(!clerk.lock("honest").await.expect("an answer"));
    assert!(clerk.unlock("honest").await.expect("an answer"));
    clerk.close().await;
    pair.wait_whole().await;
    assert_eq!(pair.primary().await, Some(A), "nothing failed over");
    for server in ServerId::BOTH {
        assert!(!pair.log(server).contains("panicked"));
    }
}

async fn logs(pair: &Pair, server: ServerId, text: &str) {
    wait_until(text, PATIENCE, async || pair.log(server).contains(text)).await;
}

#[tokio::test]
async fn a_stranger_is_told_in_plain_text_what_this_port_is() {
    let pair = Pair::start(processes()).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"lockseRv",
        b"\0",
    ] {
        let mut stream = connect(pair.front(A).addr()).await;
        stream.write_all(bytes).await.expect("it reads");
        let mut told = String::new();
        in_time("the answer", stream.read_to_string(&mut told))
            .await
            .expect("text");
        assert!(told.starts_with("This is a lock server"), "{told}");
    }
    logs(&pair, A, "a stranger's bytes").await;
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn another_protocol_version_is_refused_and_both_sides_know_both_versions() {
    let pair = Pair::start(processes()).await;
    for theirs in [PROTOCOL_VERSION - 1, u16::MAX] {
        let mut stream = connect(pair.front(A).addr()).await;
        let hello = [&b"lockserv"[..], &theirs.to_be_bytes()].concat();
        stream.write_all(&hello).await.expect("it reads");
        let mut told = Vec::new();
        in_time("the answer", stream.read_to_end(&mut told))
            .await
            .expect("an answer");
        let version_and_verdict = [&PROTOCOL_VERSION.to_be_bytes()[..], &[1]].concat();
        assert_eq!(told, [b"lockserv", &version_and_verdict[..]].concat());
        let line = format!(
            "it speaks version {theirs} of the protocol, this server speaks {PROTOCOL_VERSION}"
        );
        logs(&pair, A, &line).await;
    }
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_is_is_dropped() {
    let mut timing = Timing::default();
    timing.preface_timeout = Duration::from_millis(200);
    let pair = Pair::start(PairOptions::threads().timing(timing)).await;
    let mut streams = Vec::new();
    for bytes in [&b""[..], b"lock", b"lockserv\0\x01\0"].repeat(50) {
        let mut stream = connect(pair.front(A).addr()).await;
        stream.write_all(bytes).await.expect("it is open");
        streams.push(stream);
    }
    for mut stream in streams {
        hung_up(&mut stream).await;
    }
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_peer_of_another_pair_and_one_started_as_the_same_server_are_refused_and_logged() {
    let pair = Pair::start(processes()).await;
    let ours = pair.servers().pair_id();
    let stranger = Purpose::Peer {
        from: B,
        pair: PairId(!ours.0),
        run: RunId(7),
    };
    let unlisted = Purpose::Peer {
        from: ServerId::at(2).expect("a place"),
        pair: ours,
        run: RunId(7),
    };
    let twin = Purpose::Peer {
        from: A,
        pair: ours,
        run: RunId(7),
    };
    let cases = [
        (stranger, Rejection::OtherServers, "belongs to another pair"),
        (unlisted, Rejection::OtherServers, "belongs to another pair"),
        (twin, Rejection::SameServer, "the same server of the pair"),
    ];
    for (purpose, rejection, logged) in cases {
        let refused = dial(&SystemNetwork::default(), pair.link_to(A).addr(), purpose).await;
        let rejected = DialError::Rejected(rejection);
        assert_eq!(
            refused.expect_err("refused").to_string(),
            rejected.to_string()
        );
        wait_until("it is logged", PATIENCE, async || {
            pair.log(A).contains(logged)
        })
        .await;
    }
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_server_that_is_told_to_be_its_own_peer_says_so_and_answers_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let [own, other] = [(); 2].map(|()| Reserved::tcp().expect("a port"));
    let servers = Servers::new(own.addr().clone(), other.addr().clone()).expect("two addresses");
    let (list, own) = (servers.to_string(), own.addr().to_string());
    let args = [
        "primary",
        "--servers",
        &list,
        "--peer-addr",
        &own,
        "--alone",
    ];
    let log = directory.path().join("log");
    let lockd = Process::start("lockd", Path::new(env!("CARGO_BIN_EXE_lockd")), args, log)
        .expect("lockd starts");
    let says = "this very process answers there";
    wait_until(says, PATIENCE, async || lockd.log().contains(says)).await;
    let clerk = Clerk::builder(servers).timeout(Duration::from_millis(500));
    clerk.connect().await.expect_err("it has not met its peer");
}

/// The head of a frame that would be `length` bytes long.
fn head(length: u32) -> [u8; 4] {
    length.to_be_bytes()
}

#[tokio::test]
async fn a_frame_of_a_gigabyte_ends_its_connection() {
    let pair = Pair::start(processes()).await;
    for length in [1 << 30, u32::MAX, 4 * 1024 + 1] {
        let mut stream = greeted(pair.front(A).addr()).await;
        stream.write_all(&head(length)).await.expect("it reads");
        stream.flush().await.expect("it reads");
        hung_up(&mut stream).await;
    }
    serves_an_honest_clerk(&pair).await;
}

/// Bytes that look like nothing, and are the same in every run.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
}

/// A frame of the right form around `body`.
fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small frame");
    [&head(length)[..], body].concat()
}

#[tokio::test]
async fn random_bytes_after_a_good_preface_hurt_nobody() {
    let pair = Pair::start(processes()).await;
    let of_a_peer = Purpose::Peer {
        from: B,
        pair: pair.servers().pair_id(),
        run: RunId(7),
    };
    for seed in 0..200 {
        let purpose = [Purpose::Client, of_a_peer][usize::from(seed % 4 == 0)];
        let dialled = dial(&SystemNetwork::default(), pair.link_to(A).addr(), purpose).await;
        let mut stream = dialled.expect("a welcome");
        let length = usize::try_from(seed).expect("a small number") * 3 + 1;
        let bytes: Vec<_> = noise(seed).take(length).collect();
        let bytes = if seed % 2 == 0 { frame(&bytes) } else { bytes };
        // It may hang up in the middle.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        hung_up(&mut stream).await;
    }
    serves_an_honest_clerk(&pair).await;
}

/// A request as tarpc lays it out, with any deadline.
fn request(number: u64, wait: Duration, request: &LockServiceRequest) -> Vec<u8> {
    let trace = ([0_u8; 16], 0_u64, 1_u32);
    let message = (0_u32, wait, trace, number, request);
    frame(&postcard::to_stdvec(&message).expect("it encodes"))
}

#[tokio::test]
async fn a_deadline_beyond_any_timer_hurts_nobody() {
    let pair = Pair::start(processes()).await;
    let century = Duration::from_hours(100 * 365 * 24);
    let mut stream = greeted(pair.front(A).addr()).await;
    let bytes = request(7, century, &LockServiceRequest::Status {});
    stream.write_all(&bytes).await.expect("it reads");
    stream.flush().await.expect("it reads");
    let answered = in_time("the answer", stream.read_u32()).await;
    assert!(answered.expect("an answer") > 0);

    for wait in [Duration::MAX, Duration::from_secs(i64::MAX.unsigned_abs())] {
        let mut stream = greeted(pair.front(A).addr()).await;
        let bytes = request(7, wait, &LockServiceRequest::Status {});
        stream.write_all(&bytes).await.expect("it reads");
        stream.flush().await.expect("it reads");
        hung_up(&mut stream).await;
    }
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_that_the_server_is_busy() {
    let pair = Pair::start(processes().args(["--max-connections", "4"])).await;
    let mut seated = Vec::new();
    let refused = loop {
        match dial(
            &SystemNetwork::default(),
            pair.front(A).addr(),
            Purpose::Client,
        )
        .await
        {
            Ok(stream) => seated.push(stream),
            Err(error) => break error,
        }
        assert!(seated.len() <= 4, "more than the limit");
    };
    assert!(
        matches!(refused, DialError::Rejected(Rejection::Busy)),
        "{refused}"
    );
    // The other server is never turned away, and relays for those who come to it.
    let clerk = pair.clerk().await;
    assert!(clerk.lock("through the backup").await.expect("an answer"));
    drop(seated);
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_call_beyond_the_limit_is_told_that_the_server_is_overloaded() {
    let options = processes().args(["--max-calls", "8"]);
    let pair = Pair::start(options.peer_timeout(Duration::from_secs(20))).await;
    let client = raw_client(pair.front(A).addr()).await;
    let id = first_call(&client).await;
    // Nothing is answered while the backup does not hear of it.
    pair.link_to(B).hold(Direction::Requests);
    let calls = (0..20).map(|number| {
        let client = client.clone();
        let id = CallId {
            seq: Seq(number),
            ..id
        };
        tokio::spawn(async move { client.lock(soon(), id, format!("{number}")).await })
    });
    let calls: Vec<_> = calls.collect();
    wait_until("the refusals", PATIENCE, async || {
        calls.iter().filter(|call| call.is_finished()).count() == 12
    })
    .await;
    pair.link_to(B).release(Direction::Requests);
    let answers = join_all(calls).await;
    let answers = answers.into_iter().map(|call| call.expect("no panic"));
    let (granted, refused): (Vec<_>, Vec<_>) = answers
        .map(|answer| answer.expect("an answer"))
        .partition(|answer| *answer == Ok(true));
    assert_eq!((granted.len(), refused.len()), (8, 12));
    let overloaded = Err(Refusal::Overloaded(Resource::Calls));
    assert!(
        refused.iter().all(|answer| *answer == overloaded),
        "{refused:?}"
    );
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_and_changes_nothing() {
    let pair = Pair::start(processes()).await;
    let client = raw_client(pair.front(A).addr()).await;
    let id = first_call(&client).await;
    let before = pair.status(A).await.expect("it answers");
    for (bytes, error) in [
        (0, NameError::Empty),
        (1_025, NameError::TooLong { bytes: 1_025 }),
        (3_000, NameError::TooLong { bytes: 3_000 }),
    ] {
        let name = "x".repeat(bytes);
        for answer in [
            client.lock(soon(), id, name.clone()).await,
            client.unlock(soon(), id, name.clone()).await,
        ] {
            assert_eq!(answer.expect("an answer"), Err(Refusal::InvalidName(error)));
        }
    }
    let megabyte = "x".repeat(1024 * 1024);
    let answer = in_time("the end", client.lock(soon(), id, megabyte)).await;
    answer.expect_err("the connection has ended");
    let after = pair.status(A).await.expect("it answers");
    assert_eq!((after.op, after.digest), (before.op, before.digest));
    serves_an_honest_clerk(&pair).await;
}

#[tokio::test]
async fn a_call_of_no_record_or_far_ahead_is_refused_and_changes_nothing() {
    let pair = Pair::start(processes()).await;
    let client = raw_client(pair.front(A).addr()).await;
    let id = first_call(&client).await;
    let before = pair.status(A).await.expect("it answers");
    let ahead = CallId {
        seq: Seq(CALL_WINDOW),
        ..id
    };
    let stranger = CallId {
        client: ClientId::random(),
        ..id
    };
    for (id, refusal) in [
        (ahead, Refusal::WindowFull),
        (stranger, Refusal::UnknownSession),
    ] {
        let answer = client.lock(soon(), id, "x".to_owned()).await;
        assert_eq!(answer.expect("an answer"), Err(refusal));
    }
    let after = pair.status(A).await.expect("it answers");
    assert_eq!((after.op, after.locks), (before.op, 0));
    serves_an_honest_clerk(&pair).await;
}

/// The memory that a process has in use, in KiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.expect("its memory").parse().expect("a number")
}

/// Asks on and on, and reads nothing, until the server takes no more.
async fn ask_and_never_read(addr: &Addr) -> TcpStream {
    let mut stream = connect(addr).await;
    let hello = [&b"lockserv"[..], &PROTOCOL_VERSION.to_be_bytes(), &[0; 10]].concat();
    stream.write_all(&hello).await.expect("it reads");
    let mut number = 0;
    let asking = async {
        loop {
            let mut batch = Vec::new();
            for _ in 0..1_000 {
                number += 1;
                batch.extend(request(number, PATIENCE, &LockServiceRequest::Status {}));
            }
            let took = timeout(Duration::from_millis(500), stream.write_all(&batch)).await;
            if !matches!(took, Ok(Ok(()))) {
                return;
            }
        }
    };
    in_time("the server to take no more", asking).await;
    stream
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_grow_the_server_without_bound() {
    let directory = tempfile::tempdir().expect("a directory");
    let [own, other] = [(); 2].map(|()| Reserved::tcp().expect("a port"));
    let servers = Servers::new(own.addr().clone(), other.addr().clone()).expect("two addresses");
    let list = servers.to_string();
    let log = directory.path().join("log");
    let args = ["primary", "--alone", "--servers", &list];
    let lockd = Process::start("lockd", Path::new(env!("CARGO_BIN_EXE_lockd")), args, log)
        .expect("lockd starts");
    let clerk = Clerk::connect(servers).await.expect("it serves");
    assert!(clerk.lock("before").await.expect("an answer"));
    let before = resident(&lockd);
    let mut flood = Box::pin(join_all([(); 8].map(|()| ask_and_never_read(own.addr()))));
    let deaf = loop {
        tokio::select! {
            deaf = &mut flood => break deaf,
            answer = clerk.lock("before") => assert!(!answer.expect("an answer")),
        }
    };
    let grown = resident(&lockd).saturating_sub(before);
    assert!(
        grown < 32 * 1024,
        "{grown} KiB more for {} clients",
        deaf.len()
    );
    assert!(!clerk.lock("before").await.expect("an answer"));
}
