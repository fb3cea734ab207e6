//! What a server tells of itself: to its peer, to its operator, and when it wants to be woken.

use std::time::Duration;

use super::primary::ReplicationMode;
use super::replication_queue::ReplicationQueue;
use super::{Core, EngineStatus, Now, Role};
use crate::engine::pair::protocol::{Introduction, PeerState};
use crate::machine::Machine;
use crate::service::RoleName;
use crate::types::{ClusterId, Digest, OpNumber};

impl<T> Core<T> {
    /// How this server stands.
    #[must_use]
    pub fn status(&self, now: Now) -> EngineStatus {
        let trusted = self.has_stream()
            && !self.retiring
            && !self.detector.is_unconfirmed()
            && !self.detector.stream_is_silent(now);
        let (role, view, machine, acked, in_sync) = match &self.role {
            Role::Starting(_) | Role::Retired(_) => (RoleName::Starting, None, None, None, false),
            Role::Primary(primary) => {
                let (role, queue) = match &primary.mode {
                    ReplicationMode::Standalone { .. } => (RoleName::Standalone, None),
                    ReplicationMode::Replicated { queue, .. } => (RoleName::Primary, Some(queue)),
                };
                // Under load there is always something under way; it must not be for long.
                let is_fed = |queue: &ReplicationQueue| {
                    queue.is_followed()
                        && primary.passage.is_fed()
                        && queue.overdue(now, self.detector.quiet()).is_none()
                };
                let in_sync = trusted && queue.is_some_and(is_fed);
                let acked = queue.map(ReplicationQueue::acked);
                (
                    role,
                    Some(primary.view),
                    Some(&primary.machine),
                    acked,
                    in_sync,
                )
            }
            Role::Backup(backup) => (
                RoleName::Backup,
                Some(backup.view),
                Some(&backup.machine),
                None,
                trusted,
            ),
        };
        EngineStatus {
            cluster: machine.map(Machine::cluster),
            role,
            view,
            op: machine.map_or(OpNumber(0), Machine::op),
            digest: machine.map_or(Digest(0), Machine::digest),
            acked,
            in_sync,
            obstacle: self.obstacle,
            clients: machine.map_or(0, Machine::clients),
            locks: machine.map_or(0, Machine::locks),
            waiters: machine.map_or(0, Machine::waiters),
            state_bytes: machine.map_or(0, Machine::footprint),
        }
    }

    /// The cluster that this server is a member of; none while it has no state.
    #[must_use]
    pub const fn cluster(&self) -> Option<ClusterId> {
        match &self.role {
            Role::Starting(_) | Role::Retired(_) => None,
            Role::Primary(primary) => Some(primary.machine.cluster()),
            Role::Backup(backup) => Some(backup.machine.cluster()),
        }
    }

    /// What this server says of itself to its peer.
    pub(super) fn introduction(&self) -> Introduction {
        Introduction {
            state: self.peer_state(),
            peer_timeout: self.settings.peer_timeout,
            highest: self.highest(),
            dropped: self.dropped,
            limits: self.limits,
        }
    }

    /// The highest number that this server may have given to a command or a grant.
    fn highest(&self) -> OpNumber {
        let machine = match &self.role {
            Role::Starting(_) | Role::Retired(_) => None,
            Role::Primary(primary) => Some(&primary.machine),
            Role::Backup(backup) => Some(&backup.machine),
        };
        machine.map_or(self.highest, |machine| self.highest.max(machine.highest()))
    }

    /// Where this server stands.
    #[must_use]
    pub fn peer_state(&self) -> PeerState {
        match &self.role {
            Role::Starting(_) => PeerState::Starting,
            Role::Primary(primary) => PeerState::Primary {
                view: primary.view,
                op: primary.machine.op(),
            },
            Role::Backup(backup) => PeerState::Backup {
                view: backup.view,
                op: backup.machine.op(),
            },
            Role::Retired(retired) => PeerState::Retired { view: retired.view },
        }
    }

    /// Whether there is a link with the peer, as far as this server knows.
    pub(super) fn has_stream(&self) -> bool {
        match &self.role {
            Role::Starting(starting) => starting.is_receiving(),
            Role::Primary(primary) => match &primary.mode {
                ReplicationMode::Standalone { sync, .. } => sync.is_some(),
                ReplicationMode::Replicated { queue, .. } => queue.stream().is_some(),
            },
            Role::Backup(backup) => backup.stream.is_some(),
            Role::Retired(_) => false,
        }
    }

    /// When [`Input::Wake`](super::Input::Wake) is due, if nothing else comes before.
    #[must_use]
    pub fn next_wake(&self) -> Now {
        let heartbeat = match &self.role {
            Role::Primary(primary) => primary
                .queue()
                .and_then(|queue| queue.heartbeat_due(self.detector.heartbeat_interval())),
            Role::Starting(_) | Role::Backup(_) | Role::Retired(_) => None,
        };
        let leader = match &self.role {
            Role::Primary(primary) => Some(primary.leader.next_wake()),
            Role::Starting(_) | Role::Backup(_) | Role::Retired(_) => None,
        };
        let due = self.detector.tick_due().min(self.next_verdict());
        [heartbeat, leader]
            .into_iter()
            .flatten()
            .fold(due, Now::min)
    }

    /// When a wake may hold somebody's silence against them; one before that only ticks. What has
    /// arrived has to be read first.
    #[must_use]
    pub fn next_verdict(&self) -> Now {
        let watch = &self.detector;
        match &self.role {
            Role::Starting(starting) if starting.is_receiving() => watch.silence_deadline(),
            Role::Starting(_) => self.probe_wake(watch.next_probe()),
            Role::Primary(primary) => {
                let of_peer = match &primary.mode {
                    ReplicationMode::Standalone { sync: Some(_), .. } => {
                        watch.silence_deadline().min(self.overdue_wake())
                    }
                    ReplicationMode::Standalone { sync: None, .. } => {
                        self.probe_wake(watch.next_probe())
                    }
                    ReplicationMode::Replicated { .. } => self.monitor_wake(),
                };
                of_peer.min(primary.leader.next_expiry())
            }
            Role::Backup(_) => self.monitor_wake(),
            Role::Retired(_) => Now(Duration::MAX),
        }
    }

    /// When the probe in progress is over, or else `next`.
    fn probe_wake(&self, next: Now) -> Now {
        self.detector.probe_deadline().unwrap_or(next)
    }

    /// When the frame under way is overdue, if there is one.
    fn overdue_wake(&self) -> Now {
        let Role::Primary(primary) = &self.role else {
            return Now(Duration::MAX);
        };
        let overdue = primary
            .queue()
            .and_then(|queue| queue.overdue_at(self.settings.peer_timeout));
        overdue.unwrap_or(Now(Duration::MAX))
    }

    /// When [`Self::watch_peer`] has something to do.
    fn monitor_wake(&self) -> Now {
        let next = match (self.has_stream(), self.is_joined()) {
            (false, _) => self.detector.next_probe(),
            (true, true) => self.detector.quiet_deadline(),
            (true, false) => self.detector.silence_deadline(),
        };
        self.probe_wake(next.min(self.overdue_wake()))
    }

    /// See [`Settings::peer_timeout`](super::Settings::peer_timeout).
    #[must_use]
    pub const fn peer_timeout(&self) -> Duration {
        self.settings.peer_timeout
    }
}
