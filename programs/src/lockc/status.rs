//! What `lockc status` prints: a table for people, or JSON.

use serde::Serialize;

use super::lazy_client::is_refused;
use super::table::{Column, table};
use crate::escape::escaped;
use lockservice::clerk::{ServerReport, is_whole, mix};
use lockservice::service::{RoleName, ServerStatus};
/// The columns of each server. A row for each, so that addresses and numbers have room in 80
/// columns.
const ROWS: [&str; 10] = [
    "address", "role", "view", "op", "in sync", "clients", "locks", "waiters", "memory", "uptime",
];

/// The servers of the list, as each sees itself. Field names are a contract.
#[derive(Debug, Serialize)]
pub(super) struct ClusterStatus {
    whole: bool,
    /// The cluster of each server, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed_clusters: Option<String>,
    servers: Vec<ServerLine>,
    #[serde(skip)]
    nobody_listens: bool,
}

#[derive(Debug, Serialize)]
struct ServerLine {
    server: String,
    address: String,
    reachable: bool,
    /// Why it is not reachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    state: Option<Known>,
}

#[derive(Debug, Serialize)]
struct Known {
    /// None while it is starting.
    cluster: Option<String>,
    role: &'static str,
    /// A primary without a backup.
    alone: bool,
    view: Option<u64>,
    view_primary: Option<String>,
    op: u64,
    acked: Option<u64>,
    in_sync: bool,
    /// Why it does not pair with the other server.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
    clients: u64,
    locks: u64,
    waiters: u64,
    state_bytes: u64,
    state_limit_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    /// In hexadecimal: JSON's numbers do not hold 64 bits everywhere.
    digest: String,
    uptime_seconds: u64,
    cpu_seconds: f64,
    /// How long it polls for the next message before its thread parks.
    busy_poll_us: u64,
    version: String,
}

impl ClusterStatus {
    pub(super) fn new(reports: &[ServerReport]) -> Self {
        Self {
            whole: is_whole(reports),
            mixed_clusters: mix(reports).map(|mix| mix.to_string()),
            servers: reports.iter().map(ServerLine::new).collect(),
            nobody_listens: reports
                .iter()
                .all(|report| report.status.as_ref().is_err_and(is_refused)),
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.servers.iter().any(|server| server.reachable)
    }

    /// Whether no server runs at all.
    pub(super) const fn is_nobody_there(&self) -> bool {
        self.nobody_listens
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// A column for each server, in `width` columns of a terminal where there is one.
    pub(super) fn table(&self, width: Option<usize>) -> String {
        let mut rows: Vec<_> = ROWS.map(|row| vec![row.to_owned()]).into();
        let mut columns = vec![Column::Whole("SERVER")];
        for server in &self.servers {
            columns.push(Column::Shrinks(&server.server));
            for (row, cell) in rows.iter_mut().zip(server.cells()) {
                row.push(cell);
            }
        }
        let (group, any) = match self.servers.len() {
            2 => ("pair", "either"),
            _ => ("cluster", "any"),
        };
        let verdict = if self.whole {
            format!("The {group} is whole: it survives the loss of {any} server.")
        } else {
            format!("The {group} is NOT whole: a failure now can cost the locks.")
        };
        let mut lines = vec![table(&columns, rows, width), String::new()];
        let complaints = self.servers.iter().map(|server| self.complaint(server));
        lines.extend(complaints.flatten());
        let mix = self.mixed_clusters.as_ref();
        lines.extend(mix.map(|mix| format!("Not a {group}: {mix}.")));
        lines.push(verdict);
        lines.join("\n")
    }

    /// The faults of a server.
    fn complaint(&self, of: &ServerLine) -> Option<String> {
        let server = &of.server;
        if let Some(error) = &of.error {
            return Some(format!("{server} is unreachable: {}", escaped(error)));
        }
        let obstacle = escaped(of.state.as_ref()?.obstacle.as_ref()?);
        let others = self.servers.iter().map(|it| it.server.as_str());
        let others: Vec<_> = others.filter(|other| other != server).collect();
        let others = others.join(" and ");
        Some(format!("{server} cannot pair with {others}: {obstacle}"))
    }
}

impl ServerLine {
    fn new(report: &ServerReport) -> Self {
        Self {
            server: report.server.to_string(),
            address: report.address.to_string(),
            reachable: report.status.is_ok(),
            error: report.status.as_ref().err().map(ToString::to_string),
            state: report.status.as_ref().ok().map(Known::new),
        }
    }

    fn cells(&self) -> [String; ROWS.len()] {
        let address = self.address.clone();
        if let Some(state) = &self.state {
            return state.cells(address);
        }
        let mut cells = ROWS.map(|_| "-".to_owned());
        cells[0] = address;
        "unreachable".clone_into(&mut cells[1]);
        cells
    }
}

impl Known {
    fn new(status: &ServerStatus) -> Self {
        Self {
            cluster: status.cluster.map(|cluster| cluster.to_string()),
            role: match status.role {
                RoleName::Starting => "starting",
                RoleName::Standalone | RoleName::Primary => "primary",
                RoleName::Backup => "backup",
                _ => "unknown",
            },
            alone: status.role == RoleName::Standalone,
            view: status.view.map(|view| view.number),
            view_primary: status.view.map(|view| view.primary.to_string()),
            op: status.op.0,
            acked: status.acked.map(|op| op.0),
            in_sync: status.in_sync,
            obstacle: status.obstacle.map(|obstacle| obstacle.to_string()),
            clients: status.clients,
            locks: status.locks,
            waiters: status.waiters,
            state_bytes: status.state_bytes,
            state_limit_bytes: status.state_limit,
            memory_limit_bytes: status.memory_limit,
            digest: status.digest.to_string(),
            uptime_seconds: status.uptime.as_secs(),
            cpu_seconds: status.cpu_time.as_secs_f64(),
            busy_poll_us: u64::try_from(status.busy_poll.as_micros()).unwrap_or(u64::MAX),
            version: status.version.clone(),
        }
    }

    /// What the locks and clients take, and may take.
    fn memory(&self) -> String {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let used = mebibytes(self.state_bytes);
        match self.state_limit_bytes {
            Some(limit) => format!("{used:.1} of {:.1} MiB", mebibytes(limit)),
            None => format!("{used:.1} MiB"),
        }
    }

    /// In the order of [`ROWS`].
    fn cells(&self, address: String) -> [String; ROWS.len()] {
        let view = self.view.zip(self.view_primary.as_ref());
        let uptime = std::time::Duration::from_secs(self.uptime_seconds);
        [
            address,
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
            self.memory(),
            humantime::format_duration(uptime).to_string(),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use lockservice::clerk::AttemptError;
    use lockservice::service::Obstacle;
    use lockservice::transport::Addr;
    use lockservice::types::{ClusterId, Digest, OpNumber, ServerId, View};

    fn status(server: ServerId, role: RoleName) -> ServerStatus {
        let mut status = ServerStatus::starting(server);
        status.role = role;
        status.view = Some(View {
            number: 3,
            primary: ServerId::A,
        });
        status.op = OpNumber(41);
        status.digest = Digest(0xab);
        status.in_sync = true;
        status.cluster = Some(ClusterId(0xc1));
        status.clients = 2;
        status.locks = 1;
        status.uptime = Duration::from_millis(62_500);
        status.state_bytes = 2_560;
        status.cpu_time = Duration::from_millis(1_500);
        status.busy_poll = Duration::from_micros(64);
        "0.1.0".clone_into(&mut status.version);
        status
    }

    fn report(server: ServerId, status: Result<ServerStatus, AttemptError>) -> ServerReport {
        ServerReport::new(server, Addr::Tcp(format!("host-{server}:5100")), status)
    }

    pub(in crate::lockc) fn pair(
        change: impl FnOnce(&mut ServerStatus, &mut ServerStatus),
    ) -> Vec<ServerReport> {
        let mut primary = status(ServerId::A, RoleName::Primary);
        let mut backup = status(ServerId::B, RoleName::Backup);
        change(&mut primary, &mut backup);
        vec![
            report(ServerId::A, Ok(primary)),
            report(ServerId::B, Ok(backup)),
        ]
    }

    fn half() -> Vec<ServerReport> {
        vec![
            report(ServerId::A, Err(AttemptError::NoAnswer)),
            report(ServerId::B, Ok(status(ServerId::B, RoleName::Standalone))),
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
        assert!(!is_whole(|primary, _| primary.role = RoleName::Standalone));
        assert!(!super::is_whole(&half()));
    }

    #[test]
    fn the_json_of_a_server_names_all_that_is_known_of_it() {
        let json = ClusterStatus::new(&pair(|_, _| {}))
            .json()
            .expect("it encodes");
        let json: Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(json["whole"], true);
        assert_eq!(
            json["servers"][1],
            json!({
                "server": "B", "address": "host-B:5100", "reachable": true,
                "cluster": "00000000000000c1", "role": "backup",
                "alone": false, "view": 3, "view_primary": "A", "op": 41, "acked": null,
                "in_sync": true, "clients": 2, "locks": 1, "waiters": 0, "state_bytes": 2_560,
                "state_limit_bytes": null, "memory_limit_bytes": null, "digest": "00000000000000ab",
                "uptime_seconds": 62, "cpu_seconds": 1.5, "busy_poll_us": 64, "version": "0.1.0",
            })
        );
    }

    #[test]
    fn a_server_that_does_not_answer_is_shown_with_the_reason() {
        let status = ClusterStatus::new(&half());
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
        assert!(status.table(None).contains("A is unreachable: no answer"));
    }

    #[test]
    fn what_keeps_the_servers_apart_is_told() {
        let pair = pair(|primary, backup| {
            (primary.in_sync, backup.in_sync) = (false, false);
            let (ours, theirs) = (Duration::from_secs(1), Duration::from_secs(2));
            primary.obstacle = Some(Obstacle::PeerTimeout { ours, theirs });
        });
        let status = ClusterStatus::new(&pair);
        let table = status.table(None);
        assert!(
            table.contains("A cannot pair with B: the peer timeouts differ, 1s here and 2s there"),
            "{table}"
        );
        let json: Value = serde_json::from_str(&status.json().expect("it encodes")).expect("JSON");
        let [a, b] = [0, 1].map(|server| &json["servers"][server]["obstacle"]);
        assert!(
            a.as_str()
                .is_some_and(|text| text.contains("--peer-timeout")),
            "{json}"
        );
        assert!(b.is_null(), "{json}");
    }

    #[test]
    fn a_status_is_answered_when_one_server_answers() {
        assert!(ClusterStatus::new(&half()).is_answered());
        let none = ServerId::BOTH.map(|server| report(server, Err(AttemptError::NoAnswer)));
        assert!(!ClusterStatus::new(&none).is_answered());
    }

    #[test]
    fn the_table_has_a_column_for_each_server_and_a_verdict() {
        let table = ClusterStatus::new(&pair(|_, _| {})).table(Some(80));
        let lines: Vec<_> = table.lines().collect();
        let rows: Vec<Vec<_>> = lines[..11]
            .iter()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0], ["SERVER", "A", "B"]);
        assert_eq!(rows[1], ["address", "host-A:5100", "host-B:5100"]);
        assert_eq!(rows[2], ["role", "primary", "backup"]);
        assert_eq!(rows[3], ["view", "3A", "3A"]);
        assert_eq!(rows[5], ["in", "sync", "yes", "yes"]);
        assert_eq!(rows[9], ["memory", "0.0", "MiB", "0.0", "MiB"]);
        assert_eq!(rows[10], ["uptime", "1m", "2s", "1m", "2s"]);
        assert!(lines[12].contains("is whole"), "{table}");
    }

    #[test]
    fn a_list_of_any_length_has_a_column_for_each_server() {
        let mut reports = pair(|_, _| {});
        for place in 2..5 {
            let server = ServerId::at(place).expect("a place");
            reports.push(report(server, Ok(status(server, RoleName::Backup))));
        }
        let status = ClusterStatus::new(&reports);
        let table = status.table(None);
        let header: Vec<_> = table
            .lines()
            .flat_map(str::split_whitespace)
            .take(6)
            .collect();
        assert_eq!(header, ["SERVER", "A", "B", "C", "D", "E"]);
        assert!(
            table.ends_with("The cluster is whole: it survives the loss of any server."),
            "{table}"
        );
        reports[3].status = Err(AttemptError::NoAnswer);
        let table = ClusterStatus::new(&reports).table(None);
        assert!(table.contains("D is unreachable: no answer"), "{table}");
        assert!(table.contains("The cluster is NOT whole"), "{table}");
    }

    #[test]
    fn the_table_fits_80_columns_however_long_the_addresses_are() {
        let mut reports = pair(|primary, _| primary.op = OpNumber(u64::MAX));
        for report in &mut reports {
            report.address = Addr::Tcp(format!("{}.example.org:5100", "lock-a.eu-west".repeat(9)));
        }
        let status = ClusterStatus::new(&reports);
        let table = status.table(Some(80));
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{table}");
        assert!(table.contains(&u64::MAX.to_string()), "{table}");
        let piped = status.table(None);
        assert!(piped.contains(&reports[0].address.to_string()), "{piped}");
    }
}
