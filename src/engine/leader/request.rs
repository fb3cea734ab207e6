//! A request that is not answered yet.

use crate::engine::Via;
use crate::service::Request;

/// A request: how it came, and where its answer goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PendingRequest<T> {
    pub(crate) to: T,
    pub(crate) via: Via,
    pub(crate) request: Request,
}
