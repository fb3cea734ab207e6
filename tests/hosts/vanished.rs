//! Hosts that go away without a word.

use futures::future::join_all;

use crate::lan::{Host, Lan, wait};

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
