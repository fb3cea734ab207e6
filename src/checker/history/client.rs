//! A clerk whose calls are recorded.

use super::Recorder;
use crate::clerk::{CallError, Clerk};
use crate::service::Verb;
use crate::types::LockName;

/// A client whose calls are recorded. See [`Recorder::client`].
#[derive(Debug, Clone)]
pub struct RecordedClerk {
    recorder: Recorder,
    client: u32,
    clerk: Clerk,
}

impl Recorder {
    /// Records what `clerk` does from now on, as client number `client`.
    #[must_use]
    pub fn client(&self, client: u32, clerk: Clerk) -> RecordedClerk {
        RecordedClerk {
            recorder: self.clone(),
            client,
            clerk,
        }
    }
}

impl RecordedClerk {
    /// See [`Clerk::lock`].
    ///
    /// # Errors
    ///
    /// As that.
    ///
    /// # Cancel safety
    ///
    /// Safe: the call is recorded as unknown.
    pub async fn lock(&self, name: &str) -> Result<bool, CallError> {
        self.call(Verb::Lock, name).await
    }

    /// See [`Clerk::unlock`].
    ///
    /// # Errors
    ///
    /// As that.
    ///
    /// # Cancel safety
    ///
    /// Safe: the call is recorded as unknown.
    pub async fn unlock(&self, name: &str) -> Result<bool, CallError> {
        self.call(Verb::Unlock, name).await
    }

    async fn call(&self, verb: Verb, name: &str) -> Result<bool, CallError> {
        let call = self
            .recorder
            .invoke(self.client, verb, &LockName::new(name)?);
        let result = match verb {
            Verb::Lock => self.clerk.lock(name).await,
            Verb::Unlock => self.clerk.unlock(name).await,
        };
        match &result {
            Ok(answer) => call.returned(*answer),
            Err(error) if error.may_have_happened() => call.unknown(),
            Err(_) => call.refused(),
        }
        result
    }
}
