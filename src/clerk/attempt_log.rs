//! What has come of the tries of one question so far: for the error, if it comes to one.

use std::sync::Arc;

use super::call::ServerPair;
use super::connection::Sent;
use super::error::{AttemptError, AttemptReport, ServerAttempts};
use super::per_server::PerServer;
use crate::service::Resource;
use crate::types::ServerId;

/// What has come of the tries so far.
#[derive(Debug, Clone, Default)]
pub(super) struct AttemptLog {
    attempts: PerServer<u32>,
    outstanding: PerServer<Option<Arc<Sent>>>,
    last: PerServer<Option<AttemptError>>,
    /// What came of the last try that was refused.
    refused: PerServer<Option<AttemptError>>,
    /// Whether one of them can have been carried out.
    pub(super) may_have_happened: bool,
}

impl AttemptLog {
    /// A try at `server` has begun, and is outstanding.
    pub(super) fn begin(&mut self, server: ServerId, sent: Arc<Sent>) {
        self.attempts[server] += 1;
        self.outstanding[server] = Some(sent);
    }

    pub(super) fn end(&mut self, server: ServerId, error: AttemptError) {
        self.may_have_happened |= error.may_have_executed();
        self.outstanding[server] = None;
        if matches!(error, AttemptError::Refused(_) | AttemptError::Busy) {
            self.refused[server] = Some(error.clone());
        }
        self.last[server] = Some(error);
    }

    /// Ends the tries that are outstanding.
    pub(super) fn closed(mut self) -> Self {
        for server in ServerId::BOTH {
            if let Some(sent) = self.outstanding[server].take() {
                self.end(server, sent.without_answer());
            }
        }
        self
    }

    /// Whether no try has been executed, nor can be when those that are outstanding are dropped.
    pub(super) fn is_certain(&self) -> bool {
        let mut outstanding = ServerId::BOTH
            .map(|server| self.outstanding[server].as_ref())
            .into_iter();
        !self.may_have_happened && !outstanding.any(|sent| sent.is_some_and(|sent| sent.is_sent()))
    }

    /// What the servers have too many of, when that is why the request has not been carried out.
    pub(super) fn overload(&self) -> Option<Resource> {
        let resource = |server| self.last[server].as_ref().and_then(AttemptError::overload);
        if self.may_have_happened {
            return None;
        }
        ServerId::BOTH.into_iter().find_map(resource)
    }

    /// The same attempts, made before the call itself could be sent.
    pub(super) fn before_the_call(self) -> Self {
        Self {
            may_have_happened: false,
            ..self
        }
    }

    pub(super) fn into_report(self, pair: &ServerPair) -> AttemptReport {
        let Self {
            attempts: tries,
            mut last,
            mut refused,
            ..
        } = self;
        AttemptReport::new(|server| ServerAttempts {
            server,
            address: pair.connections[server].addr().clone(),
            attempts: tries[server],
            last: last[server].take(),
            refused: refused[server].take(),
        })
    }
}
