//! What has come of the tries of one question so far: for the error, if it comes to one.

use std::sync::Arc;

use super::connection::{Connection, Sent};
use super::error::{AttemptError, AttemptReport, ServerAttempts};
use super::per_server::PerServer;
use crate::service::Resource;
use crate::types::ServerId;

/// What has come of the tries so far.
#[derive(Debug, Clone)]
pub(super) struct AttemptLog {
    servers: PerServer<ServerLog>,
    /// Whether one of them can have been carried out.
    pub(super) may_have_happened: bool,
}

/// What has come of the tries at one server.
#[derive(Debug, Clone, Default)]
struct ServerLog {
    attempts: u32,
    outstanding: Option<Arc<Sent>>,
    last: Option<AttemptError>,
    /// What came of the last try that was refused.
    refused: Option<AttemptError>,
}

impl AttemptLog {
    /// None has been made at any of `servers` yet.
    pub(super) fn new(servers: impl Iterator<Item = ServerId>) -> Self {
        Self {
            servers: PerServer::of(servers, |_| ServerLog::default()),
            may_have_happened: false,
        }
    }

    /// A try at `server` has begun, and is outstanding.
    pub(super) fn begin(&mut self, server: ServerId, sent: Arc<Sent>) {
        let log = &mut self.servers[server];
        log.attempts += 1;
        log.outstanding = Some(sent);
    }

    pub(super) fn end(&mut self, server: ServerId, error: AttemptError) {
        self.may_have_happened |= error.may_have_executed();
        self.servers[server].end(error);
    }

    /// Ends the tries that are outstanding.
    pub(super) fn closed(mut self) -> Self {
        for log in self.servers.iter_mut() {
            if let Some(sent) = log.outstanding.take() {
                let error = sent.without_answer();
                self.may_have_happened |= error.may_have_executed();
                log.end(error);
            }
        }
        self
    }

    /// Whether no try has been executed, nor can be when those that are outstanding are dropped.
    pub(super) fn is_certain(&self) -> bool {
        let mut outstanding = self.servers.iter().filter_map(|it| it.outstanding.as_ref());
        !self.may_have_happened && !outstanding.any(|sent| sent.is_sent())
    }

    /// What the servers have too many of, when that is why the request has not been carried out.
    pub(super) fn overload(&self) -> Option<Resource> {
        if self.may_have_happened {
            return None;
        }
        let mut last = self.servers.iter().filter_map(|it| it.last.as_ref());
        last.find_map(AttemptError::overload)
    }

    /// The same attempts, made before the call itself could be sent.
    pub(super) fn before_the_call(self) -> Self {
        Self {
            may_have_happened: false,
            ..self
        }
    }

    /// `connections`: those that the tries were made on.
    pub(super) fn into_report(self, connections: &PerServer<Connection>) -> AttemptReport {
        let servers = connections.ids().zip(self.servers);
        AttemptReport::new(servers.map(|(server, log)| ServerAttempts {
            server,
            address: connections[server].addr().clone(),
            attempts: log.attempts,
            last: log.last,
            refused: log.refused,
        }))
    }
}

impl ServerLog {
    fn end(&mut self, error: AttemptError) {
        self.outstanding = None;
        if matches!(error, AttemptError::Refused(_) | AttemptError::Busy) {
            self.refused = Some(error.clone());
        }
        self.last = Some(error);
    }
}
