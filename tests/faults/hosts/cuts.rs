//! Ways that are cut, wholly or in one direction.

use lockservice::types::ServerId;

use crate::lan::{Host, Lan};

/// The host has vanished, and connections to it fail at once: with EACCES, EINVAL, EHOSTUNREACH.
pub(crate) fn no_route() {
    for how in ["prohibit", "blackhole", "unreachable"] {
        let mut lan = Lan::new();
        lan.start_pair(&[]);
        lan.misroute(Host::B, how, Host::A);
        lan.unplug(Host::A);
        lan.kill(Host::A);
        lan.wait_alone(ServerId::B);
    }
}

pub(crate) fn one_direction() {
    let mut lan = Lan::new();
    lan.start_pair(&[]);
    let view = lan.status(ServerId::B).and_then(|status| status.view);
    for (at, from) in [(Host::A, Host::C), (Host::C, Host::A)] {
        lan.visit(Host::C, async || {
            let clerk = Lan::clerk().await;
            assert!(clerk.lock("x").await.expect("answered"));
            lan.filter(at, &format!("ip saddr {} counter drop", from.ip()));
            assert!(clerk.unlock("x").await.expect("answered by the other one"));
        });
        lan.filter_nothing(at);
    }
    lan.wait_whole();
    let now = lan.status(ServerId::B).and_then(|status| status.view);
    assert_eq!(now, view, "nothing failed over");
}

/// Not tolerated, and both go on; but when it has healed there is one pair again.
pub(crate) fn between_the_servers() {
    let mut lan = Lan::new();
    lan.start_pair(&[]);
    lan.filter(Host::A, "ip saddr 10.77.0.2 drop");
    lan.wait_alone(ServerId::A);
    lan.wait_alone(ServerId::B);
    lan.filter_nothing(Host::A);
    lan.wait_whole();
}
