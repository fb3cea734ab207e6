//! Clerks of a pair.

use std::time::Duration;

use lockservice::clerk::Clerk;
use lockservice::testkit::Pair;

/// A clerk whose session has this lease.
pub(crate) async fn clerk(pair: &Pair, lease: Duration) -> Clerk {
    Clerk::builder(pair.servers().clone())
        .lease(lease)
        .connect()
        .await
        .expect("a server of the pair answers")
}

/// Long enough that no lease ends by chance.
pub(crate) const LONG: Duration = Duration::from_mins(1);
