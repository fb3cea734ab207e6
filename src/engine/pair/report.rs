//! What the engine logs: one line for each change, with its reason, and few for what repeats.

use std::time::Duration;

use tokio::time::Instant;

use super::core::{Event, ProbeResult};
use super::peer::Peer;
use crate::engine::leader::LeaderEvent;
use crate::engine::pair::protocol::PeerState;
use crate::throttle::Throttle;
use crate::types::ServerId;

/// Logs for one server.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// Since when the server has had no role.
    waits_since: Option<Instant>,
    waiting: Throttle,
    /// What came of the last probe.
    probed: Option<String>,
}

impl Reporter {
    /// Takes down what came of a probe; nothing, if the peer was silent.
    pub(super) fn probed(&mut self, result: Option<&ProbeResult>) {
        self.probed = Some(match result {
            None => "it does not answer".to_owned(),
            Some(ProbeResult::Refused) => "nobody listens there".to_owned(),
            Some(ProbeResult::Broken) => "it could not be asked".to_owned(),
            Some(ProbeResult::Obstructed(obstacle)) => obstacle.to_string(),
            Some(ProbeResult::Answered(_)) => "it has answered".to_owned(),
        });
    }

    /// Logs, now and then, that the server has no role yet, and what it waits for.
    ///
    /// Not in its first `peer_timeout`: two servers that are started together meet in that time.
    pub(super) fn tell_waiting(&mut self, state: PeerState, peer: &Peer, peer_timeout: Duration) {
        if state != PeerState::Starting {
            if self.waits_since.take().is_some() {
                self.waiting = Throttle::default();
            }
            return;
        }
        let now = Instant::now();
        let since = *self.waits_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= peer_timeout && self.waiting.pass(now).is_some()
        {
            let last = self.probed.as_deref().unwrap_or("it does not answer");
            let (other, address) = (started_as(peer.me.peer()), &peer.address);
            tracing::info!(
                "serves nobody yet: waits for the other server, the `{other}` at {address}: {last}. If that one \
                 is gone for good, start this one with --alone"
            );
        }
    }
}

/// Logs a change.
pub(super) fn report(event: &Event, peer: &Peer) {
    match event {
        Event::SteppedDown {
            dropped: Some(_), ..
        }
        | Event::PeerDropped { .. } => tracing::error!("{event}"),
        Event::SteppedDown { .. }
        | Event::Unconfirmed { .. }
        | Event::LimitsDiffer { .. }
        | Event::Leader(
            LeaderEvent::LockBroken { .. }
            | LeaderEvent::NearLimit { .. }
            | LeaderEvent::Refusing { .. },
        )
        | Event::FrameLost { .. }
        | Event::Dismissing { .. } => {
            tracing::warn!("{event}");
        }
        Event::Obstructed { obstacle } => tracing::error!(
            "started as `{}`, which --servers lists at {}; cannot pair with the `{}` at {}: {obstacle}",
            started_as(peer.me),
            peer.own_address,
            started_as(peer.me.peer()),
            peer.address,
        ),
        _ => match repeats(event).map(|what| peer.warnings.pass(&what)) {
            None => tracing::info!("{event}"),
            Some(Some(untold)) => tracing::info!("{event}{untold}"),
            Some(None) => {}
        },
    }
}

/// What names an event that can come again and again, while a link breaks and is mended for
/// instance.
fn repeats(event: &Event) -> Option<String> {
    match event {
        Event::Suspect { .. } | Event::Resumed | Event::SyncBroken => Some(event.to_string()),
        Event::SyncBegan { .. } => Some("syncing the peer".to_owned()),
        _ => None,
    }
}

/// The command of `lockd` that runs the server.
const fn started_as(server: ServerId) -> &'static str {
    match server {
        ServerId::A => "primary",
        _ => "backup",
    }
}
