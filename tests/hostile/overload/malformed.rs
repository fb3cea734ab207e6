//! A million frames that no honest program sends, at live servers: of the right form with absurd
//! contents, damaged, cut off, random, by false clients and by a false peer. A stranger's words
//! come from the vocabulary of the fuzz targets (`fuzz/src/speech.rs`).
//!
//! `LONG_TESTS=1` throws the million; without it, a few thousand.

use arbitrary::{Arbitrary as _, Unstructured};
use futures::future::join_all;
use lockservice::config::MAX_FRAME_BYTES;
use lockservice::rpc::{Purpose, RunId, client_transport, dial};
use lockservice::service::{LockServiceClient, PROTOCOL_VERSION};
use lockservice::transport::{Addr, Network as _, Stream, SystemNetwork};
use lockservice::types::{ClientId, ServerId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::edition::rounds;
use crate::speech::{Known, Speech};
use crate::target::{Honest, PATIENCE, Target};

/// How many strangers there are at a time.
const STRANGERS: u64 = 16;

/// What any client can find out.
async fn known(target: &Target) -> Known {
    let stream = dial(
        &SystemNetwork::default(),
        target.address(ServerId::A),
        Purpose::Client,
    )
    .await;
    let transport = client_transport(stream.expect("a welcome"), MAX_FRAME_BYTES);
    let client = LockServiceClient::new(tarpc::client::Config::default(), transport).spawn();
    let id = ClientId::random();
    let opened = client
        .open_session(tarpc::context::current(), id, None)
        .await;
    let statuses = target.statuses().await;
    let [Some(a), _] = &statuses[..] else {
        panic!("it answers");
    };
    Known {
        client: id,
        record: opened.expect("an answer").expect("a record").session,
        view: a.view.expect("it serves"),
        op: a.op,
    }
}

/// Bytes that look like nothing, and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn speech(&mut self) -> Speech {
        let length = 1 + self.below(25);
        let bytes: Vec<_> = (0..length)
            .flat_map(|_| self.next().to_be_bytes())
            .collect();
        Speech::arbitrary_take_rest(Unstructured::new(&bytes)).expect("any bytes will do")
    }
}

/// Says `frames` things, on one connection after the other. Now and then it is not understood at
/// all.
async fn harass(addr: &Addr, purpose: Purpose, known: &Known, seed: u64, frames: u64) {
    let mut noise = Noise(seed);
    let mut left = frames;
    while left > 0 {
        if noise.below(8) == 0 {
            left -= 1;
            introduce_badly(addr, &mut noise).await;
            continue;
        }
        let Ok(mut stream) = dial(&SystemNetwork::default(), addr, purpose).await else {
            // A server that a false peer has confused hangs up.
            tokio::task::yield_now().await;
            continue;
        };
        let frames = (1 + noise.below(8)).min(left);
        left -= frames;
        let words = (0..frames).flat_map(|_| noise.speech().bytes(known));
        let words: Vec<_> = words.collect();
        // It may have heard enough before the end.
        let said = in_time("it to listen", stream.write_all(&words)).await;
        if said.is_ok() && noise.below(8) > 0 {
            hear_the_end(stream).await;
        }
    }
}

/// Opens with a good preface that has a byte changed, an end too early, or noise after it.
async fn introduce_badly(addr: &Addr, noise: &mut Noise) {
    let version = PROTOCOL_VERSION.to_be_bytes();
    let mut words = [&b"lockserv"[..], &version, &[0; 10]].concat();
    let place = usize::try_from(noise.below(20)).expect("a small number");
    match noise.below(3) {
        0 => words[place] = noise.next().to_be_bytes()[0],
        1 => words.truncate(place),
        _ => words.extend(noise.next().to_be_bytes()),
    }
    let mut stream = SystemNetwork::default()
        .connect(addr)
        .await
        .expect("it listens");
    if stream.write_all(&words).await.is_ok() {
        hear_the_end(stream).await;
    }
}

async fn hear_the_end(mut stream: Stream) {
    // A reset is as good an end as any.
    let _ = stream.shutdown().await;
    let mut answers = Vec::new();
    let _ = in_time("the end", stream.read_to_end(&mut answers)).await;
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn harass_all(addr: &Addr, purpose: Purpose, known: &Known, frames: u32) {
    let seed = std::process::id();
    println!("seed {seed}");
    let share = u64::from(frames) / STRANGERS;
    let strangers = (0..STRANGERS).map(|stranger| {
        let seed = (u64::from(seed) << 32) + stranger;
        harass(addr, purpose, known, seed, share)
    });
    join_all(strangers).await;
}

#[tokio::test]
async fn false_clients_disturb_no_honest_one() {
    let mut target = Target::start(&["--log-filter", "warn"], None).await;
    let known = known(&target).await;
    let honest = Honest::start(&target).await;
    let before = target.memory();
    for server in ServerId::BOTH {
        let addr = target.address(server);
        harass_all(addr, Purpose::Client, &known, rounds(20_000, 375_000)).await;
    }
    honest.has_been_served().await;
    let statuses = target.statuses().await;
    let [Some(a), _] = &statuses[..] else {
        panic!("it answers");
    };
    assert_eq!(a.view, Some(known.view), "nothing failed over");
    target.has_its_memory_back(before).await;
    target.is_used_as_if_nothing_had_happened().await;
}

#[tokio::test]
async fn a_false_peer_leaves_no_server_out_of_use() {
    let mut target = Target::start(&["--log-filter", "warn"], None).await;
    let known = known(&target).await;
    let purpose = Purpose::Peer {
        from: ServerId::B,
        pair: target.servers.pair_id(),
        run: RunId(7),
    };
    let addr = target.address(ServerId::A);
    harass_all(addr, purpose, &known, rounds(20_000, 250_000)).await;
    target.is_used_as_if_nothing_had_happened().await;
}
