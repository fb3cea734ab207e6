//! Handlers, drivers and forwarders under schedules that shuttle chooses.
//!
//! A handler that forwards outside the one order ends with equal states on both servers, and has
//! answered wrongly on the way. So it is the answers that are judged here: all of them must follow
//! from one order, and whoever repeats its last call when the primary is gone must be told the same
//! again.
//!
//! The handlers and the two drivers are tasks of shuttle, polled in any order it likes. What the
//! driver spawns (forwarder, relay, probe) and the connections run on a Tokio runtime, one task at
//! each turn that shuttle gives it. All of it is the real code; channels and semaphores are Tokio's
//! own, and are not taken apart.

mod owners;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shuttle::future::JoinHandle;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::engine::pair::PairHandle;
use crate::rpc::RunId;
use crate::server::accept::Acceptor;
use crate::server::busy_poll::Window;
use crate::server::{Server, ServerConfig, Shared};
use crate::service::{Answer, CallId, Refusal, Request, RoleName, Verb};
use crate::testkit::{Recorder, linearizability};
use crate::transport::{MemoryNetwork, Servers};
use crate::types::{ClientId, LockName, Seq, ServerId, SessionId};

/// What a server does is timed by this; a turn of the runtime takes a millisecond of it.
const PEER_TIMEOUT: Duration = Duration::from_secs(4);

/// Two servers, and what moves them.
struct World {
    nodes: [Node; 2],
    is_over: Arc<AtomicBool>,
    turning: shuttle::thread::JoinHandle<()>,
}

struct Node {
    engine: Engine,
    /// Ends the driver.
    halt: CancellationToken,
    accepting: AbortHandle,
}

impl World {
    fn start(runtime: &Arc<Runtime>) -> Self {
        let network = Arc::new(MemoryNetwork::new());
        let nodes = ServerId::BOTH.map(|me| Node::start(runtime, &network, me));
        let is_over = Arc::<AtomicBool>::default();
        let turning = shuttle::thread::spawn({
            let (runtime, is_over) = (runtime.clone(), is_over.clone());
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    runtime.block_on(tokio::time::advance(Duration::from_millis(1)));
                    shuttle::thread::yield_now();
                }
            }
        });
        Self {
            nodes,
            is_over,
            turning,
        }
    }

    fn engines(&self) -> [Engine; 2] {
        [self.nodes[0].engine.clone(), self.nodes[1].engine.clone()]
    }

    /// Waits until both have met, and have the same state.
    async fn wait_whole(&self) {
        loop {
            let a = self.nodes[0].engine.status().await;
            let b = self.nodes[1].engine.status().await;
            let is_whole = (a.role, b.role) == (RoleName::Primary, RoleName::Backup);
            if is_whole && a.in_sync && b.in_sync && a.op == b.op {
                assert_eq!(a.digest, b.digest);
                return;
            }
            shuttle::future::yield_now().await;
        }
    }

    fn halt(&self, server: ServerId) {
        let node = &self.nodes[server.index()];
        node.halt.cancel();
        node.accepting.abort();
    }

    fn end(self) {
        for server in ServerId::BOTH {
            self.halt(server);
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.turning.join().expect("it does not panic");
    }
}

impl Node {
    fn start(runtime: &Runtime, network: &Arc<MemoryNetwork>, me: ServerId) -> Self {
        let servers = Servers::new("memory:a", "memory:b").expect("two addresses");
        let mut config = ServerConfig::new(servers, me);
        config.network = network.clone();
        config.timing.peer_timeout = PEER_TIMEOUT;
        let bound = runtime.block_on(Server::bind(config));
        let Server { config, listener } = bound.expect("a name of its own");
        let (run, warnings) = (RunId::random(), Arc::default());
        let (pair, driver, _locator) = PairHandle::new(&config.engine(run, &warnings));
        let engine = Engine::Pair(pair);
        let halt = CancellationToken::new();
        let halted = halt.clone();
        drop(shuttle::future::spawn(async move {
            tokio::select! {
                biased;
                () = halted.cancelled() => {}
                _ = driver => {}
            }
        }));
        let shared = Shared::new(
            config,
            run,
            warnings,
            engine.clone(),
            Window::default(),
            CancellationToken::new(),
        );
        let mut acceptor = Acceptor::new(listener, Arc::new(shared));
        let accepting = runtime.spawn(async move { acceptor.run().await });
        Self {
            engine,
            halt,
            accepting: accepting.abort_handle(),
        }
    }
}

/// A client: its record, and the call it makes.
struct Client {
    number: u32,
    record: SessionId,
    next: u64,
    engines: [Engine; 2],
    recorder: Recorder,
}

/// A call, and what its client was told.
struct Told {
    request: Request,
    answer: bool,
}

impl Client {
    async fn open(number: u32, engines: [Engine; 2], recorder: Recorder) -> Self {
        let client = ClientId::from_u128(u128::from(number));
        let opened = ask(
            &engines,
            &Request::OpenSession {
                client,
                terms: None,
            },
        )
        .await;
        let Answer::Opened(opened) = opened else {
            panic!("not opened: {opened:?}");
        };
        Self {
            number,
            record: opened.session,
            next: 0,
            engines,
            recorder,
        }
    }

    /// Makes some calls, one after the other, and gives the last one.
    async fn work(mut self, calls: usize) -> (Self, Told) {
        let mut last = self.call().await;
        for _ in 1..calls {
            last = self.call().await;
        }
        (self, last)
    }

    async fn call(&mut self) -> Told {
        let name = LockName::new(*pick(&["x", "y"])).expect("a name");
        let verb = *pick(&[Verb::Lock, Verb::Unlock]);
        let seq = Seq(self.next);
        self.next += 1;
        let id = CallId {
            client: ClientId::from_u128(u128::from(self.number)),
            session: self.record,
            seq,
            first_incomplete: seq,
        };
        let recorded = self.recorder.invoke(self.number, verb, &name);
        let request = Request::Call { id, verb, name };
        let answer = self.ask(&request).await;
        recorded.returned(answer);
        Told { request, answer }
    }

    async fn ask(&self, request: &Request) -> bool {
        ask_call(&self.engines, request).await
    }
}

/// Asks what is answered with yes or no.
async fn ask_call(engines: &[Engine; 2], request: &Request) -> bool {
    match ask(engines, request).await {
        Answer::Call(answer) => answer,
        other => panic!("a call was answered with {other:?}"),
    }
}

/// Asks one server or the other until one answers. A try may be dropped on the way, as when its
/// client's connection is reset; the next one has the same ids.
async fn ask(engines: &[Engine; 2], request: &Request) -> Answer {
    let answer = try_ask(engines, request).await;
    answer.unwrap_or_else(|refusal| panic!("refused: {refusal}"))
}

/// The same, with a refusal that no other try can change.
async fn try_ask(engines: &[Engine; 2], request: &Request) -> Result<Answer, Refusal> {
    loop {
        let engine = pick(engines);
        let patience = if thread_rng().gen_ratio(1, 4) {
            thread_rng().gen_range(0..20)
        } else {
            usize::MAX
        };
        let answer = tokio::select! {
            biased;
            answer = engine.submit(request.clone()) => answer,
            () = yields(patience) => continue,
        };
        match answer {
            Err(Refusal::NotReady | Refusal::Interrupted) => shuttle::future::yield_now().await,
            answer => return answer,
        }
    }
}

async fn yields(many: usize) {
    for _ in 0..many {
        shuttle::future::yield_now().await;
    }
}

fn pick<T>(among: &[T]) -> &T {
    &among[thread_rng().gen_range(0..among.len())]
}

/// Concurrent clients; then the primary halts, perhaps in the middle, and everybody repeats its
/// last call.
async fn calls_and_a_halt(world: &World) {
    world.wait_whole().await;
    let recorder = Recorder::new();
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(Client::open(number, world.engines(), recorder.clone()).await);
    }
    let working: Vec<_> = clients
        .into_iter()
        .map(|client| shuttle::future::spawn(client.work(3)))
        .collect();
    for (client, Told { request, answer }) in halt_during(world, working, 300).await {
        assert_eq!(client.ask(&request).await, answer, "{request:?}");
    }
    let history = recorder.history();
    linearizability::check(&history).unwrap_or_else(|wrong| panic!("{wrong}\n{history}"));
}

/// Halts the primary in the middle of some work, within so many yields, or when all of it is done.
/// Gives what came of it.
async fn halt_during<T>(world: &World, working: Vec<JoinHandle<T>>, within: usize) -> Vec<T> {
    let is_early = thread_rng().gen_bool(0.5);
    if is_early {
        yields(thread_rng().gen_range(0..within)).await;
        world.halt(ServerId::A);
    }
    let mut done = Vec::new();
    for work in working {
        done.push(work.await.expect("it does not panic"));
    }
    if !is_early {
        world.wait_whole().await;
        world.halt(ServerId::A);
    }
    done
}

/// Plays what happens in a world under so many schedules.
fn check<F>(many: usize, happens: F)
where
    F: AsyncFn(&World) + Copy + Send + Sync + 'static,
{
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    let scheduler = RandomScheduler::new_from_seed(0, many);
    shuttle::Runner::new(scheduler, config).run(move || {
        let runtime = Arc::new(runtime());
        // For the timers of what is not polled by it.
        let _entered = runtime.enter();
        let world = World::start(&runtime);
        shuttle::future::block_on(happens(&world));
        world.end();
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // One task at a turn.
        .event_interval(1)
        .build()
        .expect("a runtime without IO")
}

/// How many schedules are tried: so many, or `SCHEDULES`.
fn schedules(many: usize) -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness leaves no other way to hand a test something"
    )]
    let setting = std::env::var("SCHEDULES").ok();
    setting.map_or(many, |many| many.parse().expect("SCHEDULES is a number"))
}

#[test]
fn every_answer_follows_from_one_order_whatever_the_schedule() {
    check(schedules(500), calls_and_a_halt);
}

#[test]
fn whoever_waits_for_a_lock_is_told_of_its_turn_whatever_the_schedule() {
    check(schedules(200), owners::owners_and_a_halt);
}
