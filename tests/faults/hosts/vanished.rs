//! Hosts that go away without a word.

use std::convert::Infallible;
use std::thread;

use futures::future::join_all;
use lockservice::clerk::Clerk;
use lockservice::testkit::wait_until;
use lockservice::transport::Servers;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::lan::{Host, LONG, Lan, wait};

const CLERKS: usize = 40;

/// Its clients leave no room for others, until the servers have found out.
pub(crate) fn clients() {
    let mut lan = Lan::new();
    lan.start_pair(&["--max-connections", "40"]);
    let from_clients = |lan: &Lan| lan.connections(Host::A, Host::C);
    lan.visit(Host::C, async || {
        let clerks = join_all((0..CLERKS).map(|_| Lan::clerk())).await;
        assert!(from_clients(&lan) > CLERKS / 2, "they are connected");
        lan.unplug(Host::C);
        drop(clerks);
    });
    assert!(
        from_clients(&lan) > CLERKS / 2,
        "nobody has told the server"
    );
    wait("their connections are closed", || from_clients(&lan) == 0);
    let lockc = env!("CARGO_BIN_EXE_lockc");
    let args = ["--servers", "10.77.0.1:5100,10.77.0.2:5100", "lock", "x"];
    assert_eq!(lan.on(Host::B, lockc, &args), "true\n");
}

/// The port of the proxy on [`Host::C`].
const PROXY: &str = "10.77.0.3:6100";

/// The proxy's kernel answers for them: only that nothing is heard tells that they are gone.
pub(crate) fn behind_a_proxy() {
    let mut lan = Lan::new();
    lan.start_pair(&["--record-ttl", "2s"]);
    let from_proxy = |lan: &Lan| lan.connections(Host::A, Host::C);
    let stop = CancellationToken::new();
    thread::scope(|scope| {
        let lan = &lan;
        scope.spawn(|| {
            lan.visit(Host::C, async || {
                let proxy = TcpListener::bind(PROXY).await.expect("it is free");
                stop.run_until_cancelled(forward(proxy)).await;
            });
        });
        let _stop = stop.clone().drop_guard();
        lan.visit(Host::D, async || {
            let servers = Servers::new(PROXY, "10.77.0.2:5100").expect("two addresses");
            let clerks = join_all((0..CLERKS).map(async |_| {
                let clerk = Clerk::builder(servers.clone())
                    .timeout(LONG)
                    .hedge_delay(LONG) // or a slow proxy sends them to the backup
                    .connect()
                    .await;
                clerk.expect("the pair answers")
            }));
            let clerks = clerks.await;
            let connected = async || from_proxy(lan) > CLERKS / 2;
            wait_until("they are connected", LONG, connected).await;
            lan.unplug(Host::D);
            drop(clerks);
        });
        wait("their connections are closed", || from_proxy(lan) == 0);
    });
}

/// Passes on to the primary what comes, for as long as the kernel says that it comes from somebody.
async fn forward(proxy: TcpListener) -> Infallible {
    loop {
        let (mut near, _) = proxy.accept().await.expect("it accepts");
        tokio::spawn(async move {
            let mut far = TcpStream::connect("10.77.0.1:5100")
                .await
                .expect("it listens");
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
