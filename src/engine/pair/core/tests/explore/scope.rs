//! What is explored: who calls, and what may go wrong.

use super::super::{A, B};
use super::clients::Step::{
    self, Acquire, Await, Break, Goodbye, Lock, Lose, Open, Permit, Poll, Release, Return, Session,
    Share, Try, Unlock,
};
use super::scripts::{
    BROKEN, CROSSWISE, HOLDER_AND_WAITER, LEAST_PERMITS, PERMITS, QUEUE, QUEUE_BEFORE_A_SILENT_ONE,
    QUEUE_BEHIND_A_SILENT_ONE, QUEUE_THAT_ONE_LEAVES, RELEASED_AND_BROKEN, RETAINED_AND_BROKEN,
    RETAINED_AND_RELEASED, RETAINED_BY_A_SILENT_HOLDER, SHARED, SHARER_AND_LATE_SHARER,
    SILENT_HOLDER_AND_QUEUE, SILENT_HOLDER_AND_QUEUE_THAT_ONE_LEAVES, SILENT_HOLDER_AND_WAITER,
    THREE_PERMITS, TWO_CALLS, TWO_CLIENTS,
};
use super::world::Budget;
use crate::types::ServerId;

#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(super) struct Scope {
    pub(super) name: &'static str,
    pub(super) clients: &'static [&'static [Step]],
    /// It begins with a whole pair; else with two halted servers.
    pub(super) begins_whole: bool,
    /// How many steps of each client are answered before, the first ones of all, then the second
    /// ones.
    pub(super) before: u8,
    pub(super) budget: Budget,
    /// Who may halt, who may stop, and who may be asked to end.
    pub(super) halting: &'static [ServerId],
    pub(super) stopping: &'static [ServerId],
    pub(super) ending: &'static [ServerId],
    /// Whom clients ask.
    pub(super) asked: &'static [ServerId],
    /// A client that is answered by one server still listens to the other one.
    pub(super) hears_all: bool,
    /// A server may probe its peer although nothing is wrong.
    pub(super) idle_probes: bool,
    /// Links carry heartbeats.
    pub(super) beats: bool,
    /// The highest view that there may be: each failure costs some, and each question that comes so
    /// late that it breaks off a join, of which there are only so many.
    pub(super) views: u64,
}

impl Scope {
    pub(super) fn steps(&self) -> Vec<Vec<Step>> {
        self.clients.iter().map(|steps| steps.to_vec()).collect()
    }
}

const NONE: Budget = Budget {
    halts: 0,
    stops: 0,
    ends: 0,
    failures: 0,
    resets: 0,
    holes: 0,
    drops: 0,
    copies: 0,
    leases: 0,
    fences: 0,
};

const QUIET: Scope = Scope {
    name: "",
    clients: &[&[Open, Lock(0)]],
    begins_whole: true,
    before: 1,
    budget: NONE,
    halting: &[A, B],
    stopping: &[A, B],
    ending: &[A, B],
    asked: &[A, B],
    hears_all: false,
    idle_probes: false,
    beats: false,
    views: 20,
};

const fn halts(halts: u8) -> Budget {
    Budget {
        halts,
        failures: halts,
        ..NONE
    }
}

const fn stops(stops: u8) -> Budget {
    Budget {
        stops,
        failures: stops,
        ..NONE
    }
}

const fn ends(ends: u8) -> Budget {
    Budget {
        ends,
        failures: ends,
        ..NONE
    }
}

const fn both(halts: u8, stops: u8) -> Budget {
    Budget {
        halts,
        stops,
        failures: halts + stops,
        ..NONE
    }
}

pub(super) const SCOPES: &[Scope] = &[
    // Small ones, for every `cargo test`.
    Scope {
        name: "forming",
        views: 5,
        begins_whole: false,
        budget: halts(1),
        clients: &[&[Open]],
        ..QUIET
    },
    Scope {
        name: "halt",
        views: 5,
        budget: halts(1),
        ..QUIET
    },
    Scope {
        name: "hole",
        views: 9,
        budget: Budget { holes: 2, ..NONE },
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "end",
        views: 5,
        budget: ends(1),
        ..QUIET
    },
    Scope {
        name: "reset",
        views: 1,
        budget: Budget { resets: 2, ..NONE },
        ..QUIET
    },
    Scope {
        name: "stop-primary",
        views: 7,
        budget: stops(1),
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "stop-backup",
        views: 7,
        budget: stops(1),
        stopping: &[B],
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "goodbye",
        views: 1,
        budget: Budget { copies: 2, ..NONE },
        clients: &[&[Open, Lock(0), Unlock(0), Goodbye]],
        asked: &[A],
        ..QUIET
    },
    // Owned locks, for every `cargo test`.
    Scope {
        name: "owned-halt",
        views: 5,
        budget: halts(1),
        clients: HOLDER_AND_WAITER,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "owned-lease",
        views: 1,
        budget: Budget {
            resets: 1,
            leases: 1,
            ..NONE
        },
        clients: SILENT_HOLDER_AND_WAITER,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "owned-two",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: &[
            &[Session, Acquire(0), Acquire(1)],
            &[Session, Acquire(0), Acquire(1), Await],
        ],
        before: 3,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "shared",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: SHARED,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "shared-comer",
        views: 1,
        clients: &[
            &[Session, Share(0), Release],
            &[Session, Acquire(0), Await],
            &[Session, Acquire(1), Share(0), Await],
        ],
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "broken",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: BROKEN,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "crosswise",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: CROSSWISE,
        before: 3,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "queue",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: QUEUE,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "permits",
        views: 1,
        clients: LEAST_PERMITS,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    // Large packets get lost between the servers.
    Scope {
        name: "hole-halt",
        budget: Budget {
            holes: 1,
            ..halts(1)
        },
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "hole-reset",
        budget: Budget {
            holes: 1,
            resets: 1,
            ..NONE
        },
        ..QUIET
    },
    Scope {
        name: "hole-stop-halt",
        budget: Budget {
            holes: 1,
            ..both(1, 1)
        },
        halting: &[A],
        stopping: &[A],
        asked: &[A],
        ..QUIET
    },
    // A server is asked to end.
    Scope {
        name: "end-owned",
        views: 5,
        budget: ends(1),
        clients: HOLDER_AND_WAITER,
        before: 2,
        ending: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "ends",
        budget: ends(2),
        ..QUIET
    },
    Scope {
        name: "end-reset",
        views: 9,
        budget: Budget {
            resets: 1,
            ..ends(1)
        },
        ..QUIET
    },
    Scope {
        name: "end-halt",
        budget: Budget {
            halts: 1,
            failures: 2,
            ..ends(1)
        },
        ..QUIET
    },
    Scope {
        name: "stop-a-end-b",
        budget: Budget {
            stops: 1,
            failures: 2,
            ..ends(1)
        },
        stopping: &[A],
        ending: &[B],
        ..QUIET
    },
    // One has a lock, and two wait for it.
    Scope {
        name: "queue-halt",
        budget: halts(1),
        clients: QUEUE,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "queue-stop",
        views: 7,
        budget: stops(1),
        clients: QUEUE_BEFORE_A_SILENT_ONE,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "queue-stop-backup",
        views: 7,
        budget: stops(1),
        clients: QUEUE_BEFORE_A_SILENT_ONE,
        before: 2,
        stopping: &[B],
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "queue-begin",
        views: 1,
        clients: QUEUE,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "queue-leave-halt",
        budget: halts(1),
        clients: QUEUE_THAT_ONE_LEAVES,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "queue-leave-stop",
        views: 7,
        budget: stops(1),
        clients: SILENT_HOLDER_AND_QUEUE_THAT_ONE_LEAVES,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "queue-lease-halt",
        budget: Budget {
            leases: 1,
            ..halts(1)
        },
        clients: SILENT_HOLDER_AND_QUEUE,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "queue-dead-halt",
        budget: halts(1),
        clients: QUEUE_BEHIND_A_SILENT_ONE,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "queue-dead-stop",
        views: 7,
        budget: stops(1),
        clients: QUEUE_BEHIND_A_SILENT_ONE,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    // Shared locks and permits.
    Scope {
        name: "shared-halt",
        budget: halts(1),
        clients: SHARED,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "shared-late",
        views: 1,
        clients: SHARER_AND_LATE_SHARER,
        before: 1,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "shared-late-halt",
        budget: halts(1),
        clients: SHARER_AND_LATE_SHARER,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "shared-at-once",
        budget: halts(1),
        clients: &[
            &[Session, Acquire(0), Release],
            &[Session, Share(0), Await],
            &[Session, Share(0), Await],
        ],
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "permits-halt",
        budget: halts(1),
        clients: PERMITS,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "permits-lease",
        views: 1,
        budget: Budget { leases: 1, ..NONE },
        clients: &[
            &[Session, Permit(0, 2)],
            &[Session, Permit(0, 2), Release],
            &[Session, Permit(0, 2), Await],
        ],
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "permits-stop",
        views: 7,
        budget: stops(1),
        clients: PERMITS,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "permits-three",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: THREE_PERMITS,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "permits-three-halt",
        budget: halts(1),
        clients: THREE_PERMITS,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "permits-least-halt",
        budget: halts(1),
        clients: LEAST_PERMITS,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    // Locks that are broken.
    Scope {
        name: "broken-halt",
        budget: halts(1),
        clients: BROKEN,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "broken-stop",
        views: 7,
        budget: stops(1),
        clients: BROKEN,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "broken-race",
        views: 1,
        budget: Budget {
            resets: 1,
            copies: 1,
            ..NONE
        },
        clients: RELEASED_AND_BROKEN,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "broken-race-halt",
        budget: halts(1),
        clients: RELEASED_AND_BROKEN,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "broken-shared-halt",
        budget: halts(1),
        clients: &[
            &[Session, Share(0), Lose, Release],
            &[Session, Share(0)],
            &[Session, Permit(0, 2), Break(0, 1), Await],
        ],
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    // Two locks, crosswise.
    Scope {
        name: "crosswise-halt",
        budget: halts(1),
        clients: CROSSWISE,
        before: 3,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "crosswise-begin",
        views: 1,
        clients: CROSSWISE,
        before: 1,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "crosswise-lease-halt",
        budget: Budget {
            leases: 1,
            ..halts(1)
        },
        clients: &[
            &[Session, Acquire(0), Acquire(1), Await],
            &[Session, Acquire(1), Acquire(0)],
        ],
        before: 3,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "crosswise-broken-halt",
        budget: halts(1),
        clients: &[
            &[Session, Acquire(0), Acquire(1), Break(1, 1), Await],
            &[Session, Acquire(1), Acquire(0), Lose, Return(1), Await],
        ],
        before: 3,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "crosswise-stop",
        views: 7,
        budget: stops(1),
        clients: CROSSWISE,
        before: 3,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    // Locks that are retained.
    Scope {
        name: "retained",
        views: 1,
        clients: RETAINED_AND_RELEASED,
        before: 2,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "retained-halt",
        budget: halts(1),
        clients: RETAINED_AND_RELEASED,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "retained-silent",
        budget: halts(1),
        clients: RETAINED_BY_A_SILENT_HOLDER,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "retained-broken",
        budget: halts(1),
        clients: RETAINED_AND_BROKEN,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    // Owned locks, larger.
    Scope {
        name: "owned-begin",
        views: 1,
        budget: Budget { copies: 1, ..NONE },
        clients: HOLDER_AND_WAITER,
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "owned-mixed",
        views: 1,
        clients: &[
            &[Session, Acquire(0), Await, Release],
            &[Open, Lock(0), Unlock(0)],
            &[Session, Try(0), Release],
        ],
        asked: &[A],
        ..QUIET
    },
    Scope {
        name: "owned-poll",
        views: 1,
        clients: &[
            &[Session, Acquire(0), Poll, Release],
            &[Session, Acquire(0), Await],
        ],
        before: 2,
        ..QUIET
    },
    Scope {
        name: "owned-stop",
        views: 7,
        budget: stops(1),
        clients: HOLDER_AND_WAITER,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "owned-lease-halt",
        budget: Budget {
            leases: 1,
            ..halts(1)
        },
        clients: SILENT_HOLDER_AND_WAITER,
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "owned-lease-stop",
        budget: Budget {
            leases: 1,
            ..stops(1)
        },
        clients: SILENT_HOLDER_AND_WAITER,
        before: 2,
        stopping: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "owned-reset",
        views: 1,
        budget: Budget { resets: 1, ..NONE },
        clients: HOLDER_AND_WAITER,
        before: 2,
        ..QUIET
    },
    Scope {
        name: "owned-mixed-halt",
        budget: halts(1),
        clients: &[
            &[Session, Acquire(0), Release],
            &[Session, Acquire(0), Await],
            &[Open, Unlock(1), Lock(0)],
        ],
        before: 2,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "owned-halt-begin",
        budget: halts(1),
        clients: HOLDER_AND_WAITER,
        halting: &[A],
        asked: &[B],
        ..QUIET
    },
    // What the rules that are taken out are refuted in.
    Scope {
        name: "stop-open",
        budget: stops(1),
        stopping: &[A],
        before: 0,
        ..QUIET
    },
    Scope {
        name: "stop-a-halt-b",
        budget: Budget {
            resets: 1,
            ..both(1, 1)
        },
        stopping: &[A],
        halting: &[B],
        ..QUIET
    },
    Scope {
        name: "stop-a-halt-b-fence",
        budget: Budget {
            fences: 1,
            ..both(1, 1)
        },
        stopping: &[A],
        halting: &[B],
        clients: &[&[Open]],
        ..QUIET
    },
    // Large ones.
    Scope {
        name: "stop",
        budget: stops(1),
        ..QUIET
    },
    Scope {
        name: "stop-fences",
        budget: Budget {
            fences: 2,
            ..stops(1)
        },
        ..QUIET
    },
    Scope {
        name: "reset-beats",
        budget: Budget { resets: 2, ..NONE },
        beats: true,
        idle_probes: true,
        ..QUIET
    },
    Scope {
        name: "stop-beats",
        budget: stops(1),
        beats: true,
        idle_probes: true,
        ..QUIET
    },
    Scope {
        name: "halt-reset",
        budget: Budget {
            resets: 1,
            ..halts(1)
        },
        ..QUIET
    },
    Scope {
        name: "stop-reset",
        budget: Budget {
            resets: 1,
            ..stops(1)
        },
        ..QUIET
    },
    Scope {
        name: "halt-calls",
        budget: Budget {
            drops: 1,
            ..halts(1)
        },
        clients: TWO_CALLS,
        hears_all: true,
        ..QUIET
    },
    Scope {
        name: "halt-clients",
        budget: halts(1),
        clients: TWO_CLIENTS,
        ..QUIET
    },
    Scope {
        name: "stop-clients",
        budget: stops(1),
        clients: TWO_CLIENTS,
        ..QUIET
    },
    Scope {
        name: "halts",
        budget: halts(2),
        ..QUIET
    },
    Scope {
        name: "halts-clients",
        budget: halts(2),
        clients: TWO_CLIENTS,
        asked: &[B],
        ..QUIET
    },
    Scope {
        name: "stop-halt",
        budget: both(1, 1),
        ..QUIET
    },
    Scope {
        name: "stops",
        budget: stops(2),
        ..QUIET
    },
    Scope {
        name: "failures",
        budget: Budget {
            failures: 2,
            resets: 1,
            ..both(2, 2)
        },
        ..QUIET
    },
];
