//! Hosts on one network: a namespace for each, and one with the switch between them.
//!
//! Nothing is left behind, however the test ends. A janitor in a session of its own reads from a
//! pipe that only this process writes to; when that closes, also because this process was killed,
//! it ends what runs in the namespaces and removes them, and with them their links, addresses and
//! filters.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockservice::clerk::{Clerk, ServerReport, is_whole, status};
use lockservice::service::{RoleName, ServerStatus};
use lockservice::testkit::{Process, wait_until};
use lockservice::transport::{Network, Servers, SystemNetwork};
use lockservice::types::ServerId;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::runtime::Builder;

/// How long what must come may take, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// The `--peer-timeout` of the servers.
pub(crate) const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// Ends what runs in the namespaces it is given, and removes them, when its input ends.
const JANITOR: &str = r#"
trap '' HUP INT TERM
read -r _
for ns in "$@"; do
    ip netns pids "$ns" 2>/dev/null | xargs -r kill -KILL 2>/dev/null
    ip netns del "$ns" 2>/dev/null
done
"#;

/// The tools that this takes, and how to see that they work.
const TOOLS: [(&str, &str); 5] = [
    ("ip", "-V"),
    ("nft", "--version"),
    ("ss", "-V"),
    ("setsid", "-V"),
    ("mount", "-V"),
];

/// Why these tests cannot run here, if they cannot.
pub(crate) fn missing() -> Option<String> {
    for (tool, version) in TOOLS {
        if Command::new(tool).arg(version).output().is_err() {
            return Some(format!("there is no `{tool}` on this machine"));
        }
    }
    let name = format!("lsv-{}-try", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &name]).output();
    let made = made.expect("it was there a moment ago");
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        return Some(format!("no network namespace can be made: {}", why.trim()));
    }
    let filters = Command::new("ip")
        .args(["netns", "exec", &name, "nft", "add", "table", "inet", "try"])
        .output();
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    let filters = filters.expect("it was there a moment ago");
    (!filters.status.success()).then(|| "no packet filter can be made".to_owned())
}

/// A host on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    A,
    B,
    /// Of clients.
    C,
    /// Of clients behind a proxy.
    D,
}

impl Host {
    const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
        }
    }

    pub(crate) const fn ip(self) -> &'static str {
        match self {
            Self::A => "10.77.0.1",
            Self::B => "10.77.0.2",
            Self::C => "10.77.0.3",
            Self::D => "10.77.0.4",
        }
    }
}

/// Four hosts on a network of their own, and what runs on them.
pub(crate) struct Lan {
    prefix: String,
    directory: TempDir,
    /// The servers, by their hosts.
    running: Vec<(Host, Process)>,
    /// Last, so that the processes are ended before it.
    _janitor: Janitor,
}

struct Janitor(Child);

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Lan {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("lsv-{}-{number}", std::process::id());
        let namespaces = ["a", "b", "c", "d", "switch"].map(|name| format!("{prefix}-{name}"));
        let janitor = Command::new("setsid")
            .args(["sh", "-c", JANITOR, "janitor"])
            .args(&namespaces)
            .stdin(Stdio::piped())
            .spawn();
        let lan = Self {
            prefix,
            directory: tempfile::tempdir().expect("a directory"),
            running: Vec::new(),
            _janitor: Janitor(janitor.expect("there is a shell")),
        };
        lan.connect();
        lan
    }

    fn connect(&self) {
        let switch = self.namespace("switch");
        run("ip", &["netns", "add", &switch]);
        run(
            "ip",
            &[
                "-n", &switch, "link", "add", "name", "sw0", "type", "bridge",
            ],
        );
        run("ip", &["-n", &switch, "link", "set", "sw0", "up"]);
        for host in Host::ALL {
            let (port, ns) = (format!("port-{}", host.name()), self.namespace(host.name()));
            run("ip", &["netns", "add", &ns]);
            run("ip", &["-n", &ns, "link", "set", "lo", "up"]);
            let veth = ["-n", &switch, "link", "add", &port, "type", "veth"];
            run(
                "ip",
                &[&veth[..], &["peer", "name", "eth0", "netns", &ns]].concat(),
            );
            run(
                "ip",
                &["-n", &switch, "link", "set", &port, "master", "sw0", "up"],
            );
            // One packet for each segment, as on a wire: filters see their true lengths.
            run(
                "ip",
                &["-n", &ns, "link", "set", "eth0", "gso_max_segs", "1"],
            );
            // No subnet: glibc would sort the addresses of a name by their distance within it.
            run("ip", &["-n", &ns, "addr", "add", host.ip(), "dev", "eth0"]);
            run("ip", &["-n", &ns, "link", "set", "eth0", "up"]);
            run(
                "ip",
                &["-n", &ns, "route", "add", "10.77.0.0/24", "dev", "eth0"],
            );
            self.set_names(host, "10.77.0.1 a\n10.77.0.2 b\n");
            fs::write(self.file(host, "resolv"), "options attempts:1\n").expect("written");
        }
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn file(&self, host: Host, name: &str) -> std::path::PathBuf {
        self.directory
            .path()
            .join(format!("{name}-{}", host.name()))
    }

    /// What the names of hosts stand for on `host` from here on.
    pub(crate) fn set_names(&self, host: Host, names: &str) {
        fs::write(
            self.file(host, "hosts"),
            format!("127.0.0.1 localhost\n{names}"),
        )
        .expect("written");
    }

    /// Makes `host` ask a name server that never answers for names that are not in its file.
    ///
    /// Each look-up fails after `seconds`. The filter of [`Host::C`] counts the questions, which
    /// are two for each look-up.
    pub(crate) fn ask_silent_name_server(&self, host: Host, seconds: u32) {
        let options = format!("options timeout:{seconds} attempts:1");
        let silent = format!("nameserver {}\n{options}\n", Host::C.ip());
        fs::write(self.file(host, "resolv"), silent).expect("written");
        self.filter(Host::C, "udp dport 53 counter drop");
    }

    /// Makes `host` send packets for `ip` to a machine that does not exist, and wait for answers.
    ///
    /// Without this, the kernel reports after three seconds that nobody has the address.
    pub(crate) fn silence(&self, host: Host, ip: &str) {
        let ns = self.namespace(host.name());
        let nobody = ["lladdr", "02:00:00:00:00:77", "dev", "eth0"];
        run(
            "ip",
            &[&["-n", &ns, "neigh", "add", ip][..], &nobody].concat(),
        );
    }

    /// The command that runs `program` on `host`, with its own files of names.
    fn command(&self, host: Host, program: &str, args: &[&str]) -> (&'static str, Vec<String>) {
        const SCRIPT: &str = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf \
                              && shift 2 && exec \"$@\"";
        let files = ["hosts", "resolv"].map(|name| self.file(host, name).display().to_string());
        let ns = self.namespace(host.name());
        let [hosts, resolv] = &files;
        let all = [
            "netns", "exec", &ns, "sh", "-c", SCRIPT, "sh", hosts, resolv, program,
        ];
        (
            "ip",
            all.iter()
                .chain(args)
                .map(|arg| (*arg).to_owned())
                .collect(),
        )
    }

    /// Runs a program on `host`; returns what it printed.
    pub(crate) fn on(&self, host: Host, program: &str, args: &[&str]) -> String {
        let (ip, args) = self.command(host, program, args);
        let output = Command::new(ip).args(&args).output().expect("it runs");
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a server; the two know each other by name.
    pub(crate) fn start(&mut self, host: Host, more: &[&str]) {
        let place = if host == Host::A { "primary" } else { "backup" };
        let peer_timeout = format!("{}s", PEER_TIMEOUT.as_secs());
        let args = [
            place,
            "--servers",
            "a:5100,b:5100",
            "--peer-timeout",
            &peer_timeout,
        ];
        let lockd = env!("CARGO_BIN_EXE_lockd");
        let (ip, args) = self.command(host, lockd, &[&args[..], more].concat());
        let log = self.file(host, "log");
        let process = Process::start(format!("server {}", host.name()), ip.as_ref(), args, log);
        self.running.push((host, process.expect("it starts")));
    }

    /// Starts both servers and waits until the pair is whole.
    pub(crate) fn start_pair(&mut self, more: &[&str]) {
        self.start(Host::A, more);
        self.start(Host::B, more);
        self.wait_whole();
    }

    /// Ends a server without a word.
    pub(crate) fn kill(&mut self, host: Host) {
        let at = self.running.iter().position(|(on, _)| *on == host);
        drop(self.running.remove(at.expect("it runs")));
    }

    /// Takes the link of a host down: it is there, and nothing reaches it.
    pub(crate) fn unplug(&self, host: Host) {
        let ns = self.namespace(host.name());
        run("ip", &["-n", &ns, "link", "set", "eth0", "down"]);
    }

    /// Sends packets from `host` to `to` nowhere: `how` is a type of route without a next hop.
    pub(crate) fn misroute(&self, host: Host, how: &str, to: Host) {
        let ns = self.namespace(host.name());
        run("ip", &["-n", &ns, "route", "add", how, to.ip()]);
    }

    /// Filters what `host` takes in, until the next filter. `rule` is one of nftables'.
    pub(crate) fn filter(&self, host: Host, rule: &str) {
        let table = format!(
            "table inet lan\ndelete table inet lan\ntable inet lan {{\nchain in {{\n\
             type filter hook input priority 0\n{rule}\n}}\n}}\n"
        );
        let file = self.file(host, "filter");
        fs::write(&file, table).expect("written");
        self.nft(host, &["-f", &file.display().to_string()]);
    }

    pub(crate) fn filter_nothing(&self, host: Host) {
        self.nft(host, &["delete", "table", "inet", "lan"]);
    }

    /// How many packets the filter of `host`, whose rule counts, has met.
    pub(crate) fn filtered(&self, host: Host) -> u64 {
        let filters = self.nft(host, &["list", "table", "inet", "lan"]);
        let mut words = filters.split_whitespace();
        words.find(|word| *word == "packets").expect("it counts");
        let count = words.next().expect("a number");
        count.parse().expect("a number")
    }

    /// Waits until the filter of `host`, whose rule counts, has met `packets` packets.
    pub(crate) fn wait_filtered(&self, host: Host, packets: u64) {
        wait("packets are filtered", || self.filtered(host) >= packets);
    }

    fn nft(&self, host: Host, args: &[&str]) -> String {
        let ns = self.namespace(host.name());
        run("ip", &[&["netns", "exec", &ns, "nft"], args].concat())
    }

    /// How many connections there are on the server of `host` from `from`, as its kernel sees it.
    pub(crate) fn connections(&self, host: Host, from: Host) -> usize {
        let args = [
            "-H",
            "-t",
            "-n",
            "state",
            "established",
            "sport",
            "=",
            ":5100",
            "dst",
            from.ip(),
        ];
        self.on(host, "ss", &args).lines().count()
    }

    /// Does something on a host, on a thread of its own.
    pub(crate) fn visit<T: Send>(&self, host: Host, visit: impl AsyncFnOnce() -> T + Send) -> T {
        let namespace = format!("/run/netns/{}", self.namespace(host.name()));
        let visited = || {
            let file = File::open(namespace).expect("the namespace is there");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("one may go there");
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(visit())
        };
        let visit = std::thread::scope(|scope| scope.spawn(visited).join());
        visit.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A clerk; to be called on the host of clients.
    pub(crate) async fn clerk() -> Clerk {
        let clerk = Clerk::builder(servers()).timeout(LONG).connect().await;
        clerk.expect("the pair answers")
    }

    fn reports(&self) -> Vec<ServerReport> {
        self.visit(Host::C, Self::ask_both)
    }

    /// What both servers say of themselves; to be called on the host of clients.
    pub(crate) async fn ask_both() -> Vec<ServerReport> {
        let network: Arc<dyn Network> = Arc::new(SystemNetwork::default());
        status(&network, &servers(), Duration::from_secs(1)).await
    }

    /// What a server says of itself, if it can be asked.
    pub(crate) fn status(&self, server: ServerId) -> Option<ServerStatus> {
        self.reports().swap_remove(server.index()).status.ok()
    }

    pub(crate) fn wait_whole(&self) {
        wait("the pair is whole", || is_whole(&self.reports()));
    }

    pub(crate) fn wait_alone(&self, server: ServerId) {
        wait("a server goes on alone", || {
            let status = self.status(server);
            status.is_some_and(|status| status.role == RoleName::Standalone)
        });
    }
}

/// The pair as clients know it.
fn servers() -> Servers {
    let addresses = [Host::A, Host::B].map(|host| format!("{}:5100", host.ip()));
    let [a, b] = addresses;
    Servers::new(a, b).expect("two addresses")
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("it runs");
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until a condition holds.
pub(crate) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(wait_until(what, LONG, async || condition()));
}
