//! Servers at the same op have the same state, and a cluster has one primary.

use super::Violation;
use crate::service::{RoleName, ServerStatus};

/// Checks the servers' statuses, taken while no call was under way.
///
/// # Errors
///
/// A [`Violation`] with what differs between two servers.
pub fn check(servers: &[ServerStatus]) -> Result<(), Violation> {
    let serving: Vec<_> = servers
        .iter()
        .filter(|server| server.role != RoleName::Starting)
        .collect();
    for (index, one) in serving.iter().enumerate() {
        for other in &serving[index + 1..] {
            compare(one, other)?;
        }
    }
    match &serving[..] {
        [] | [_] => Ok(()),
        several => one_is_primary(several),
    }
}

fn compare(one: &ServerStatus, other: &ServerStatus) -> Result<(), Violation> {
    if one.op == other.op {
        same("digest", one, other, |server| server.digest)?;
        same("number of held locks", one, other, |server| server.locks)?;
        same("number of clients", one, other, |server| server.clients)?;
    }
    same("view", one, other, |server| server.view)
}

fn one_is_primary(servers: &[&ServerStatus]) -> Result<(), Violation> {
    let in_role = |role| servers.iter().filter(move |server| server.role == role);
    let mut primaries = in_role(RoleName::Primary);
    match (primaries.next(), in_role(RoleName::Backup).count()) {
        (Some(primary), backups) if backups + 1 == servers.len() => {
            in_role(RoleName::Backup).try_for_each(|backup| acknowledged_is_there(primary, backup))
        }
        _ => {
            let role = |server: &&ServerStatus| format!("{} is {}", server.server, server.role);
            let roles: Vec<_> = servers.iter().map(role).collect();
            Err(violation(roles.join(" and ")))
        }
    }
}

fn acknowledged_is_there(primary: &ServerStatus, backup: &ServerStatus) -> Result<(), Violation> {
    if primary.acked.is_none_or(|acked| acked <= backup.op) && backup.op <= primary.op {
        return Ok(());
    }
    Err(violation(format!(
        "the primary stands at op {} with {:?} acknowledged, and the backup at op {}",
        primary.op, primary.acked, backup.op
    )))
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    one: &ServerStatus,
    other: &ServerStatus,
    part: impl Fn(&ServerStatus) -> T,
) -> Result<(), Violation> {
    let (this, that) = (part(one), part(other));
    if this == that {
        return Ok(());
    }
    Err(violation(format!(
        "the {what} of {} at op {} is {this:?}, and of {} at op {} it is {that:?}",
        one.server, one.op, other.server, other.op
    )))
}

fn violation(what: String) -> Violation {
    Violation {
        invariant: "replicas_agree",
        name: None,
        what,
        calls: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::{Digest, OpNumber, ProcessId, ServerId, View};

    fn pair() -> [ServerStatus; 2] {
        let primary = ServerStatus {
            server: ServerId::A,
            role: RoleName::Primary,
            view: Some(View::first(ServerId::A)),
            op: OpNumber(7),
            digest: Digest(1),
            acked: Some(OpNumber(7)),
            in_sync: true,
            obstacle: None,
            cluster: None,
            clients: 2,
            locks: 3,
            waiters: 0,
            uptime: Duration::ZERO,
            state_bytes: 2_560,
            state_limit: None,
            memory_limit: None,
            process: ProcessId::from_u128(1),
            cpu_time: Duration::ZERO,
            busy_poll: Duration::ZERO,
            version: String::new(),
        };
        let backup = ServerStatus {
            server: ServerId::B,
            role: RoleName::Backup,
            acked: None,
            ..primary.clone()
        };
        [primary, backup]
    }

    #[track_caller]
    fn caught(change: impl Fn(&mut ServerStatus)) {
        for server in 0..2 {
            let mut servers = pair();
            change(&mut servers[server]);
            assert!(check(&servers).is_err(), "{servers:?}");
        }
    }

    #[test]
    fn a_whole_pair_agrees_and_a_server_by_itself_does() {
        check(&pair()).expect("they agree");
        check(&pair()[..1]).expect("it is alone");
        check(&[]).expect("nobody disagrees");
    }

    #[test]
    fn another_state_at_the_same_op_is_caught() {
        caught(|server| server.digest = Digest(2));
        caught(|server| server.locks += 1);
        caught(|server| server.clients += 1);
    }

    #[test]
    fn two_views_or_two_primaries_are_caught() {
        caught(|server| server.view = Some(View::first(ServerId::B)));
        caught(|server| server.role = RoleName::Standalone);
        let [primary, mut backup] = pair();
        backup.role = RoleName::Primary;
        check(&[primary, backup.clone()]).expect_err("a violation");
        backup.role = RoleName::Backup;
        check(&[backup.clone(), backup]).expect_err("none is the primary");
    }

    #[test]
    fn of_any_number_of_servers_one_is_the_primary_and_each_backup_agrees() {
        let [primary, backup] = pair();
        let third = ServerStatus {
            server: ServerId::at(2).expect("a place"),
            ..backup.clone()
        };
        check(&[backup.clone(), primary.clone(), third.clone()]).expect("they agree");
        let mut behind = third.clone();
        behind.op = OpNumber(6);
        check(&[primary.clone(), backup.clone(), behind]).expect_err("a violation");
        let mut another = third;
        another.role = RoleName::Primary;
        check(&[primary, backup, another]).expect_err("a violation");
    }

    #[test]
    fn a_backup_without_what_it_acknowledged_is_caught_and_one_that_is_ahead() {
        let [mut primary, mut backup] = pair();
        backup.op = OpNumber(6);
        check(&[primary.clone(), backup.clone()]).expect_err("a violation");
        primary.acked = Some(OpNumber(6));
        check(&[primary.clone(), backup.clone()]).expect("an op is under way");
        backup.op = OpNumber(8);
        check(&[primary, backup]).expect_err("a violation");
    }

    #[test]
    fn nothing_is_asked_of_a_server_that_is_starting() {
        let [primary, mut backup] = pair();
        backup.role = RoleName::Starting;
        backup.view = None;
        backup.digest = Digest(0);
        check(&[primary, backup]).expect("it has no state");
    }
}
