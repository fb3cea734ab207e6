//! What `lockc status` prints: a table for people, or JSON.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::clerk::{ServerReport, is_whole};
use crate::cli::exit::one_line;
use crate::service::{RoleName, ServerStatus};
use crate::types::ServerId;

/// The pair, as its servers see it. Field names are a contract.
#[derive(Debug, Serialize)]
pub(super) struct PairStatus {
    whole: bool,
    servers: Vec<ServerLine>,
}

#[derive(Debug, Serialize)]
struct ServerLine {
    server: ServerId,
    address: String,
    reachable: bool,
    /// Why it is not reachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    state: Option<State>,
}

#[derive(Debug, Serialize)]
struct State {
    role: &'static str,
    /// A primary without a backup.
    alone: bool,
    view: Option<u64>,
    view_primary: Option<ServerId>,
    op: u64,
    acked: Option<u64>,
    in_sync: bool,
    clients: u64,
    locks: u64,
    waiters: u64,
    /// In hexadecimal: JSON's numbers do not hold 64 bits everywhere.
    digest: String,
    uptime_seconds: u64,
    cpu_seconds: f64,
    /// How long it polls for the next message before its thread parks.
    busy_poll_us: u64,
    version: String,
}

impl PairStatus {
    pub(super) fn new(reports: &[ServerReport; 2]) -> Self {
        Self {
            whole: is_whole(reports),
            servers: reports.iter().map(ServerLine::new).collect(),
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.servers.iter().any(|server| server.reachable)
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "SERVER", "ADDRESS", "ROLE", "VIEW", "OP", "IN SYNC", "CLIENTS", "LOCKS", "WAITERS",
            "UPTIME",
        ]);
        for server in &self.servers {
            table.add_row(server.cells());
        }
        let verdict = if self.whole {
            "The pair is whole: it survives the loss of either server."
        } else {
            "The pair is NOT whole: a failure now can cost the locks."
        };
        let mut lines: Vec<_> = table.lines().map(|line| line.trim().to_owned()).collect();
        lines.push(String::new());
        lines.extend(self.servers.iter().filter_map(ServerLine::complaint));
        lines.push(verdict.to_owned());
        lines.join("\n")
    }
}

impl ServerLine {
    fn new(report: &ServerReport) -> Self {
        Self {
            server: report.server,
            address: report.address.to_string(),
            reachable: report.status.is_ok(),
            error: report.status.as_ref().err().map(ToString::to_string),
            state: report.status.as_ref().ok().map(State::new),
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.server.to_string(), self.address.clone()];
        match &self.state {
            Some(state) => cells.extend(state.cells()),
            None => cells.push("unreachable".to_owned()),
        }
        cells
    }

    fn complaint(&self) -> Option<String> {
        let error = one_line(self.error.as_ref()?);
        Some(format!("{} is unreachable: {error}", self.server))
    }
}

impl State {
    fn new(status: &ServerStatus) -> Self {
        Self {
            role: match status.role {
                RoleName::Starting => "starting",
                RoleName::Alone | RoleName::Primary => "primary",
                RoleName::Backup => "backup",
            },
            alone: status.role == RoleName::Alone,
            view: status.view.map(|view| view.number),
            view_primary: status.view.map(|view| view.primary),
            op: status.op.0,
            acked: status.acked.map(|op| op.0),
            in_sync: status.in_sync,
            clients: status.clients,
            locks: status.locks,
            waiters: status.waiters,
            digest: status.digest.to_string(),
            uptime_seconds: status.uptime.as_secs(),
            cpu_seconds: status.cpu_time.as_secs_f64(),
            busy_poll_us: u64::try_from(status.busy_poll.as_micros()).unwrap_or(u64::MAX),
            version: status.version.clone(),
        }
    }

    fn cells(&self) -> [String; 8] {
        let view = self.view.zip(self.view_primary);
        let uptime = std::time::Duration::from_secs(self.uptime_seconds);
        [
            format!("{}{}", self.role, if self.alone { " (alone)" } else { "" }),
            view.map_or_else(
                || "-".to_owned(),
                |(number, primary)| format!("{number}{primary}"),
            ),
            self.op.to_string(),
            if self.in_sync { "yes" } else { "no" }.to_owned(),
            self.clients.to_string(),
            self.locks.to_string(),
            self.waiters.to_string(),
            humantime::format_duration(uptime).to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::clerk::TryError;
    use crate::net::Addr;
    use crate::types::{Digest, OpNumber, View};

    fn status(server: ServerId, role: RoleName) -> ServerStatus {
        ServerStatus {
            server,
            role,
            view: Some(View {
                number: 3,
                primary: ServerId::A,
            }),
            op: OpNumber(41),
            digest: Digest(0xab),
            acked: None,
            in_sync: true,
            clients: 2,
            locks: 1,
            waiters: 0,
            uptime: Duration::from_millis(62_500),
            cpu_time: Duration::from_millis(1_500),
            busy_poll: Duration::from_micros(64),
            version: "0.1.0".to_owned(),
        }
    }

    fn report(server: ServerId, status: Result<ServerStatus, TryError>) -> ServerReport {
        ServerReport {
            server,
            address: Addr::Tcp(format!("host-{server}:5100")),
            status,
        }
    }

    fn pair(change: impl FnOnce(&mut ServerStatus, &mut ServerStatus)) -> [ServerReport; 2] {
        let mut primary = status(ServerId::A, RoleName::Primary);
        let mut backup = status(ServerId::B, RoleName::Backup);
        change(&mut primary, &mut backup);
        [
            report(ServerId::A, Ok(primary)),
            report(ServerId::B, Ok(backup)),
        ]
    }

    fn half() -> [ServerReport; 2] {
        [
            report(ServerId::A, Err(TryError::NoAnswer)),
            report(ServerId::B, Ok(status(ServerId::B, RoleName::Alone))),
        ]
    }

    #[test]
    fn a_pair_is_whole_with_a_primary_and_a_backup_in_one_view_and_no_doubt() {
        let is_whole = |change: fn(&mut ServerStatus, &mut ServerStatus)| is_whole(&pair(change));
        assert!(is_whole(|_, _| {}));
        assert!(is_whole(|primary, backup| std::mem::swap(
            &mut primary.role,
            &mut backup.role
        )));
        assert!(!is_whole(|primary, _| primary.in_sync = false));
        assert!(!is_whole(|_, backup| backup.in_sync = false));
        assert!(!is_whole(
            |_, backup| backup.view = backup.view.map(|view| view.next(ServerId::B))
        ));
        assert!(!is_whole(|_, backup| backup.role = RoleName::Primary));
        assert!(!is_whole(|primary, _| primary.role = RoleName::Alone));
        assert!(!super::is_whole(&half()));
    }

    #[test]
    fn the_json_of_a_server_names_all_that_is_known_of_it() {
        let json = PairStatus::new(&pair(|_, _| {}))
            .json()
            .expect("it encodes");
        let json: Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(json["whole"], true);
        assert_eq!(
            json["servers"][1],
            json!({
                "server": "B", "address": "host-B:5100", "reachable": true, "role": "backup",
                "alone": false, "view": 3, "view_primary": "A", "op": 41, "acked": null,
                "in_sync": true, "clients": 2, "locks": 1, "waiters": 0, "digest": "00000000000000ab",
                "uptime_seconds": 62, "cpu_seconds": 1.5, "busy_poll_us": 64, "version": "0.1.0",
            })
        );
    }

    #[test]
    fn a_server_that_does_not_answer_is_shown_with_the_reason() {
        let status = PairStatus::new(&half());
        let json: Value = serde_json::from_str(&status.json().expect("it encodes")).expect("JSON");
        assert_eq!(
            json["servers"][0],
            json!({
                "server": "A", "address": "host-A:5100", "reachable": false, "error": "no answer",
            })
        );
        assert_eq!(json["whole"], false);
        assert_eq!(json["servers"][1]["role"], "primary");
        assert_eq!(json["servers"][1]["alone"], true);
        assert!(status.table().contains("A is unreachable: no answer"));
    }

    #[test]
    fn a_status_is_answered_when_one_server_answers() {
        assert!(PairStatus::new(&half()).is_answered());
        let none = ServerId::BOTH.map(|server| report(server, Err(TryError::NoAnswer)));
        assert!(!PairStatus::new(&none).is_answered());
    }

    #[test]
    fn the_table_has_a_line_for_each_server_and_a_verdict() {
        let table = PairStatus::new(&pair(|_, _| {})).table();
        let lines: Vec<_> = table.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 5, "{table}");
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(lines[1]),
            [
                "A",
                "host-A:5100",
                "primary",
                "3A",
                "41",
                "yes",
                "2",
                "1",
                "0",
                "1m",
                "2s"
            ]
        );
        assert!(lines[4].contains("is whole"));
    }
}
