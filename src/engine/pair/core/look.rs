//! What a server tells of itself: to its peer, to its operator, and when it wants to be woken.

use std::time::Duration;

use super::outbox::Outbox;
use super::primary::Mode;
use super::{Core, Now, Overview, Role};
use crate::engine::pair::protocol::{Introduction, Standing};
use crate::machine::Machine;
use crate::service::RoleName;
use crate::types::{ClusterId, Digest, OpNumber};

impl<T> Core<T> {
    /// How this server stands.
    #[must_use]
    pub fn overview(&self, now: Now) -> Overview {
        let trusted = self.is_linked()
            && !self.retiring
            && !self.watch.is_in_doubt()
            && !self.watch.link_is_silent(now);
        let (role, view, machine, acked, in_sync) = match &self.role {
            Role::Starting(_) | Role::Retired(_) => (RoleName::Starting, None, None, None, false),
            Role::Primary(primary) => {
                let (role, outbox) = match &primary.mode {
                    Mode::Alone { .. } => (RoleName::Alone, None),
                    Mode::Paired { outbox, .. } => (RoleName::Primary, Some(outbox)),
                };
                // Under load there is always something under way; it must not be for long.
                let is_fed = |outbox: &Outbox| {
                    outbox.is_followed()
                        && primary.passage.is_fed()
                        && outbox.overdue(now, self.watch.quiet()).is_none()
                };
                let in_sync = trusted && outbox.is_some_and(is_fed);
                let acked = outbox.map(Outbox::acked);
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
        Overview {
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
            standing: self.standing(),
            peer_timeout: self.settings.peer_timeout,
            highest: self.highest(),
            dropped: self.dropped,
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
    pub fn standing(&self) -> Standing {
        match &self.role {
            Role::Starting(_) => Standing::Starting,
            Role::Primary(primary) => Standing::Primary {
                view: primary.view,
                op: primary.machine.op(),
            },
            Role::Backup(backup) => Standing::Backup {
                view: backup.view,
                op: backup.machine.op(),
            },
            Role::Retired(retired) => Standing::Retired { view: retired.view },
        }
    }

    /// Whether there is a link with the peer, as far as this server knows.
    pub(super) fn is_linked(&self) -> bool {
        match &self.role {
            Role::Starting(starting) => starting.is_receiving(),
            Role::Primary(primary) => match &primary.mode {
                Mode::Alone { sync, .. } => sync.is_some(),
                Mode::Paired { outbox, .. } => outbox.link().is_some(),
            },
            Role::Backup(backup) => backup.link.is_some(),
            Role::Retired(_) => false,
        }
    }

    /// When [`Input::Wake`](super::Input::Wake) is due, if nothing else comes before.
    #[must_use]
    pub fn next_wake(&self) -> Now {
        let heartbeat = match &self.role {
            Role::Primary(primary) => primary
                .outbox()
                .and_then(|outbox| outbox.heartbeat_due(self.watch.heartbeat_interval())),
            Role::Starting(_) | Role::Backup(_) | Role::Retired(_) => None,
        };
        let poll = match &self.role {
            Role::Primary(primary) => primary.polls.next_due(),
            Role::Starting(_) | Role::Backup(_) | Role::Retired(_) => None,
        };
        let due = self.watch.tick_due().min(self.next_verdict());
        due.min(heartbeat.unwrap_or(due)).min(poll.unwrap_or(due))
    }

    /// When a wake may hold somebody's silence against them; one before that only ticks. What has
    /// arrived has to be read first.
    #[must_use]
    pub fn next_verdict(&self) -> Now {
        let watch = &self.watch;
        match &self.role {
            Role::Starting(starting) if starting.is_receiving() => watch.silence_deadline(),
            Role::Starting(_) => self.probe_wake(watch.next_probe()),
            Role::Primary(primary) => {
                let of_peer = match &primary.mode {
                    Mode::Alone { sync: Some(_), .. } => {
                        watch.silence_deadline().min(self.overdue_wake())
                    }
                    Mode::Alone { sync: None, .. } => self.probe_wake(watch.next_probe()),
                    Mode::Paired { .. } => self.watch_wake(),
                };
                of_peer.min(primary.next_silence())
            }
            Role::Backup(_) => self.watch_wake(),
            Role::Retired(_) => Now(Duration::MAX),
        }
    }

    /// When the probe in progress is over, or else `next`.
    fn probe_wake(&self, next: Now) -> Now {
        self.watch.probe_deadline().unwrap_or(next)
    }

    /// When the frame under way is overdue, if there is one.
    fn overdue_wake(&self) -> Now {
        let Role::Primary(primary) = &self.role else {
            return Now(Duration::MAX);
        };
        let overdue = primary
            .outbox()
            .and_then(|outbox| outbox.overdue_at(self.settings.peer_timeout));
        overdue.unwrap_or(Now(Duration::MAX))
    }

    /// When [`Self::watch_peer`] has something to do.
    fn watch_wake(&self) -> Now {
        let next = match (self.is_linked(), self.is_joined()) {
            (false, _) => self.watch.next_probe(),
            (true, true) => self.watch.quiet_deadline(),
            (true, false) => self.watch.silence_deadline(),
        };
        self.probe_wake(next.min(self.overdue_wake()))
    }

    /// See [`Settings::peer_timeout`](super::Settings::peer_timeout).
    #[must_use]
    pub const fn peer_timeout(&self) -> Duration {
        self.settings.peer_timeout
    }
}
