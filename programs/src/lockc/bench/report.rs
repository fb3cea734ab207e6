//! What `lockc bench` prints: a few lines for people, or JSON.

use std::time::Duration;

use serde::Serialize;

use super::load::{Load, LoadCounters, Operations};
use crate::lockc::latency::{Summary, human};
use crate::text;
use lockservice::clerk::ServerReport;
use lockservice::types::ProcessId;

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

/// The processor time that a process of servers used.
#[derive(Debug, Serialize)]
pub(super) struct ServerCost {
    /// Of its server; of both, with a comma between, if it runs both.
    address: String,
    cpu_seconds: f64,
}

impl ServerCost {
    /// Of those servers that answered before and after, without a restart between; a process that
    /// runs both counts once.
    pub(super) fn between(before: &[ServerReport], after: &[ServerReport]) -> Vec<Self> {
        let mut costs: Vec<(ProcessId, Self)> = Vec::new();
        for (before, after) in before.iter().zip(after) {
            let (Ok(earlier), Ok(later)) = (&before.status, &after.status) else {
                continue;
            };
            if earlier.process != later.process {
                continue;
            }
            let cost = Self {
                address: after.address.to_string(),
                cpu_seconds: later
                    .cpu_time
                    .saturating_sub(earlier.cpu_time)
                    .as_secs_f64(),
            };
            match costs
                .iter_mut()
                .find(|(process, _)| *process == later.process)
            {
                Some((_, shared)) => shared.merge(&cost),
                None => costs.push((later.process, cost)),
            }
        }
        costs.into_iter().map(|(_, cost)| cost).collect()
    }

    /// Counts another server of the same process: its time is the same, read a moment apart.
    fn merge(&mut self, other: &Self) {
        self.address.push(',');
        self.address.push_str(&other.address);
        self.cpu_seconds = self.cpu_seconds.max(other.cpu_seconds);
    }
}

impl Bench {
    pub(super) fn new(
        load: &Load,
        elapsed: Duration,
        tally: &LoadCounters,
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

    fn load(&self) -> String {
        text::load(self.clerks.into(), self.in_flight.into())
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            format!("{}, {:.1} s", self.load(), self.seconds),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockc::status::tests::pair;

    fn costs(processes: [(u128, u128); 2]) -> Vec<(String, f64)> {
        let reports = |at: fn((u128, u128)) -> u128, cpu| {
            pair(|primary, backup| {
                for (status, process) in [primary, backup].into_iter().zip(processes) {
                    status.process = ProcessId::from_u128(at(process));
                    status.cpu_time = Duration::from_secs(cpu);
                }
            })
        };
        let (before, after) = (reports(|it| it.0, 1), reports(|it| it.1, 3));
        let costs = ServerCost::between(&before, &after).into_iter();
        costs.map(|it| (it.address, it.cpu_seconds)).collect()
    }

    #[test]
    fn the_time_of_a_process_that_runs_both_servers_counts_once() {
        let both = costs([(1, 1), (1, 1)]);
        assert_eq!(both, [("host-A:5100,host-B:5100".to_owned(), 2.0)]);
        let [a, b] = ["host-A:5100", "host-B:5100"].map(str::to_owned);
        assert_eq!(costs([(1, 1), (2, 2)]), [(a, 2.0), (b.clone(), 2.0)]);
        // A server that was restarted meanwhile began to count anew.
        assert_eq!(costs([(1, 3), (2, 2)]), [(b, 2.0)]);
    }
}
