//! Every client asks for its last call again after the primary has died, with the ids of the first
//! time.
//!
//! The clients are raw ones: a clerk repeats a call only while it has no answer.

use std::time::Instant;

use fastrand::Rng;
use futures::future::join_all;
use lockservice::rpc::{Purpose, client_transport, dial};
use lockservice::service::{CallId, LockServiceClient, Refusal, RoleName, Verb};
use lockservice::testkit::{Pair, Recorder, wait_until};
use lockservice::transport::{Addr, SystemNetwork};
use lockservice::types::{ClientId, LockName, Seq};
use tarpc::client::Config;
use tarpc::context::{self, Context};

use crate::edition::rounds;
use crate::load::{PATIENCE, processes};
use crate::{A, B, check};

const CLIENTS: u32 = 32;

fn soon() -> Context {
    let mut context = context::current();
    context.deadline = Instant::now() + PATIENCE;
    context
}

async fn connect(addr: &Addr) -> LockServiceClient {
    let stream = dial(&SystemNetwork::default(), addr, Purpose::Client).await;
    let transport = client_transport(stream.expect("it welcomes clients"), 64 * 1024);
    LockServiceClient::new(Config::default(), transport).spawn()
}

/// A call, with all that is needed to ask for it again.
#[derive(Debug, Clone)]
struct Call {
    id: CallId,
    verb: Verb,
    name: LockName,
}

impl Call {
    async fn ask(&self, server: &LockServiceClient) -> Result<bool, Refusal> {
        let name = self.name.as_str().to_owned();
        let answer = match self.verb {
            Verb::Lock => server.lock(soon(), self.id, name).await,
            Verb::Unlock => server.unlock(soon(), self.id, name).await,
        };
        answer.expect("the server answers")
    }
}

struct Client {
    number: u32,
    server: LockServiceClient,
    recorder: Recorder,
    next: CallId,
}

impl Client {
    async fn connect(number: u32, addr: &Addr, recorder: &Recorder) -> Self {
        let server = connect(addr).await;
        let client = ClientId::random();
        let opened = server
            .open_session(soon(), client, None)
            .await
            .expect("an answer");
        Self {
            number,
            server,
            recorder: recorder.clone(),
            next: CallId {
                client,
                session: opened.expect("a record").session,
                seq: Seq(0),
                first_incomplete: Seq(0),
            },
        }
    }

    async fn call(&mut self, verb: Verb, name: &str) -> (Call, bool) {
        let call = Call {
            id: self.next,
            verb,
            name: name.parse().expect("a name"),
        };
        let recorded = self.recorder.invoke(self.number, verb, &call.name);
        let answer = call.ask(&self.server).await.expect("it is answered");
        recorded.returned(answer);
        self.next.seq = self.next.seq.next();
        self.next.first_incomplete = self.next.seq;
        (call, answer)
    }

    /// Makes `calls` calls of locks that all want, and the last ones of a lock of its own, so that
    /// it is certain what the last one is told.
    async fn work(mut self, calls: u32) -> (Call, bool) {
        let mut random = Rng::with_seed(self.number.into());
        let own = format!("own/{}", self.number);
        let (verb, last) = match self.number % 4 {
            0 => (Verb::Lock, true),
            1 => (Verb::Lock, false),
            2 => (Verb::Unlock, true),
            _ => (Verb::Unlock, false),
        };
        for _ in 2..calls {
            let verb = if random.bool() {
                Verb::Lock
            } else {
                Verb::Unlock
            };
            let name = format!("shared/{}", random.u32(..8));
            self.call(verb, &name).await;
        }
        let first = if (verb == Verb::Lock) == last {
            Verb::Unlock
        } else {
            Verb::Lock
        };
        self.call(first, &own).await;
        let (call, answer) = self.call(verb, &own).await;
        assert_eq!(answer, last);
        (call, answer)
    }
}

/// Asks until the server is in a position to answer.
async fn repeat(call: &Call, server: &LockServiceClient) -> bool {
    let mut answer = None;
    wait_until("an answer to a repeated call", PATIENCE, async || {
        answer = match call.ask(server).await {
            Err(Refusal::NotReady) => None,
            answer => Some(answer.expect("it is known")),
        };
        answer.is_some()
    })
    .await;
    answer.expect("that was waited for")
}

#[tokio::test]
async fn every_client_that_repeats_its_last_call_after_the_primary_died_gets_the_same_answer() {
    let mut pair = Pair::start(processes()).await;
    let recorder = Recorder::new();
    let connect_all = (1..=CLIENTS).map(|n| Client::connect(n, pair.front(A).addr(), &recorder));
    let clients = join_all(connect_all).await;
    let calls = rounds(12_800, 50_000) / CLIENTS + 1;
    let lasts = join_all(clients.into_iter().map(|client| client.work(calls))).await;
    // Now a second execution of any of them would tell the opposite.
    let other = recorder.client(0, pair.clerk().await);
    for (call, answer) in &lasts {
        let name = call.name.as_str();
        match (call.verb, answer) {
            (Verb::Lock, false) => assert!(other.unlock(name).await.expect("an answer")),
            (Verb::Unlock, false) => assert!(other.lock(name).await.expect("an answer")),
            _ => {}
        }
    }

    pair.kill(A);
    let server = connect(pair.front(B).addr()).await;
    for _ in 0..2 {
        let repeated = join_all(lasts.iter().map(|(call, _)| repeat(call, &server))).await;
        for (again, (call, answer)) in repeated.into_iter().zip(&lasts) {
            assert_eq!(again, *answer, "{call:?}");
        }
    }
    pair.wait_role(B, RoleName::Standalone).await;
    let history = recorder.history();
    assert!(history.operations().len() >= rounds(12_800, 50_000) as usize);
    pair.run(A);
    pair.wait_whole().await;
    check(&pair, &history).await;
}
