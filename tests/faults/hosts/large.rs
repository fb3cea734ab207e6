//! A way that loses large packets, as a broken tunnel does.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Instant;

use futures::future::join_all;
use lockservice::clerk::is_whole;

use crate::lan::{Host, Lan, PEER_TIMEOUT};

const CALLS: usize = 96;

/// Lone calls and heartbeats fit into small packets; a burst does not.
pub(crate) fn packets() {
    let mut lan = Lan::new();
    lan.start_pair(&[]);
    for (at, from) in [(Host::A, Host::B), (Host::B, Host::A)] {
        let large = format!("ip saddr {} ip length > 1400 counter drop", from.ip());
        lan.filter(at, &large);
    }
    let names = names();
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        assert!(clerk.lock("lone").await.expect("answered"));
        let calls = join_all(names.iter().map(|name| clerk.lock(name)));
        let told = Cell::new(false);
        let answers = tokio::select! {
            answers = calls => answers,
            never = watch(&told) => match never {},
        };
        let all_true = answers.iter().all(|answer| matches!(answer, Ok(true)));
        assert!(all_true, "{answers:?}");
        assert!(told.get(), "the pair was reported as whole all the while");
    });
    assert_ne!(lan.filtered(Host::B), 0, "the burst was in large packets");
    lan.wait_whole();
    lan.kill(Host::A);
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        for name in &names {
            let answer = clerk.unlock(name).await;
            assert!(matches!(answer, Ok(true)), "{name}: {answer:?}");
        }
    });
}

/// The clients reach the backup alone, which passes their calls on.
pub(crate) fn relayed() {
    let mut lan = Lan::new();
    lan.start_pair(&[]);
    let large = "ip length > 800 counter drop";
    let clients = format!("ip saddr {} tcp dport 5100", Host::C.ip());
    let at_a = format!(
        "ip saddr {} {large}\n{clients} reject with tcp reset",
        Host::B.ip()
    );
    lan.filter(Host::A, &at_a);
    lan.filter(Host::B, &format!("ip saddr {} {large}", Host::A.ip()));
    // Each call is a large packet by itself: how many share one varies.
    let names = names()
        .into_iter()
        .map(|name| format!("{}{name}", "n".repeat(700)));
    let names: Vec<_> = names.collect();
    lan.visit(Host::C, async || {
        let clerk = Lan::clerk().await;
        let answers = join_all(names.iter().map(|name| clerk.lock(name))).await;
        let all_true = answers.iter().all(|answer| matches!(answer, Ok(true)));
        assert!(all_true, "{answers:?}");
    });
    assert_ne!(lan.filtered(Host::A), 0, "the burst was in large packets");
}

fn names() -> Vec<String> {
    let long = "long".repeat(50);
    (0..CALLS).map(|n| format!("{long}/{n}")).collect()
}

/// Notes whether the pair is reported as not whole.
///
/// Panics if it is reported as whole although the backup lacks something and has acknowledged
/// nothing for a whole peer timeout.
async fn watch(told: &Cell<bool>) -> Infallible {
    let mut behind = None;
    loop {
        let start = Instant::now();
        let reports = Lan::ask_both().await;
        let whole = is_whole(&reports);
        told.set(told.get() || !whole);
        let primary = reports[0].status.as_ref().ok();
        let acked = primary.and_then(|status| status.acked.filter(|acked| *acked < status.op));
        behind = match behind {
            Some((before, since)) if acked == Some(before) => {
                let is_late = start.duration_since(since) > PEER_TIMEOUT;
                assert!(!(is_late && whole), "{reports:?}");
                behind
            }
            _ => acked.map(|acked| (acked, Instant::now())),
        };
    }
}
