//! The programs as their users run them: real processes, real sockets, exit codes, output.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place for a pair's sockets.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory for sockets"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn servers(&self) -> String {
        let path = self.path().display();
        format!("unix:{path}/a,unix:{path}/b")
    }

    fn lockc(&self, args: &[&str]) -> Command {
        let mut lockc = Command::new(env!("CARGO_BIN_EXE_lockc"));
        lockc.timeout(PATIENCE).env_clear();
        lockc.args(["--servers", &self.servers()]).args(args);
        lockc
    }

    async fn lockd(&self, args: &[&str]) -> Lockd {
        let mut lockd = self.start(args);
        lockd.line_with("listens on").await;
        lockd
    }

    fn start(&self, args: &[&str]) -> Lockd {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_lockd"))
            .env_clear()
            .env("LOCK_SERVERS", self.servers())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("lockd starts");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        Lockd {
            child,
            log: BufReader::new(stderr).lines(),
        }
    }

    fn wait_until_whole(&self) {
        self.wait_until("the pair is whole", |status| status["whole"] == true);
    }

    /// Asks for the status until it is as it should be.
    fn wait_until(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status();
            if condition(&status) {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "waiting until {what}: {status}"
            );
        }
    }

    fn status(&self) -> Value {
        let output = self
            .lockc(&["--timeout", "200ms", "status", "--json"])
            .output();
        serde_json::from_slice(&output.expect("lockc runs").stdout).expect("it prints JSON")
    }
}

/// A server process, killed when dropped.
struct Lockd {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Lockd {
    /// Reads the log up to a line that holds `text`.
    async fn line_with(&mut self, text: &str) -> String {
        let find = async {
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the log ended without `{text}`");
        };
        timeout(PATIENCE, find)
            .await
            .expect("the line comes in time")
    }

    fn send(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("not zero");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// The log from here to its end.
    async fn rest(&mut self) -> String {
        let read = async {
            let mut rest = String::new();
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                rest += &line;
                rest.push('\n');
            }
            rest
        };
        timeout(PATIENCE, read).await.expect("it ends in time")
    }

    async fn exit_code(mut self) -> Option<i32> {
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends in time");
        status.expect("it can be waited for").code()
    }
}

#[tokio::test]
async fn lock_and_unlock_print_their_answer_and_exit_with_it() {
    let place = Place::new();
    let _dev = place.lockd(&["dev"]).await;
    for (verb, answer, code) in [
        ("unlock", "false\n", 1),
        ("lock", "true\n", 0),
        ("lock", "false\n", 1),
        ("unlock", "true\n", 0),
    ] {
        let assert = place.lockc(&[verb, "jobs/nightly"]).assert();
        assert.code(code).stdout(answer).stderr("");
    }
}

#[tokio::test]
async fn the_shell_answers_every_line_in_order() {
    let place = Place::new();
    let _dev = place.lockd(&["dev"]).await;
    place
        .lockc(&["shell"])
        .write_stdin("lock a\nlock a\nlock b c\n\nsteal a\nunlock a\nunlock b c\nunlock x")
        .assert()
        .code(0)
        .stdout(
            "true\nfalse\ntrue\nerror: unknown command `steal`; `help` names those there are\ntrue\ntrue\nfalse\n",
        )
        .stderr("");
}

#[tokio::test]
async fn status_shows_a_whole_pair() {
    let place = Place::new();
    let _dev = place.lockd(&["dev"]).await;
    place.lockc(&["lock", "x"]).assert().code(0);
    place.wait_until_whole();
    let status = place.status();
    let servers = status["servers"].as_array().expect("a list");
    assert_eq!(servers.len(), 2);
    for (server, role) in servers.iter().zip(["primary", "backup"]) {
        assert_eq!(server["reachable"], true);
        assert_eq!(server["role"], role);
        assert_eq!(server["locks"], 1);
    }
    assert_eq!(servers[0]["op"], servers[1]["op"]);
    let table = place.lockc(&["status"]).assert().code(0);
    let table = String::from_utf8_lossy(&table.get_output().stdout).into_owned();
    assert!(table.contains("The pair is whole"), "{table}");
}

#[test]
fn without_a_server_lockc_says_in_one_line_what_it_tried_and_for_how_long() {
    let place = Place::new();
    for command in [&["lock", "x"][..], &["status"]] {
        let mut args = vec!["--timeout", "200ms"];
        args.extend(command);
        let assert = place
            .lockc(&args)
            .env("RUST_LOG", "trace")
            .assert()
            .code(69);
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("200ms"), "{stderr}");
        assert!(stderr.contains("try `lockd dev`"), "{stderr}");
        for server in place.servers().split(',') {
            assert!(stderr.contains(server), "{stderr}");
        }
    }
    place
        .lockc(&["--timeout", "200ms", "lock", "x"])
        .assert()
        .stdout("");
    let status: Value = place.status();
    assert_eq!(status["whole"], false);
}

#[test]
fn a_shell_without_a_server_answers_with_errors() {
    let place = Place::new();
    let assert = place
        .lockc(&["--timeout", "100ms", "shell"])
        .write_stdin("help\nlock a\nlock b\n")
        .assert()
        .code(69);
    let stdout = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    let mut unanswered = stdout.lines().skip(1);
    assert!(unanswered.all(|line| line.starts_with("error: no server answered")));
}

#[test]
fn a_wrong_command_line_is_told_and_exits_with_2() {
    let long = "x".repeat(1_025);
    for args in [
        &[][..],
        &["lock"],
        &["steal", "x"],
        &["lock", ""],
        &["lock", &long],
    ] {
        let place = Place::new();
        let assert = place.lockc(args).assert().code(2).stdout("");
        assert!(!assert.get_output().stderr.is_empty());
    }
    let mut lockd = Command::new(env!("CARGO_BIN_EXE_lockd"));
    lockd
        .args(["primary", "--peer-timeout", "soon"])
        .assert()
        .code(2);
}

/// As a unit file or a shell leaves a variable whose value is missing.
#[test]
fn an_empty_variable_counts_as_unset() {
    let empty = [
        "LOCK_SERVERS",
        "LOCK_TIMEOUT",
        "LOCK_LISTEN",
        "LOCK_PEER_ADDR",
    ];
    let tuning = [
        "LOCK_PEER_TIMEOUT",
        "LOCK_RECORD_TTL",
        "LOCK_BUSY_POLL",
        "LOCK_LOG",
        "RUST_LOG",
    ];
    let limits = ["MAX_CONNECTIONS", "MAX_CALLS", "MAX_CLIENTS", "MAX_LOCKS"];
    let limits = limits.map(|limit| format!("LOCK_{limit}"));
    let all: Vec<_> = empty
        .into_iter()
        .chain(tuning)
        .chain(limits.iter().map(|limit| &limit[..]))
        .collect();
    // Both would say that a value is wrong before they print anything.
    for (program, args) in [
        (
            env!("CARGO_BIN_EXE_lockd"),
            &["primary", "--servers", "127.0.0.1:0,127.0.0.1:1"][..],
        ),
        (
            env!("CARGO_BIN_EXE_lockc"),
            &["lock", "--servers", "127.0.0.1:0,127.0.0.1:1", "x"][..],
        ),
    ] {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(all.iter().map(|name| (name, "")))
            .args(args);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("`127.0.0.1:0` has port 0"), "{said}");
        assert!(
            !said.contains("''"),
            "a variable was taken for a value: {said}"
        );
    }
    let mut completions = Command::new(env!("CARGO_BIN_EXE_lockc"));
    completions
        .env_clear()
        .envs(all.iter().map(|name| (name, "")));
    let output = completions
        .args(["completions", "bash"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let mut server = Command::new(env!("CARGO_BIN_EXE_lockd"));
    server.env_clear().envs(all.iter().map(|name| (name, "")));
    // There is no such directory, so what is wrong is found when it binds.
    let args = ["primary", "--listen", "unix:/nowhere/a"];
    let output = server.args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
}

#[tokio::test]
async fn a_server_that_cannot_bind_says_why_and_exits_with_69() {
    let place = Place::new();
    let _first = place.lockd(&["primary"]).await;
    for listen in [
        format!("unix:{}/a", place.path().display()),
        "unix:/no/such/place".to_owned(),
    ] {
        let mut second = place.start(&["primary", "--listen", &listen]);
        let line = second.line_with("cannot listen on").await;
        assert!(line.contains(&listen), "{line}");
        let is_taken = listen.ends_with("/a");
        assert_eq!(line.contains("--servers names other"), is_taken, "{line}");
        assert_eq!(second.exit_code().await, Some(69));
    }
}

#[tokio::test]
async fn a_server_of_a_pair_that_is_listed_with_other_than_two_says_so_and_exits_with_2() {
    let place = Place::new();
    let listed = "unix:/a,unix:/b,unix:/c";
    for command in ["primary", "backup", "dev"] {
        let mut lockd = place.start(&[command, "--servers", listed]);
        let line = lockd.line_with("a pair has two servers").await;
        assert!(line.contains(&format!("names 3: {listed}")), "{line}");
        assert_eq!(lockd.exit_code().await, Some(2));
    }
}

#[tokio::test]
async fn the_locks_survive_when_the_primary_is_killed_and_the_pair_becomes_whole_again() {
    let place = Place::new();
    let primary = place.lockd(&["primary"]).await;
    let _backup = place.lockd(&["backup"]).await;
    place.lockc(&["lock", "x"]).assert().code(0);

    primary.send(Signal::KILL);
    assert_eq!(primary.exit_code().await, None);
    place
        .lockc(&["lock", "x"])
        .assert()
        .code(1)
        .stdout("false\n");
    place
        .lockc(&["lock", "y"])
        .assert()
        .code(0)
        .stdout("true\n");

    let _primary = place.lockd(&["primary"]).await;
    place.wait_until_whole();
    assert_eq!(place.status()["servers"][1]["role"], "primary");
    place.lockc(&["lock", "x"]).assert().code(1);
}

#[tokio::test]
async fn servers_with_different_peer_timeouts_serve_nobody_until_that_is_corrected() {
    let place = Place::new();
    let mut primary = place.lockd(&["primary"]).await;
    let mut backup = place.lockd(&["backup", "--peer-timeout", "2s"]).await;
    for lockd in [&mut primary, &mut backup] {
        let line = lockd.line_with("cannot pair").await;
        assert!(line.contains("the peer timeouts differ"), "{line}");
    }
    place.wait_until("both say why", |status| {
        let reason = |server: usize| status["servers"][server]["obstacle"].as_str();
        let says = |server| reason(server).is_some_and(|why| why.contains("--peer-timeout"));
        says(0) && says(1)
    });
    let locked = place.lockc(&["--timeout", "1s", "lock", "x"]).output();
    let locked = locked.expect("lockc runs");
    assert_eq!(locked.status.code(), Some(69), "{locked:?}");
    let status = place.status();
    assert_eq!(status["whole"], false, "{status}");
    for server in [0, 1] {
        assert_eq!(status["servers"][server]["role"], "starting", "{status}");
    }

    backup.send(Signal::TERM);
    assert_eq!(backup.exit_code().await, Some(0));
    let _backup = place.lockd(&["backup"]).await;
    place.wait_until_whole();
}

#[tokio::test]
async fn the_smaller_limits_of_two_servers_apply_and_both_say_so() {
    let place = Place::new();
    let mut primary = place.lockd(&["primary"]).await;
    let mut backup = place.lockd(&["backup", "--max-locks", "2"]).await;
    for (lockd, differ) in [
        (&mut primary, "--max-locks is 4000000 here and 2 there"),
        (&mut backup, "--max-locks is 2 here and 4000000 there"),
    ] {
        let line = lockd.line_with("limits of the two servers differ").await;
        assert!(line.contains("WARN") && line.contains(differ), "{line}");
    }
    place.wait_until_whole();
    for lock in ["x", "y"] {
        place.lockc(&["lock", lock]).assert().code(0);
    }
    assert_eq!(place.status()["servers"][0]["role"], "primary");
    let refused = place.lockc(&["--timeout", "1s", "lock", "z"]).output();
    let refused = refused.expect("lockc runs");
    let says = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(says.contains("locks"), "{says}");
}

#[tokio::test]
async fn a_list_of_servers_of_two_pairs_is_refused_by_name_and_grants_nothing() {
    let places = [Place::new(), Place::new()];
    let mut running = Vec::new();
    for place in &places {
        running.push(place.lockd(&["primary"]).await);
        running.push(place.lockd(&["backup"]).await);
        place.wait_until_whole();
    }
    let [one, other] = places.each_ref().map(|place| place.path().display());
    let (first, second) = (format!("unix:{one}/a"), format!("unix:{other}/b"));
    let mix = format!("{first},{second}");
    let lockc = |args: &[&str]| {
        let mut lockc = Command::new(env!("CARGO_BIN_EXE_lockc"));
        lockc
            .timeout(PATIENCE)
            .env_clear()
            .env("LOCK_SERVERS", &mix);
        lockc.args(args).output().expect("lockc runs")
    };
    for args in [
        ["lock", "x"].as_slice(),
        &["unlock", "x"],
        &["run", "x", "--", "true"],
    ] {
        let refused = lockc(args);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {refused:?}");
        assert!(error.contains("mixes two clusters"), "{args:?}: {error}");
        assert!(
            error.contains(&first) && error.contains(&second),
            "{args:?}: {error}"
        );
    }
    let json = lockc(&["status", "--json"]).stdout;
    let json: Value = serde_json::from_slice(&json).expect("it prints JSON");
    assert_eq!(json["whole"], false, "{json}");
    for server in [0, 1] {
        let cluster = places[server].status()["servers"][server]["cluster"].clone();
        let cluster = cluster.as_str().expect("it is a member of one");
        let told = json["mixed_clusters"].as_str().expect("it is told");
        assert!(told.contains(cluster), "{json}");
    }
    let text = lockc(&["status"]).stdout;
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("mixes two clusters") && text.contains("NOT whole"),
        "{text}"
    );
    for place in &places {
        place
            .lockc(&["lock", "x"])
            .assert()
            .code(0)
            .stdout("true\n");
    }
}

#[tokio::test]
async fn two_servers_started_as_the_same_one_both_say_so_once() {
    for (command, other, own, peer) in [
        ("primary", "backup", "a", "b"),
        ("backup", "primary", "b", "a"),
    ] {
        let place = Place::new();
        let mut first = place.lockd(&[command]).await;
        let listen = format!("unix:{}/{peer}", place.path().display());
        let mut second = place.lockd(&[command, "--listen", &listen]).await;
        let told = format!(
            "started as `{command}`, which --servers lists at unix:{}/{own}; \
             cannot pair with the `{other}` at unix:{}/{peer}",
            place.path().display(),
            place.path().display()
        );
        for (lockd, reason) in [
            (&mut first, "was started as the same server of the pair"),
            (&mut second, "this very process answers there"),
        ] {
            let line = lockd.line_with("cannot pair").await;
            assert!(line.contains(&told) && line.contains(reason), "{line}");
        }
        second.send(Signal::TERM);
        let rest = second.rest().await;
        assert!(!rest.contains("cannot pair"), "{rest}");

        let _second = place.lockd(&[other]).await;
        place.wait_until_whole();
        first.send(Signal::TERM);
        let rest = first.rest().await;
        assert!(!rest.contains("cannot pair"), "{rest}");
    }
}

#[tokio::test]
async fn a_signal_stops_a_server_with_0_and_its_peer_goes_on() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let primary = place.lockd(&["primary"]).await;
        let _backup = place.lockd(&["backup"]).await;
        place.lockc(&["lock", "x"]).assert().code(0);
        primary.send(signal);
        assert_eq!(primary.exit_code().await, Some(0));
        place.lockc(&["lock", "x"]).assert().code(1);
    }
}

#[tokio::test]
async fn a_second_signal_stops_a_server_that_waits_for_its_peer() {
    let place = Place::new();
    let slow = ["--peer-timeout", "60s"];
    let mut primary = place.lockd(&[&["primary"], &slow[..]].concat()).await;
    let backup = place.lockd(&[&["backup"], &slow[..]].concat()).await;
    place.lockc(&["lock", "x"]).assert().code(0);
    backup.send(Signal::STOP);
    // Its answer needs the backup, so it stays in flight.
    let _waiting = tokio::process::Command::new(env!("CARGO_BIN_EXE_lockc"))
        .args(["--servers", &place.servers(), "lock", "y"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("lockc starts");
    place.wait_until("a call is in flight", |status| {
        let primary = &status["servers"][0];
        primary["op"].as_u64() > primary["acked"].as_u64()
    });

    primary.send(Signal::TERM);
    primary.line_with("answering what is in flight").await;
    primary.send(Signal::TERM);
    primary.line_with("SIGTERM again: stopped at once").await;
    assert_eq!(primary.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_server_that_waits_for_its_peer_says_where_and_why() {
    let place = Place::new();
    let mut primary = place.start(&["primary", "--peer-timeout", "100ms"]);
    let line = primary.line_with("waits for the other server").await;
    let address = format!("the `backup` at unix:{}/b: ", place.path().display());
    assert!(line.contains(&address), "{line}");
    assert!(line.contains("nobody listens there"), "{line}");
    let _backup = place.lockd(&["backup", "--peer-timeout", "100ms"]).await;
    primary.line_with("primary of view 1A").await;
}

#[tokio::test]
async fn looks_at_the_port_are_not_logged_and_strangers_once_a_minute() {
    let place = Place::new();
    let mut dev = place.lockd(&["dev"]).await;
    place.wait_until_whole();
    for _ in 0..20 {
        drop(UnixStream::connect(place.path().join("a")).expect("it listens"));
        let mut stranger = UnixStream::connect(place.path().join("a")).expect("it listens");
        stranger
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        // The rest is not read by the server, so the connection is reset at last.
        let _ = stranger.read_to_string(&mut answer);
        assert!(answer.starts_with("This is a lock server"), "{answer}");
    }
    dev.send(Signal::TERM);
    let mut refused = Vec::new();
    while let Some(line) = dev.log.next_line().await.expect("the log is text") {
        if line.contains("refused a connection") {
            refused.push(line);
        }
    }
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("a stranger's bytes"), "{refused:?}");
}

#[tokio::test]
async fn logs_for_machines_are_json_lines() {
    let place = Place::new();
    let mut dev = place.start(&["dev", "--log", "json"]);
    let line = dev.line_with("listens on").await;
    let line: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(line["level"], "INFO");
}

#[test]
fn completions_are_printed() {
    for (program, name) in [
        (env!("CARGO_BIN_EXE_lockd"), "lockd"),
        (env!("CARGO_BIN_EXE_lockc"), "lockc"),
    ] {
        let assert = Command::new(program)
            .args(["completions", "bash"])
            .assert()
            .code(0);
        let script = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        assert!(script.contains(&format!("_{name}")), "{script}");
    }
}

#[tokio::test]
async fn bench_tells_what_it_measured_and_leaves_no_lock() {
    bench(&[]).await;
}

#[tokio::test]
async fn bench_measures_owned_locks_as_well() {
    let told = bench(&["--owned"]).await;
    assert_eq!(told["owned"], true, "{told}");
}

async fn bench(options: &[&str]) -> Value {
    let place = Place::new();
    let _pair = place.lockd(&["dev"]).await;
    place.wait_until_whole();
    let load = ["--clerks", "2", "--in-flight", "3"];
    let time = ["--warm-up", "10ms", "--duration", "50ms"];
    let output = place
        .lockc(&["bench", "--json"])
        .args(load)
        .args(time)
        .args(options)
        .output();
    let output = output.expect("lockc runs");
    assert!(output.status.success(), "{output:?}");
    let is_warned = String::from_utf8_lossy(&output.stderr).contains("a debug build");
    assert_eq!(is_warned, cfg!(debug_assertions), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(
        (&told["clerks"], &told["in_flight"]),
        (&2.into(), &3.into())
    );
    assert_eq!(told["failed"], 0);
    let figure = |name: &str| {
        told.pointer(name)
            .and_then(Value::as_f64)
            .expect("a figure")
    };
    assert!(
        figure("/calls") >= 6.0 && figure("/calls_per_second") > 0.0,
        "{told}"
    );
    assert!(
        figure("/latency_us/p50") <= figure("/latency_us/p99"),
        "{told}"
    );
    assert!(figure("/server_cpu_us_per_call") > 0.0, "{told}");
    let status = place.status();
    assert_eq!(
        status.pointer("/servers/0/locks"),
        Some(&0.into()),
        "{status}"
    );
    assert_eq!(
        status.pointer("/servers/0/clients"),
        Some(&0.into()),
        "{status}"
    );
    told
}

#[test]
fn bench_without_a_pair_says_so() {
    let place = Place::new();
    let bench = place.lockc(&["--timeout", "50ms", "bench"]).output();
    let output = bench.expect("lockc runs");
    assert_eq!(output.status.code(), Some(69));
    assert!(output.stdout.is_empty(), "{output:?}");
}
