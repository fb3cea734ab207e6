//! Names that do not resolve, or not to what they should.

use lockservice::service::RoleName;
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
    for host in [Host::A, Host::B] {
        lan.ask_silent_name_server(host, 30);
        lan.set_names(host, "");
    }
    // Resets what is connected; a new connection breaks after it was opened.
    let reset = "ip saddr 10.77.0.2 tcp flags & syn == 0 counter reject with tcp reset";
    lan.filter(Host::A, reset);
    lan.wait_filtered(Host::A, 1);
    lan.filter_nothing(Host::A);
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        assert!(clerk.lock("x").await.expect("answered"));
    });
    lan.wait_whole();
    let now = lan.status(ServerId::A).and_then(|status| status.view);
    assert_eq!(now, view, "nobody went on alone meanwhile");
}

/// The primary dialled its backup, which has never learned where the primary is.
pub(crate) fn unknown_peer() {
    let mut lan = Lan::new();
    lan.ask_silent_name_server(Host::B, 2);
    lan.set_names(Host::B, "");
    for host in [Host::A, Host::B] {
        lan.start(host, &["--listen", "0.0.0.0:5100"]);
    }
    lan.wait_whole();
    lan.filter(Host::B, "ip saddr 10.77.0.1 drop");
    lan.wait_alone(ServerId::A);
    // A whole look-up begins and fails meanwhile: two seconds, and the peer timeout is one.
    lan.wait_filtered(Host::C, lan.filtered(Host::C) + 6);
    let status = lan.status(ServerId::B).expect("it answers");
    assert_eq!(status.role, RoleName::Backup, "{status:?}");
    lan.filter_nothing(Host::B);
    lan.wait_whole();
}

/// Dialling the silent ones one after the other takes longer than a call may.
pub(crate) fn silent_first_addresses() {
    let mut lan = Lan::new();
    let silent = ["94", "95", "96", "97", "98", "99"].map(|last| format!("10.77.0.{last}"));
    let names: String = [Host::A, Host::B]
        .into_iter()
        .flat_map(|host| {
            let all = silent.iter().map(String::as_str).chain([host.ip()]);
            all.map(move |ip| format!("{ip} {}\n", host.name()))
        })
        .collect();
    for host in [Host::A, Host::B, Host::C] {
        lan.set_names(host, &names);
        for ip in &silent {
            lan.silence(host, ip);
        }
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
