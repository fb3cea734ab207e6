//! Several locks at once: all of them, or none.
//!
//! They are acquired one after the other in the order of their names, which is the same for everybody: so two
//! that want some of the same locks never wait for each other in a circle.

use std::collections::BTreeSet;

use super::error::AcquireError;
use super::{Clerk, LockGuard};
use crate::types::LockName;

/// The locks to be acquired, in their order.
pub(super) fn in_order<N: AsRef<str>>(
    names: impl IntoIterator<Item = N>,
) -> Result<BTreeSet<LockName>, AcquireError> {
    let parse = |name: N| Ok(LockName::new(name.as_ref())?);
    names.into_iter().map(parse).collect()
}

/// Acquires them. Those that it has are given back when it is dropped or does not come to an end.
pub(super) async fn acquire(
    clerk: &Clerk,
    names: BTreeSet<LockName>,
) -> Result<Vec<LockGuard>, AcquireError> {
    let mut guards = Vec::with_capacity(names.len());
    for name in names {
        guards.push(clerk.acquire(name.as_str()).await?);
    }
    // The session of the first ones may have been lost before the last one was acquired in another.
    match guards.iter().find_map(LockGuard::loss) {
        None => Ok(guards),
        Some(reason) => Err(reason.into()),
    }
}
