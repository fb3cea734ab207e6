//! Steps that break pairs: what a lock pair is most likely to get wrong, each on real processes.
//!
//! Small editions run in `cargo test`; `LONG_TESTS=1` plays as many rounds as the steps are meant
//! for.

mod broken_off;
#[path = "../../support/edition/mod.rs"]
mod edition;
mod held_bytes;
#[path = "../../support/load/mod.rs"]
mod load;
#[path = "../../support/one_sided/mod.rs"]
mod one_sided;
mod one_way;
mod quick_restarts;
mod repeated;
mod woken_backup;

use lockservice::testkit::{History, Pair, invariants};
use lockservice::types::ServerId;

const A: ServerId = ServerId::A;
const B: ServerId = ServerId::B;

/// Looks at every lock, and holds all that clients were told, and how the servers are, to what is
/// promised.
async fn check(pair: &Pair, history: &History) {
    let end = pair.final_state(history).await;
    invariants::check_all(history, &end).unwrap_or_else(|violation| panic!("{violation}"));
    for server in ServerId::BOTH {
        let log = pair.log(server);
        assert!(!log.contains("differs") && !log.contains("panicked"));
    }
}
