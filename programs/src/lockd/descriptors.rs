//! How many descriptors this process may have, and how many of them are for clients.
//!
//! A server whose clients have used them all up could neither ask its peer who it is nor be asked:
//! it would not take over. So some are kept for the server itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use lockservice::config::Limits;
use lockservice::server::ServerConfig;

/// How many a server needs for itself. Some ten: standard streams, signals, the listener, the
/// runtime. Up to eight for each of the four connections that it dials its peer for, four that the
/// peer dials.
const OWN: usize = 48;

/// How many are for clients at least.
const LEAST_FOR_CLIENTS: usize = 8;

/// Which part of what is left is for connections that have not said yet what they are.
const GREETINGS: usize = 4;

/// There are too few descriptors to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {limit} descriptors, and needs {needed}: raise the limit (ulimit -n, or \
     LimitNOFILE= of systemd)"
)]
pub(super) struct TooFew {
    limit: usize,
    needed: usize,
}

/// Takes as many descriptors as this process may have, and limits the clients of `servers` to what
/// is left.
///
/// # Errors
///
/// [`TooFew`].
pub(super) fn share(servers: &mut [ServerConfig]) -> Result<(), TooFew> {
    let Some(limit) = raise() else {
        return Ok(());
    };
    let count = servers.len();
    for server in servers {
        let asked = server.limits.connections;
        server.limits = fit(server.limits, limit, count)?;
        let left = server.limits.connections;
        if left < asked {
            tracing::warn!(
                "this process may have {limit} descriptors, so {left} clients may be connected, not \
                 {asked}: raise the limit (ulimit -n, or LimitNOFILE= of systemd), or lower \
                 --max-connections"
            );
        }
    }
    Ok(())
}

/// Raises the limit as far as this process may. None when there is no limit.
fn raise() -> Option<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // What was there before is not less than it was.
    let _ = setrlimit(Resource::Nofile, raised);
    let limit = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The limits of one of `servers` in a process that may have `limit` descriptors.
fn fit(mut limits: Limits, limit: usize, servers: usize) -> Result<Limits, TooFew> {
    let needed = OWN + LEAST_FOR_CLIENTS;
    let share = limit / servers;
    if share < needed {
        let needed = needed * servers;
        return Err(TooFew { limit, needed });
    }
    let room = share - OWN;
    limits.greetings = limits.greetings.min(room / GREETINGS);
    limits.connections = limits.connections.min(room - limits.greetings);
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_what_the_server_does_not_need_itself() {
        let limits = Limits::default();
        let fitted = |limit, servers| {
            let fitted = fit(limits, limit, servers).expect("there are enough");
            (fitted.connections, fitted.greetings)
        };
        assert_eq!(fitted(56, 1), (6, 2));
        assert_eq!(fitted(112, 2), (6, 2));
        assert_eq!(fitted(1_024, 1), (732, 244));
        assert_eq!(fitted(1_000_000, 2), (limits.connections, limits.greetings));
        for (limit, servers, needed) in [(55, 1, 56), (111, 2, 112)] {
            let error = fit(limits, limit, servers).expect_err("too few");
            assert_eq!(error, TooFew { limit, needed });
        }
    }
}
