//! What `lockc bench` prints: a few lines for people, or JSON.

use std::time::Duration;

use serde::Serialize;

use super::load::{Load, Operations, Tally};
use crate::clerk::ServerReport;
use crate::cli::lockc::latency::{Summary, human};

/// What was measured. Field names are a contract.
#[derive(Debug, Serialize)]
pub(super) struct Bench {
    /// Whether it acquired and released locks, instead of locking and unlocking them.
    owned: bool,
    clerks: u32,
    in_flight: u32,
    seconds: f64,
    calls: u64,
    failed: u64,
    calls_per_second: f64,
    latency_us: Summary,
    servers: Vec<ServerCost>,
    /// Processor time of all servers that told theirs, for one call.
    server_cpu_us_per_call: Option<f64>,
}

/// The processor time that a server used.
#[derive(Debug, Serialize)]
pub(super) struct ServerCost {
    address: String,
    cpu_seconds: f64,
}

impl ServerCost {
    /// Of those servers that answered before and after.
    pub(super) fn between(before: &[ServerReport], after: &[ServerReport]) -> Vec<Self> {
        let costs = before.iter().zip(after).filter_map(|(before, after)| {
            let (earlier, later) = (before.status.as_ref().ok()?, after.status.as_ref().ok()?);
            let used = later.cpu_time.saturating_sub(earlier.cpu_time);
            Some(Self {
                address: after.address.to_string(),
                cpu_seconds: used.as_secs_f64(),
            })
        });
        costs.collect()
    }
}

impl Bench {
    pub(super) fn new(
        load: &Load,
        elapsed: Duration,
        tally: &Tally,
        servers: Vec<ServerCost>,
    ) -> Self {
        let calls = tally.latencies.count();
        let cpu: f64 = servers.iter().map(|server| server.cpu_seconds).sum();
        let told = calls > 0 && !servers.is_empty();
        Self {
            owned: load.operations == Operations::Owned,
            clerks: load.clerks,
            in_flight: load.in_flight,
            seconds: elapsed.as_secs_f64(),
            calls,
            failed: tally.failed,
            calls_per_second: calls as f64 / elapsed.as_secs_f64(),
            latency_us: tally.latencies.summary(),
            servers,
            server_cpu_us_per_call: told.then(|| cpu * 1e6 / calls as f64),
        }
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.calls > 0
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "{} clerks with {} calls in flight each, {:.1} s",
                self.clerks, self.in_flight, self.seconds
            ),
            format!(
                "calls       {} answered, {} failed ({})",
                self.calls,
                self.failed,
                if self.owned {
                    "acquire and release"
                } else {
                    "lock and unlock"
                }
            ),
            format!("throughput  {:.0} calls/s", self.calls_per_second),
            format!("latency     {}", self.latency_us),
        ];
        if let Some(cost) = self.server_cpu_us_per_call {
            let shares: Vec<_> = self.servers.iter().map(ServerCost::share).collect();
            lines.push(format!(
                "server CPU  {} a call ({})",
                human(cost),
                shares.join(", ")
            ));
        }
        lines.join("\n")
    }
}

impl ServerCost {
    fn share(&self) -> String {
        format!("{}: {:.2} s", self.address, self.cpu_seconds)
    }
}
