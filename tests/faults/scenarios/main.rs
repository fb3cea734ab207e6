//! What users of a lock pair fear most, on real sockets: each scenario with its servers on threads
//! of this process, and once more as processes.
//!
//! Every answer is compared with the only right one, or, where clients compete, the whole history
//! with what a lock can do. In the end each pair is made whole, and the invariants are checked.

mod crowd;
mod failures;
mod fixture;
mod lost_reply;

use lockservice::service::Verb;
use lockservice::testkit::PairOptions;

use self::lost_reply::{HeldBy, LostReply};

/// Makes each scenario two tests.
macro_rules! scenarios {
    (|$options:ident| { $($name:ident => $scenario:expr,)* }) => {
        mod threads {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let $options = PairOptions::threads();
                $scenario.await;
            })*
        }

        mod processes {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let $options = PairOptions::processes(env!("CARGO_BIN_EXE_lockd"));
                $scenario.await;
            })*
        }
    };
}

scenarios!(|options| {
    basic_lock_unlock => failures::none(options),
    primary_failure => failures::of_the_primary(options),
    primary_failure_just_before_reply_1 => LOCK_THAT_SUCCEEDS.run(options),
    primary_failure_just_before_reply_2 => LOCK_THAT_THE_SAME_CLIENT_HOLDS.run(options),
    primary_failure_just_before_reply_3 => LOCK_THAT_ANOTHER_CLIENT_HOLDS.run(options),
    primary_failure_just_before_reply_4 => UNLOCK_THAT_FAILS.run(options),
    primary_failure_just_before_reply_5 => UNLOCK_OF_ANOTHER_CLIENTS_LOCK.run(options),
    backup_failure => failures::of_the_backup(options),
    multiple_clients_with_primary_failure => crowd::each_with_its_own_lock(options),
    multiple_clients_single_lock_primary_failure => crowd::all_with_one_lock(options),
});

const LOCK_THAT_SUCCEEDS: LostReply = LostReply {
    held_by: HeldBy::Nobody,
    verb: Verb::Lock,
    answer: true,
};

const LOCK_THAT_THE_SAME_CLIENT_HOLDS: LostReply = LostReply {
    held_by: HeldBy::TheSameClient,
    verb: Verb::Lock,
    answer: false,
};

const LOCK_THAT_ANOTHER_CLIENT_HOLDS: LostReply = LostReply {
    held_by: HeldBy::AnotherClient,
    verb: Verb::Lock,
    answer: false,
};

const UNLOCK_THAT_FAILS: LostReply = LostReply {
    held_by: HeldBy::Nobody,
    verb: Verb::Unlock,
    answer: false,
};

const UNLOCK_OF_ANOTHER_CLIENTS_LOCK: LostReply = LostReply {
    held_by: HeldBy::AnotherClient,
    verb: Verb::Unlock,
    answer: true,
};
