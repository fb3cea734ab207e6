//! A server whose clients have used up all the descriptors that they can get still takes over, and
//! still hears its peer.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lockservice::clerk::{Clerk, is_whole, status};
use lockservice::rpc::{Purpose, dial};
use lockservice::testkit::{Process, wait_until};
use lockservice::transport::Stream;
use lockservice::{Network, Servers, SystemNetwork};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a server has to answer one that connects, before that is left to wait.
const HELLO: Duration = Duration::from_millis(200);

/// How many descriptors a server may have.
const DESCRIPTORS: usize = 64;

fn servers() -> Servers {
    let port = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address")
    };
    let (a, b) = (port().to_string(), port().to_string());
    Servers::new(&*a, &*b).expect("two addresses")
}

/// A server that may have `DESCRIPTORS` descriptors.
fn start(role: &str, servers: &Servers, place: &TempDir) -> Process {
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    let (lockd, servers) = (env!("CARGO_BIN_EXE_lockd"), servers.to_string());
    let args = ["-c", &script, lockd, role, "--servers", &servers];
    let log = place.path().join(role);
    Process::start(role, "sh".as_ref(), args, log).expect("there is a shell")
}

async fn wait_until_whole(servers: &Servers) {
    let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
    wait_until("the pair is whole", PATIENCE, async || {
        is_whole(&status(&network, servers, PATIENCE).await)
    })
    .await;
}

/// Connects more often to the second server than it has descriptors: as clients, and without a
/// word.
async fn exhaust(servers: &Servers) -> (Vec<Stream>, Vec<Stream>) {
    let address = servers.address(lockservice::ServerId::B);
    let network = SystemNetwork::default();
    let (mut clients, mut silent) = (Vec::new(), Vec::new());
    for _ in 0..2 * DESCRIPTORS {
        let dialled = timeout(HELLO, dial(&network, address, Purpose::Client));
        match dialled.await {
            Ok(Ok(stream)) => clients.push(stream),
            // It is told that the server is busy, or not answered at all.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    for _ in 0..2 * DESCRIPTORS {
        silent.push(network.connect(address).await.expect("it listens"));
    }
    (clients, silent)
}

#[tokio::test]
async fn a_backup_without_a_descriptor_to_spare_takes_over_and_is_joined() {
    let (servers, place) = (servers(), tempfile::tempdir().expect("a directory"));
    let mut primary = start("primary", &servers, &place);
    let backup = start("backup", &servers, &place);
    wait_until_whole(&servers).await;
    let clerk = Clerk::connect(servers.clone()).await.expect("a server");
    assert!(clerk.lock("x").await.expect("an answer"));
    let used_up = exhaust(&servers).await;

    // One that is killed gives back the descriptors of its connections here; one that hangs does
    // not.
    primary.stop();
    let says = async |what: &str| {
        wait_until(what, PATIENCE, async || backup.log().contains(what)).await;
    };
    says("took over as primary").await;
    primary.kill();
    let _primary = start("primary", &servers, &place);
    says("the peer is backup of view").await;
    drop(used_up);
    let again = clerk.lock("x").await.expect("an answer");
    assert!(!again, "the lock is gone");
}

#[test]
fn with_too_few_descriptors_each_program_says_so_in_one_line() {
    for program in [env!("CARGO_BIN_EXE_lockd"), env!("CARGO_BIN_EXE_lockc")] {
        let words = if program.ends_with("lockd") {
            "primary"
        } else {
            "elect x"
        };
        for limit in [4, 6, 8, 10, 15] {
            let script = format!("ulimit -n {limit}; exec \"$0\" {words}");
            let output = Command::new("sh").args(["-c", &script, program]).output();
            let output = output.expect("there is a shell");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(70), "{limit}: {told}");
            assert_eq!(told.lines().count(), 1, "{limit}: {told}");
            assert!(told.contains("ulimit -n"), "{limit}: {told}");
            assert!(!told.contains("panicked"), "{limit}: {told}");
        }
    }
}
