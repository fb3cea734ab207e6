//! Servers and clients that know each other by name, while names cannot be looked up.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use lockservice::clerk::{Clerk, status_of};
use lockservice::service::{RoleName, ServerStatus};
use lockservice::testkit::{Reserved, wait_until};
use lockservice::transport::{Addr, Listener, Network, Resolve, Stream, SystemNetwork};
use lockservice::types::ServerId;
use lockservice::{MemoryNetwork, Server, ServerConfig, Servers};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const PEER_TIMEOUT: Duration = Duration::from_millis(300);

const SOON: Duration = Duration::from_secs(30);

/// A resolver that does what a test says. Clones are the same one.
#[derive(Debug, Clone)]
struct Directory {
    mood: Arc<watch::Sender<Mood>>,
    addresses: Arc<HashMap<&'static str, Vec<Ipv4Addr>>>,
    asked: Arc<Mutex<HashSet<String>>>,
}

#[derive(Debug, Clone, Copy)]
enum Mood {
    Answers,
    Fails,
    Hangs,
}

impl Directory {
    fn of<const N: usize>(addresses: [(&'static str, Vec<Ipv4Addr>); N]) -> Self {
        Self {
            mood: Arc::new(watch::Sender::new(Mood::Answers)),
            addresses: Arc::new(addresses.into()),
            asked: Arc::default(),
        }
    }

    fn was_asked(&self, host: &str) -> bool {
        self.asked
            .lock()
            .expect("no test panics with it")
            .contains(host)
    }

    fn becomes(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::new(SystemNetwork::with_resolver(self.clone()))
    }
}

impl Resolve for Directory {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let mut asked = self.asked.lock().expect("as above");
        asked.insert(host.to_owned());
        drop(asked);
        async move {
            let mut moods = self.mood.subscribe();
            let mood = moods.wait_for(|mood| !matches!(mood, Mood::Hangs));
            let mood = *mood.await.expect("the directory is there");
            match (mood, self.addresses.get(host)) {
                (Mood::Answers, Some(ips)) => Ok(ips.iter().map(|ip| (*ip, port).into()).collect()),
                _ => Err(io::Error::other("no such host")),
            }
        }
        .boxed()
    }
}

/// A pair whose servers are told each other's names.
struct Named {
    directory: Directory,
    servers: Servers,
    ports: [Reserved; 2],
    running: [Option<JoinHandle<()>>; 2],
}

impl Named {
    fn prepare(directory: Directory) -> Self {
        let ports = [(); 2].map(|()| Reserved::tcp().expect("a port"));
        let named = |host, port: &Reserved| format!("{host}:{}", number(port));
        let servers = Servers::new(named("a.test", &ports[0]), named("b.test", &ports[1]));
        Self {
            directory,
            servers: servers.expect("two addresses"),
            ports,
            running: [None, None],
        }
    }

    async fn start(&mut self) {
        for me in ServerId::BOTH {
            let mut config = ServerConfig::new(self.servers.clone(), me);
            config.timing.peer_timeout = PEER_TIMEOUT;
            config.network = self.directory.network();
            config.listen = Some(self.ports[me.index()].addr().clone());
            let server = Server::bind(config).await.expect("its port is reserved");
            let running = async { server.run(pending()).await.expect("it goes on") };
            self.running[me.index()] = Some(tokio::spawn(running));
        }
        wait_until("the pair is whole", SOON, async || {
            let primary = self.status(ServerId::A).await;
            primary.is_some_and(|status| status.in_sync)
        })
        .await;
    }

    async fn status(&self, server: ServerId) -> Option<ServerStatus> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        let [a, b] = &self.ports;
        let servers = Servers::new(a.addr().clone(), b.addr().clone()).expect("two addresses");
        let report = status_of(&network, &servers, server, SOON).await;
        report.status.ok()
    }

    /// A client that has looked both servers up.
    async fn clerk(&self) -> Clerk {
        let directory = Directory {
            asked: Arc::default(),
            ..self.directory.clone()
        };
        let network = directory.network();
        let builder = Clerk::builder(self.servers.clone()).network(network.clone());
        let clerk = builder.connect().await.expect("the pair answers");
        // It dials one of them, and has the other one looked up as well.
        wait_until("both were looked up", SOON, async || {
            ["a.test", "b.test"]
                .iter()
                .all(|host| directory.was_asked(host))
        })
        .await;
        for server in ServerId::BOTH {
            let located = network.locate(self.servers.address(server)).await;
            located.expect("the directory answers");
        }
        clerk
    }

    async fn kill(&mut self, server: ServerId) {
        let running = self.running[server.index()].take().expect("it runs");
        running.abort();
        let _ = running.await;
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.running.iter().flatten().for_each(JoinHandle::abort);
    }
}

fn number(port: &Reserved) -> u16 {
    let addr: SocketAddr = port.addr().to_string().parse().expect("an address");
    addr.port()
}

#[tokio::test]
async fn a_backup_takes_over_while_the_name_of_the_dead_primary_cannot_be_looked_up() {
    for mood in [Mood::Fails, Mood::Hangs, Mood::Answers] {
        let here = vec![Ipv4Addr::LOCALHOST];
        let directory = Directory::of([("a.test", here.clone()), ("b.test", here)]);
        let mut pair = Named::prepare(directory.clone());
        pair.start().await;
        let clerk = pair.clerk().await;
        assert!(clerk.lock("x").await.expect("answered"));
        directory.becomes(mood);
        pair.kill(ServerId::A).await;
        let again = clerk.lock("x").await;
        assert!(
            !again.expect("the backup took over"),
            "{mood:?}: it is held"
        );
        let status = pair.status(ServerId::B).await.expect("it answers");
        assert_eq!(status.role, RoleName::Standalone, "{mood:?}");
    }
}

/// An address at which dials are neither answered nor refused: its queue of connections is full.
struct Silent {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Silent {
    async fn at(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket
            .bind(addr)
            .expect("the port is reserved at another address alone");
        let listener = socket.listen(1).expect("it listens");
        let mut queued = Vec::new();
        // The kernel takes one or two more than it was told.
        while let Ok(stream) = tokio::time::timeout(PEER_TIMEOUT, TcpStream::connect(addr)).await {
            queued.push(stream.expect("nothing refuses it"));
        }
        Self {
            _listener: listener,
            _queued: queued,
        }
    }
}

#[tokio::test]
async fn a_name_is_reached_by_its_second_address_when_its_first_is_silent() {
    let nobody = Ipv4Addr::new(127, 0, 0, 9);
    let both = vec![nobody, Ipv4Addr::LOCALHOST];
    let directory = Directory::of([("a.test", both.clone()), ("b.test", both)]);
    let mut pair = Named::prepare(directory);
    let silent = |port| Silent::at((nobody, number(port)).into());
    let [a, b] = &pair.ports;
    let _silent = [silent(a).await, silent(b).await];
    pair.start().await;
    let clerk = pair.clerk().await;
    assert!(clerk.lock("x").await.expect("answered"));
    pair.kill(ServerId::A).await;
    assert!(!clerk.lock("x").await.expect("answered"), "it is held");
}

/// The network of a server that cannot look up the name of its peer, until it is told to.
#[derive(Debug)]
struct Nameless {
    network: MemoryNetwork,
    known: watch::Sender<bool>,
}

impl Network for Nameless {
    fn connect<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
        async {
            self.locate(addr).await?;
            self.network.connect(addr).await
        }
        .boxed()
    }

    fn locate<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<()>> {
        async {
            let mut known = self.known.subscribe();
            let _ = known.wait_for(|known| *known).await;
            Ok(())
        }
        .boxed()
    }

    fn listen<'a>(&'a self, addr: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
        self.network.listen(addr)
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_learnt_where_its_peer_is_does_not_take_it_for_dead() {
    let memory = MemoryNetwork::new();
    let nameless = Arc::new(Nameless {
        network: memory.clone(),
        known: watch::Sender::new(false),
    });
    let servers = Servers::new("memory:a", "memory:b").expect("two addresses");
    let networks: [Arc<dyn Network>; 2] = [Arc::new(memory.clone()), nameless.clone()];
    let mut running = Vec::new();
    for (me, network) in ServerId::BOTH.into_iter().zip(networks) {
        let mut config = ServerConfig::new(servers.clone(), me);
        config.network = network;
        let server = Server::bind(config).await.expect("nobody listens there");
        running.push(tokio::spawn(async { server.run(pending()).await }));
    }
    let network: Arc<dyn Network> = Arc::new(memory);
    let status = async |server| {
        let report = status_of(&network, &servers, server, SOON).await;
        report.status.expect("it answers")
    };
    wait_until("the pair is whole", SOON, async || {
        status(ServerId::B).await.in_sync
    })
    .await;
    running[0].abort();
    let long = Instant::now() + Duration::from_mins(10);
    while Instant::now() < long {
        let role = status(ServerId::B).await.role;
        assert_eq!(
            role,
            RoleName::Backup,
            "it cannot know that the primary is dead"
        );
        tokio::time::sleep(PEER_TIMEOUT).await;
    }
    nameless.known.send_replace(true);
    wait_until("it takes over", SOON, async || {
        status(ServerId::B).await.role == RoleName::Standalone
    })
    .await;
    running[1].abort();
}
