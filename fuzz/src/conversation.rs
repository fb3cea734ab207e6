//! A live server, or two, and strangers who talk to it on several connections at once, as clients
//! and as the other server. When they have gone, it serves an honest clerk.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use lockservice::clerk::{ServerReport, status};
use lockservice::rpc::{Purpose, RunId, client_transport, dial};
use lockservice::service::{LockServiceClient, RoleName};
use lockservice::transport::{MemoryNetwork, Network, Stream};
use lockservice::types::ClientId;
use lockservice::{Clerk, Server, ServerConfig, ServerId, Servers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::falsehood::{Lie, answer};
use super::speech::{Known, Speech};

/// How much is said in one conversation.
const LONGEST: usize = 64;

/// How long servers may take to come to terms after it.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Arbitrary)]
struct Conversation {
    company: Company,
    steps: Vec<Step>,
}

/// Who is there beside server A.
#[derive(Debug, Arbitrary)]
enum Company {
    Nobody,
    ServerB,
    /// A false server, where B should be.
    Liar(Vec<Lie>),
}

#[derive(Debug, Arbitrary)]
struct Step {
    /// Which of eight connections: four to each server, of a client or of the other server.
    connection: u8,
    deed: Deed,
}

#[derive(Debug, Arbitrary)]
enum Deed {
    Say(Speech),
    Hear,
    /// In units of eight milliseconds: up to two seconds.
    Wait(u8),
    HangUp,
}

/// See the module.
pub fn conversation(data: &[u8]) {
    if let Ok(conversation) = Conversation::arbitrary_take_rest(Unstructured::new(data)) {
        super::block_on(converse(conversation));
    }
}

async fn converse(conversation: Conversation) {
    let stage = Stage::set(matches!(conversation.company, Company::ServerB)).await;
    let known = stage.find_out().await;
    let Conversation { company, steps } = conversation;
    if let Company::Liar(lies) = company {
        let listener = stage
            .network
            .listen(stage.servers.address(ServerId::B))
            .await;
        let lying = async {
            // When it has nothing left to say, nobody listens there.
            answer(listener.expect("the address is free"), &known, lies).await;
            pending::<()>().await;
        };
        tokio::select! {
            () = lying => {}
            () = stage.hear_all(&known, steps) => {}
        }
    } else {
        stage.hear_all(&known, steps).await;
    }
    stage.serves_an_honest_clerk().await;
}

impl Stage {
    /// Lets strangers say what the input says.
    async fn hear_all(&self, known: &Known, steps: Vec<Step>) {
        let mut connections: [Option<Stream>; 8] = Default::default();
        for step in steps.into_iter().take(LONGEST) {
            let number = usize::from(step.connection) % connections.len();
            let connection = &mut connections[number];
            match step.deed {
                Deed::Say(speech) => {
                    if connection.is_none() {
                        *connection = self.connect(number).await;
                    }
                    let bytes = speech.bytes(known);
                    if !say(connection, &bytes).await {
                        *connection = None;
                    }
                }
                Deed::Hear => hear(connection).await,
                Deed::Wait(units) => sleep(Duration::from_millis(8) * units.into()).await,
                Deed::HangUp => *connection = None,
            }
        }
    }
}

/// False when the other side has hung up, or reads no more.
async fn say(connection: &mut Option<Stream>, bytes: &[u8]) -> bool {
    let Some(stream) = connection else {
        return false;
    };
    let saying = timeout(Duration::from_millis(10), stream.write_all(bytes));
    matches!(saying.await, Ok(Ok(())))
}

/// Reads what there is to read.
async fn hear(connection: &mut Option<Stream>) {
    let mut bytes = [0; 1024];
    while let Some(stream) = connection {
        match timeout(Duration::from_millis(1), stream.read(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => *connection = None,
            Err(_) => return,
        }
    }
}

/// The servers, and the network that they are on.
struct Stage {
    network: Arc<MemoryNetwork>,
    servers: Servers,
    running: JoinSet<()>,
}

impl Stage {
    async fn set(pair: bool) -> Self {
        let network = Arc::new(MemoryNetwork::new());
        let servers = Servers::new("memory:a", "memory:b").expect("two addresses");
        let mut running = JoinSet::new();
        for me in &ServerId::BOTH[..=usize::from(pair)] {
            let mut config = ServerConfig::new(servers.clone(), *me);
            config.network = network.clone();
            config.alone = !pair;
            let server = Server::bind(config).await.expect("the address is free");
            running.spawn(async {
                server.run(pending()).await.expect("a server goes on");
            });
        }
        Self {
            network,
            servers,
            running,
        }
    }

    /// Gets a record, as any client can, and looks how things stand.
    async fn find_out(&self) -> Known {
        let addr = self.servers.address(ServerId::A);
        let id = ClientId::from_u128(1);
        loop {
            // A server that joins a cluster hangs up on clients that it had told of none.
            let stream = dial(&*self.network, addr, Purpose::Client).await;
            let transport = client_transport(stream.expect("a welcome"), 64 * 1024);
            let config = tarpc::client::Config::default();
            let client = LockServiceClient::new(config, transport).spawn();
            let opened = client
                .open_session(tarpc::context::current(), id, None)
                .await;
            let Ok(Ok(opened)) = opened else {
                sleep(Duration::from_millis(1)).await;
                continue;
            };
            let status = client.status(tarpc::context::current()).await;
            let status = status.expect("an answer");
            return Known {
                client: id,
                record: opened.session,
                view: status.view.expect("it serves"),
                op: status.op,
            };
        }
    }

    /// The first four connections lead to A, the others to B; each second one is that of a client.
    async fn connect(&self, number: usize) -> Option<Stream> {
        let to = ServerId::BOTH[number / 4];
        let purpose = match number % 2 {
            0 => Purpose::Client,
            _ => Purpose::Peer {
                from: to.peer(),
                pair: self.servers.pair_id(),
                run: RunId(7),
            },
        };
        let dialled = dial(&*self.network, self.servers.address(to), purpose);
        // A liar may be busy with somebody else.
        timeout(Duration::from_secs(1), dialled).await.ok()?.ok()
    }

    async fn serves_an_honest_clerk(mut self) {
        let mut running = std::mem::take(&mut self.running);
        let serving = timeout(PATIENCE, async {
            let builder = Clerk::builder(self.servers.clone()).network(self.network.clone());
            let clerk = loop {
                if let Ok(clerk) = builder.clone().connect().await {
                    break clerk;
                }
            };
            // False servers may have been believed, and the record be one of theirs.
            while clerk.lock("honest").await.is_err() {}
            assert!(clerk.unlock("honest").await.is_ok_and(|released| released));
            clerk.close().await;
            while !self.is_as_at_first().await {
                sleep(Duration::from_millis(100)).await;
            }
        });
        tokio::select! {
            served = serving => served.expect("an honest clerk is served"),
            Some(ended) = running.join_next() => panic!("a server has ended: {ended:?}"),
        }
    }

    /// Whether every server that runs has a role that it could have had before.
    async fn is_as_at_first(&self) -> bool {
        let network: Arc<dyn Network> = self.network.clone();
        let reports = status(&network, &self.servers, Duration::from_secs(1)).await;
        let role = |report: &ServerReport| Some(report.status.as_ref().ok()?.role);
        match reports.iter().map(role).collect::<Vec<_>>()[..] {
            [Some(RoleName::Standalone), None] => true,
            [Some(a), Some(b)] => matches!(
                (a, b),
                (RoleName::Primary, RoleName::Backup) | (RoleName::Backup, RoleName::Primary)
            ),
            _ => false,
        }
    }
}
