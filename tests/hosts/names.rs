//! Names that do not resolve, or not to what they should.

use lockservice::types::ServerId;

use crate::lan::{Host, Lan};

/// As a headless service does: the record goes with the host.
pub(crate) fn withdrawn() {
    let mut lan = Lan::new();
    lan.start_pair(&[]);
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        assert!(clerk.lock("x").await.expect("answered"));
    });
    lan.set_names(Host::B, "10.77.0.2 b\n");
    lan.unplug(Host::A);
    lan.kill(Host::A);
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        assert!(!clerk.lock("x").await.expect("answered"), "it is held");
    });
    lan.wait_alone(ServerId::B);
}

pub(crate) fn hanging_resolver() {
    let mut lan = Lan::new();
    lan.start_pair(&[]);
    let view = lan.status(ServerId::A).and_then(|status| status.view);
    lan.filter(Host::C, "udp dport 53 drop");
    for host in [Host::A, Host::B] {
        lan.ask_silent_name_server(host);
        lan.set_names(host, "");
    }
    // Resets what is connected; a new connection breaks after it was opened.
    let reset = "ip saddr 10.77.0.2 tcp flags & syn == 0 counter reject with tcp reset";
    lan.filter(Host::A, reset);
    lan.wait_filtered(Host::A);
    lan.filter_nothing(Host::A);
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        assert!(clerk.lock("x").await.expect("answered"));
    });
    lan.wait_whole();
    let now = lan.status(ServerId::A).and_then(|status| status.view);
    assert_eq!(now, view, "nobody went on alone meanwhile");
}

pub(crate) fn silent_first_address() {
    let mut lan = Lan::new();
    // Nobody has the first ones.
    let names = "10.77.0.98 a\n10.77.0.1 a\n10.77.0.99 b\n10.77.0.2 b\n";
    for host in [Host::A, Host::B, Host::C] {
        lan.set_names(host, names);
    }
    for host in [Host::A, Host::B] {
        lan.start(host, &["--listen", "0.0.0.0:5100"]);
    }
    lan.wait_whole();
    let lockc = env!("CARGO_BIN_EXE_lockc");
    let pair = ["--servers", "a:5100,b:5100"];
    assert_eq!(
        lan.on(Host::C, lockc, &[&pair[..], &["lock", "x"]].concat()),
        "true\n"
    );
    lan.kill(Host::A);
    assert_eq!(
        lan.on(Host::C, lockc, &[&pair[..], &["unlock", "x"]].concat()),
        "true\n"
    );
}
