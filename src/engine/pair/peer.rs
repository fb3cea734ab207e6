//! How to reach the other server of the pair.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tarpc::client::{Config, NewClient};
use tarpc::context::{self, Context};
use tokio::time::sleep;

use crate::config::{LOOK_UP_AGAIN, LOOK_UP_EVERY, MAX_FRAME_BYTES};
use crate::engine::EngineConfig;
use crate::engine::pair::protocol::{ReplicationClient, ReplicationRequest, ReplicationResponse};
use crate::rpc::{Checked, DialError, Purpose, RunId};
use crate::rpc::{client_transport, dial};
use crate::throttle::Warnings;
use crate::transport::{Addr, Network, PairId, Redial, SmallSegments};
use crate::types::ServerId;

/// The other server of the pair, as this one reaches it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) network: Arc<dyn Network>,
    pub(super) address: Addr,
    pub(super) me: ServerId,
    /// Where this server is listed.
    pub(super) own_address: Addr,
    pub(super) pair: PairId,
    pub(super) run: RunId,
    /// What has been told of what can be told again and again.
    pub(super) warnings: Arc<Warnings>,
    /// Large packets may get lost on the way.
    pub(super) small_segments: bool,
}

type Client = ReplicationClient<Checked<ReplicationRequest, ReplicationResponse>>;

/// A connection to the peer. `running` moves its bytes, and ends with the connection; whoever holds
/// it polls both.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) running: BoxFuture<'static, ()>,
}

impl Peer {
    pub(super) fn new(config: &EngineConfig) -> Self {
        // Often enough that a probe survives the loss of several first packets.
        let redial = config.timing.peer_timeout / 8;
        let listed = config.servers.address(config.me.peer());
        Self {
            network: Arc::new(Redial::new(config.network.clone(), redial)),
            address: config.peer_addr.as_ref().unwrap_or(listed).clone(),
            me: config.me,
            own_address: config.servers.address(config.me).clone(),
            run: config.run,
            pair: config.servers.pair_id(),
            warnings: config.warnings.clone(),
            small_segments: false,
        }
    }

    /// The peer, dialled so that small packets carry everything, if they are to.
    pub(super) fn in_small_segments(self, small_segments: bool) -> Self {
        Self {
            small_segments,
            ..self
        }
    }

    /// Whether an address of the peer is known. Waits for the look-up when none is.
    pub(super) async fn locate(&self) -> bool {
        self.network.locate(&self.address).await.is_ok()
    }

    /// Keeps an address of the peer known, for when it has to be dialled and its name does not
    /// resolve.
    pub(super) async fn keep_located(self) -> Infallible {
        loop {
            let located = self.locate().await;
            sleep(if located {
                LOOK_UP_EVERY
            } else {
                LOOK_UP_AGAIN
            })
            .await;
        }
    }

    /// Dials the peer. May take for ever: callers bound it, or have reason not to.
    /// `what`: what the connection is for, for logs.
    pub(super) async fn connect(
        &self,
        what: &'static str,
        max_in_flight: usize,
    ) -> Result<Connection, DialError> {
        let purpose = Purpose::Peer {
            from: self.me,
            pair: self.pair,
            run: self.run,
        };
        let small = SmallSegments(self.network.clone());
        let network: &dyn Network = if self.small_segments {
            &small
        } else {
            &*self.network
        };
        let stream = dial(network, &self.address, purpose).await?;
        let mut config = Config::default();
        config.max_in_flight_requests = max_in_flight;
        config.pending_request_buffer = max_in_flight;
        let transport = client_transport(stream, MAX_FRAME_BYTES);
        let NewClient { client, dispatch } = tarpc::client::new(config, transport);
        let peer = self.clone();
        let running = dispatch
            .map(move |ended| peer.warn_of_end(what, ended))
            .boxed();
        let client = Checked::new(client).into();
        Ok(Connection { client, running })
    }

    /// tarpc would say that a channel has failed, and not which.
    fn warn_of_end<E: fmt::Display>(&self, what: &'static str, ended: Result<(), E>) {
        let Err(error) = ended else { return };
        let address = &self.address;
        let told =
            format!("the connection to the other server at {address}, for {what}, broke: {error}");
        if let Some(untold) = self.warnings.pass(&told) {
            tracing::warn!("{told}{untold}");
        }
    }
}

/// The context of a call to the peer. Its deadline is only there because tarpc wants one: what is
/// late is decided by the core, on its own clock.
pub(super) fn unhurried() -> Context {
    let mut context = context::current();
    context.deadline = Instant::now() + Duration::from_hours(1);
    context
}
