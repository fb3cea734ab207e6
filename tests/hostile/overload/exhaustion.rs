//! What runs out when clients want too much, are too slow, or never end: connections, descriptors,
//! memory, locks, the processor. Through all of it an honest client is served, and afterwards
//! everything is there again.
//!
//! `LONG_TESTS=1` takes the numbers that are promised; without it, smaller ones.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use lockservice::clerk::{CallError, Clerk};
use lockservice::rpc::{Purpose, dial};
use lockservice::service::{Cursor, LockServiceRequest, Resource};
use lockservice::transport::{Addr, Network as _, Stream, SystemNetwork};
use lockservice::types::ServerId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{interval, timeout};

use crate::edition::{is_long, rounds};
use crate::target::{Honest, PATIENCE, Target};

const A: ServerId = ServerId::A;

/// What a client is told.
type Answer = Result<bool, CallError>;

/// A pair, and an honest client at work.
struct Overload {
    target: Target,
    honest: Honest,
    memory: u64,
    descriptors: usize,
}

impl Overload {
    async fn begin(args: &[&str], descriptors: Option<u32>) -> Self {
        let quiet = ["--log-filter", "warn,tarpc=off"];
        let target = Target::start(&[&quiet, args].concat(), descriptors).await;
        let honest = Honest::start(&target).await;
        Self {
            memory: target.memory(),
            descriptors: target.descriptors(),
            target,
            honest,
        }
    }

    fn addr(&self) -> &Addr {
        self.target.address(A)
    }

    /// Whoever was there has gone.
    async fn ends(mut self) {
        self.target.is_used_as_if_nothing_had_happened().await;
        assert_eq!(self.target.primary().await, Some(A), "nothing failed over");
        self.honest.has_been_served().await;
        self.target.has_its_descriptors_back(self.descriptors).await;
        self.target.has_its_memory_back(self.memory).await;
    }
}

async fn connected(addr: &Addr) -> Stream {
    SystemNetwork::default()
        .connect(addr)
        .await
        .expect("it listens")
}

async fn greeted(addr: &Addr) -> Stream {
    let stream = dial(&SystemNetwork::default(), addr, Purpose::Client).await;
    stream.expect("it welcomes clients")
}

async fn many<T>(count: u32, mut make: impl AsyncFnMut() -> T) -> Vec<T> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(make().await);
    }
    all
}

#[tokio::test]
async fn connections_that_never_say_what_they_are_cost_little() {
    let siege = Overload::begin(&[], None).await;
    let mut streams = many(rounds(300, 2_000), || connected(siege.addr())).await;
    for stream in streams.iter_mut().step_by(2) {
        stream.write_all(b"lockserv").await.expect("it reads");
    }
    siege.honest.advance().await;
    drop(streams);
    siege.ends().await;
}

#[tokio::test]
async fn idle_connections_cost_little() {
    let siege = Overload::begin(&[], None).await;
    let streams = many(rounds(500, 9_000), || greeted(siege.addr())).await;
    siege.honest.advance().await;
    drop(streams);
    siege.ends().await;
}

#[tokio::test]
async fn frames_that_are_begun_and_never_ended_cost_little() {
    let siege = Overload::begin(&[], None).await;
    let mut streams = many(rounds(500, 2_000), || greeted(siege.addr())).await;
    for (number, stream) in streams.iter_mut().enumerate() {
        // As long as a frame may be, and much longer.
        let length = [4 * 1024_u32, 64 * 1024, 1024 * 1024][number % 3];
        let mut bytes = vec![b'x'; usize::try_from(length).expect("a small frame") + 3];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        // It may hang up on the way.
        let _ = stream.write_all(&bytes).await;
    }
    siege.honest.advance().await;
    drop(streams);
    siege.ends().await;
}

/// A request as tarpc lays it out.
fn request(number: u32, request: &LockServiceRequest) -> Vec<u8> {
    let trace = ([0_u8; 16], 0_u64, 1_u32);
    let message = (0_u32, PATIENCE, trace, u64::from(number), request);
    let body = postcard::to_stdvec(&message).expect("it encodes");
    let length = u32::try_from(body.len()).expect("a small frame");
    [&length.to_be_bytes()[..], &body].concat()
}

/// Asks on and on, and reads nothing, until the server takes no more.
async fn ask_and_never_read(addr: &Addr, asked: &LockServiceRequest) -> Stream {
    let mut stream = greeted(addr).await;
    let batch = |first| (first..first + 100).flat_map(|n| request(n, asked));
    for first in (0..).step_by(100) {
        let bytes: Vec<_> = batch(first).collect();
        let took = timeout(Duration::from_secs(1), stream.write_all(&bytes)).await;
        if !matches!(took, Ok(Ok(()))) {
            break;
        }
    }
    stream
}

#[tokio::test]
async fn clients_that_never_read_cost_little() {
    // In the long edition as many as there are by default.
    let most = rounds(1_000, 16_384).to_string();
    let siege = Overload::begin(&["--max-calls", &most], None).await;
    // Many small answers, and the largest that there are.
    let clerk = siege.target.clerk().await;
    let names: Vec<_> = (0..2_000).map(name).collect();
    let locked = join_all(names.iter().map(|name| clerk.lock(name))).await;
    all_are(&locked, |answer| matches!(answer, Ok(true)));
    clerk.close().await;
    let list = LockServiceRequest::List {
        prefix: String::new(),
        from: Cursor::default(),
    };
    let kinds = [LockServiceRequest::Status {}, list];
    let streams = kinds.iter().cycle().take(rounds(30, 500) as usize);
    let streams = streams.map(|asked| ask_and_never_read(siege.addr(), asked));
    let streams = join_all(streams).await;
    siege.honest.advance().await;
    drop(streams);
    siege.ends().await;
}

#[tokio::test]
async fn clients_that_send_a_byte_now_and_then_hold_up_nobody() {
    let siege = Overload::begin(&[], None).await;
    let mut streams = many(rounds(50, 500), || greeted(siege.addr())).await;
    let bytes = request(1, &LockServiceRequest::Status {});
    // In the long edition a byte a second, for all but the last of them.
    let period = Duration::from_millis(rounds(10, 1_000).into());
    let mut ticks = interval(period);
    let (_, begun) = bytes.split_last().expect("a request");
    for byte in begun {
        ticks.tick().await;
        for stream in &mut streams {
            stream.write_all(&[*byte]).await.expect("it reads");
        }
    }
    siege.honest.advance().await;
    drop(streams);
    siege.ends().await;
}

#[tokio::test]
async fn a_server_with_few_descriptors_keeps_some_for_itself_and_recovers() {
    let siege = Overload::begin(&[], Some(64)).await;
    let mut streams = many(100, || connected(siege.addr())).await;
    // The oldest that says nothing makes room.
    let ended = timeout(PATIENCE, streams[0].read(&mut [0])).await;
    let ended = ended.expect("it is closed in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    siege.honest.advance().await;
    assert!(!siege.target.log(A).contains("cannot accept"));
    drop(streams);
    siege.ends().await;
}

fn name(number: u32) -> String {
    format!("name-{number}")
}

/// How many calls a greedy client has in flight.
const AT_A_TIME: u32 = 100;

/// Shows the first answer that is none of the expected ones.
fn all_are(answers: &[Answer], expected: impl Fn(&Answer) -> bool) {
    let other = answers.iter().find(|answer| !expected(answer));
    assert!(other.is_none(), "{other:?}");
}

fn is_refused(answer: &Answer) -> bool {
    let resource = Resource::Locks;
    matches!(answer, Err(CallError::Overloaded { resource: which, .. }) if *which == resource)
}

/// Locks names until the server says that there are enough; gives how many were asked for.
async fn lock_all(clerk: &Clerk) -> u32 {
    for first in (0..).step_by(AT_A_TIME as usize) {
        let names: Vec<_> = (first..first + AT_A_TIME).map(name).collect();
        let answers = join_all(names.iter().map(|name| clerk.lock(name))).await;
        all_are(&answers, |answer| {
            matches!(answer, Ok(true)) || is_refused(answer)
        });
        if answers.iter().any(is_refused) {
            return first + AT_A_TIME;
        }
    }
    unreachable!("there is a limit")
}

async fn unlock_all(clerk: &Clerk, names: u32) {
    for first in (0..names).step_by(AT_A_TIME as usize) {
        let names: Vec<_> = (first..first + AT_A_TIME).map(name).collect();
        let answers = join_all(names.iter().map(|name| clerk.unlock(name))).await;
        all_are(&answers, Result::is_ok);
    }
}

#[tokio::test]
async fn a_full_table_takes_no_more_names_and_serves_those_that_it_has() {
    let most = rounds(5_000, 1_000_000);
    let siege = Overload::begin(&["--max-locks", &most.to_string()], None).await;
    let greedy = Clerk::builder(siege.target.servers.clone()).timeout(Duration::from_secs(3));
    let greedy = greedy.connect().await.expect("a server takes it on");
    let names = lock_all(&greedy).await;
    let statuses = siege.target.statuses().await;
    let [Some(a), _] = &statuses[..] else {
        panic!("it answers");
    };
    // The honest client may just be about to lock its own.
    let locks = u32::try_from(a.locks).expect("few");
    assert!((most - 1..=most).contains(&locks), "{locks} of {most}");
    // The honest client makes room for at most one more.
    let mut more = Vec::new();
    for number in names..names + 2 {
        more.push(greedy.lock(&name(number)).await);
    }
    let soon = Duration::from_secs(1);
    let told_soon = |answer: &Answer| matches!(answer, Err(CallError::Overloaded { after, .. }) if *after < soon);
    assert!(more.iter().any(told_soon), "{more:?}");
    assert!(!greedy.lock(&name(0)).await.expect("an answer"));
    assert!(greedy.unlock(&name(0)).await.expect("an answer"));
    siege.honest.advance().await;
    unlock_all(&greedy, names + 1).await;
    greedy.close().await;
    siege.ends().await;
}

/// A group of processes that share a twentieth of a processor.
struct Slow(PathBuf);

impl Slow {
    /// None where this user may not make one.
    fn of(processes: &[u32]) -> Option<Self> {
        let name = format!("/sys/fs/cgroup/cpu/lockservice-{}", std::process::id());
        let group = Self(name.into());
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("cpu.cfs_period_us"), "100000").ok()?;
        fs::write(group.0.join("cpu.cfs_quota_us"), "5000").ok()?;
        for process in processes {
            fs::write(group.0.join("cgroup.procs"), process.to_string()).ok()?;
        }
        Some(group)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = fs::read_to_string(self.0.join("cgroup.procs")).map(|processes| {
            for process in processes.lines() {
                let _ = fs::write("/sys/fs/cgroup/cpu/cgroup.procs", process);
            }
        });
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn servers_with_a_twentieth_of_a_processor_go_on() {
    if !is_long() {
        return;
    }
    let siege = Overload::begin(&[], None).await;
    let Some(slow) = Slow::of(&siege.target.ids()) else {
        println!("not tried: it takes the right to make a control group");
        return;
    };
    for _ in 0..20 {
        siege.honest.advance().await;
    }
    drop(slow);
    siege.ends().await;
}
