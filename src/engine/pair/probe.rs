//! A probe: dials the peer anew and asks who it is.
//!
//! What counts as dead is a matter of life and death for the pair, so outcomes are told apart with
//! care (rule M2):
//!
//! - *Refused* is the peer's machine saying that nobody listens, at every address that the peer
//!   has.
//! - *Silence* is a connection that cannot be opened, or stays without an answer. It lasts until
//!   the core has waited long enough.
//! - *Nothing* is what a connection that breaks says, and a question that could not even be asked:
//!   this server knows no address of the peer, or is out of descriptors.
//!
//! What a resolver does belongs to the last kind. A peer whose name cannot be looked up is asked at
//! its last known addresses; without any, no time runs against it. Else a resolver that hangs would
//! split the pair: each server would take the other for dead. One server may decide without having
//! asked: one that has no state and was started with `--alone`, by which its operator says that the
//! other one is gone.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::core::ProbeResult;
use super::peer::{Connection, Peer, unhurried};
use crate::engine::pair::protocol::{Introduction, PeerState};
use crate::rpc::{DialError, Rejection};
use crate::service::Obstacle;
use crate::types::View;

/// How long to wait before an address that cannot be reached is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// What the peer is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProbeRequest {
    /// Who it is.
    Probe(Introduction),
    /// To step down as backup of `view`.
    StepDown {
        /// The asker's view.
        view: View,
        /// See [`Introduction::peer_timeout`].
        peer_timeout: Duration,
    },
}

impl ProbeRequest {
    /// How long the asker may go on trying, unless it has no state to lose.
    fn time_limit(&self) -> Option<Duration> {
        match self {
            Self::Probe(asker) if asker.state == PeerState::Starting => None,
            Self::Probe(Introduction { peer_timeout, .. })
            | Self::StepDown { peer_timeout, .. } => Some(*peer_timeout),
        }
    }
}

/// Asks the peer who it is, or to step down. Never ends while the peer cannot be reached or does
/// not answer.
pub(super) async fn ask(peer: &Peer, question: ProbeRequest) -> ProbeResult {
    loop {
        if peer.locate().now_or_never() != Some(true) {
            if let Some(patience) = question.time_limit() {
                // Well before the time is over: it has to begin anew once the peer can be asked.
                let _ = timeout(patience / 4, peer.locate()).await;
                return ProbeResult::Broken;
            }
            if !peer.locate().await {
                sleep(RETRY).await;
                continue;
            }
        }
        let Connection { client, running } = match peer.connect("a probe", 1).await {
            Ok(connection) => connection,
            Err(DialError::Refused(_)) => return ProbeResult::Refused,
            Err(DialError::Unreachable(_)) => {
                sleep(RETRY).await;
                continue;
            }
            Err(DialError::Rejected(rejection)) => {
                return obstacle(rejection).map_or(ProbeResult::Broken, ProbeResult::Obstructed);
            }
            Err(DialError::NotALockServer) => {
                return ProbeResult::Obstructed(Obstacle::NotALockServer);
            }
            Err(error) => {
                if let Some(untold) = peer.warnings.pass(&error.to_string()) {
                    tracing::warn!(peer = %peer.address, "cannot ask the peer who it is: {error}{untold}");
                }
                return ProbeResult::Broken;
            }
        };
        let ask = async {
            match question {
                ProbeRequest::Probe(asker) => client.probe(unhurried(), asker).await,
                ProbeRequest::StepDown { view, .. } => client.dismiss(unhurried(), view).await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = ask => answer.ok(),
            () = running => None,
        };
        return answer.map_or(ProbeResult::Broken, ProbeResult::Answered);
    }
}

/// What keeps the servers apart for as long as the process there runs; none if it is merely busy.
const fn obstacle(rejection: Rejection) -> Option<Obstacle> {
    match rejection {
        Rejection::Version { theirs } => Some(Obstacle::Version { theirs }),
        Rejection::OtherServers => Some(Obstacle::OtherServers),
        Rejection::SameServer => Some(Obstacle::SameServer),
        Rejection::Itself => Some(Obstacle::Itself),
        Rejection::Busy => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::future::{BoxFuture, pending, ready};
    use rustix::io::Errno;
    use tokio::time::Instant;

    use super::*;
    use crate::config::Limits;
    use crate::rpc::RunId;
    use crate::transport::{Addr, Listener, Network, Servers, Stream};
    use crate::types::{OpNumber, ServerId, View};

    const PEER_TIMEOUT: Duration = Duration::from_secs(1);

    /// A network whose dials fail, and whose resolver may hang or fail.
    #[derive(Debug)]
    struct Failing {
        dial: Errno,
        resolver: Resolver,
        dialled: AtomicBool,
    }

    #[derive(Debug, Clone, Copy)]
    enum Resolver {
        Knows,
        Fails,
        Hangs,
    }

    impl Network for Failing {
        fn connect<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Stream>> {
            self.dialled.store(true, Ordering::Relaxed);
            ready(Err(self.dial.into())).boxed()
        }

        fn locate<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<()>> {
            match self.resolver {
                Resolver::Knows => ready(Ok(())).boxed(),
                Resolver::Fails => ready(Err(io::ErrorKind::AddrNotAvailable.into())).boxed(),
                Resolver::Hangs => pending().boxed(),
            }
        }

        fn listen<'a>(&'a self, _: &'a Addr) -> BoxFuture<'a, io::Result<Listener>> {
            ready(Err(io::ErrorKind::Unsupported.into())).boxed()
        }
    }

    fn backup() -> Introduction {
        let view = View {
            number: 1,
            primary: ServerId::A,
        };
        let op = OpNumber(1);
        introduced(PeerState::Backup { view, op })
    }

    fn introduced(state: PeerState) -> Introduction {
        Introduction {
            state,
            peer_timeout: PEER_TIMEOUT,
            highest: OpNumber(1),
            dropped: None,
            limits: Limits::default().into(),
        }
    }

    /// What a probe comes to within many times the peer timeout, when, and whether the peer was
    /// dialled.
    async fn probed(
        asker: Introduction,
        resolver: Resolver,
        dial: Errno,
    ) -> (Option<ProbeResult>, Duration, bool) {
        let network = Arc::new(Failing {
            dial,
            resolver,
            dialled: AtomicBool::new(false),
        });
        let servers = Servers::default();
        let peer = Peer {
            network: network.clone(),
            address: servers.address(ServerId::A).clone(),
            me: ServerId::B,
            own_address: servers.address(ServerId::B).clone(),
            pair: servers.pair_id(),
            run: RunId(1),
            warnings: Arc::default(),
            small_segments: false,
        };
        let start = Instant::now();
        let probed = timeout(PEER_TIMEOUT * 100, ask(&peer, ProbeRequest::Probe(asker))).await;
        let dialled = network.dialled.load(Ordering::Relaxed);
        (probed.ok(), start.elapsed(), dialled)
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_runs_against_a_peer_that_cannot_be_asked_for_want_of_an_address() {
        for resolver in [Resolver::Hangs, Resolver::Fails] {
            let (result, after, dialled) = probed(backup(), resolver, Errno::CONNREFUSED).await;
            assert_eq!(result, Some(ProbeResult::Broken), "{resolver:?}");
            assert!(after < PEER_TIMEOUT / 2, "{resolver:?}: {after:?}");
            assert!(!dialled, "{resolver:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn for_a_server_without_state_a_peer_that_cannot_be_found_is_silent() {
        for resolver in [Resolver::Hangs, Resolver::Fails] {
            let probing = probed(
                introduced(PeerState::Starting),
                resolver,
                Errno::CONNREFUSED,
            );
            assert_eq!(probing.await.0, None, "{resolver:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_way_to_the_peer_answers_is_silence() {
        for errno in [
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::INVAL,
        ] {
            for asker in [backup(), introduced(PeerState::Starting)] {
                let (result, ..) = probed(asker, Resolver::Knows, errno).await;
                assert_eq!(result, None, "{errno}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cannot_dial_learns_nothing_and_one_that_is_refused_everything() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::CONNRESET] {
            for asker in [backup(), introduced(PeerState::Starting)] {
                let (result, ..) = probed(asker, Resolver::Knows, errno).await;
                assert_eq!(result, Some(ProbeResult::Broken), "{errno}");
            }
        }
        let (result, ..) = probed(backup(), Resolver::Knows, Errno::CONNREFUSED).await;
        assert_eq!(result, Some(ProbeResult::Refused));
    }
}
