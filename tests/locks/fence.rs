//! Processes that share a gate file: real ones, that are killed for real. Each is this program
//! again, told by the environment what to do.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lockservice::fencing::{FileGate, GateError};
use lockservice::types::Token;
use tempfile::TempDir;

/// Tells a child what to do.
const PART: &str = "FENCE_TEST_PART";

const WRITERS: u64 = 4;
const ROUNDS: u64 = 60;

/// What a child prints when it is inside its write.
const INSIDE: &str = "inside the write";

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

/// Starts this program again, in `directory`.
fn child(directory: &Path, part: &str) -> Child {
    let program = std::env::current_exe().expect("the path of this program");
    Command::new(program)
        .args(["--exact", "the_part_of_a_child", "--nocapture"])
        .env(PART, part)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// A test by name only: what the children of the tests below do.
#[test]
fn the_part_of_a_child() {
    #[expect(clippy::disallowed_methods, reason = "a child is told its part so")]
    let Ok(part) = std::env::var(PART) else {
        return;
    };
    match part.parse() {
        Ok(writer) => write_with_every_token_of(writer),
        Err(_) => stay_inside_a_write(),
    }
}

/// Reads and replaces the whole log, so that two at once would lose something.
fn append(token: Token) -> io::Result<()> {
    let before = fs::read_to_string("log").unwrap_or_default();
    fs::write("log", format!("{before}{token}\n"))
}

fn write_with_every_token_of(writer: u64) {
    let gate = FileGate::new("gate");
    let mut admitted = 0;
    for round in 0..ROUNDS {
        let token = Token::new(round * WRITERS + writer);
        match gate.write(token, || append(token)) {
            Ok(()) => admitted += 1,
            Err(GateError::Stale(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    fs::write(format!("admitted.{writer}"), admitted.to_string()).expect("a file");
}

fn stay_inside_a_write() {
    let gate = FileGate::new("gate");
    let written = gate.write(Token::new(7), || {
        println!("{INSIDE}");
        // It never ends: the test holds the other end.
        io::stdin().read_to_end(&mut Vec::new())
    });
    panic!("it was to be killed: {written:?}");
}

#[test]
fn processes_write_one_at_a_time_and_in_the_order_of_their_tokens() {
    let directory = directory();
    let writers = (0..WRITERS).map(|writer| child(directory.path(), &writer.to_string()));
    for writer in writers.collect::<Vec<_>>() {
        let ended = writer.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{ended:?}");
    }
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("a file");
    let log = read("log");
    let log: Vec<Token> = log
        .lines()
        .map(|line| line.parse().expect("a token"))
        .collect();
    let admitted: usize = (0..WRITERS)
        .map(|writer| read(&format!("admitted.{writer}")))
        .map(|count| count.parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(log.len(), admitted, "{log:?}");
    assert!(log.is_sorted(), "{log:?}");
}

#[test]
fn a_process_killed_inside_its_write_keeps_nobody_out_but_older_ones() {
    let directory = directory();
    let mut holder = child(directory.path(), "stay");
    let mut lines = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
    let inside = lines.any(|line| line.expect("a line").contains(INSIDE));
    assert!(inside, "it ended too early");
    let lock = File::open(directory.path().join("gate.lock")).expect("a lock file");
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));

    holder.kill().expect("it runs");
    holder.wait().expect("it ends");
    let gate = FileGate::new(directory.path().join("gate"));
    let older = gate.write(Token::new(6), || Ok(()));
    assert!(matches!(older, Err(GateError::Stale(_))), "{older:?}");
    assert!(gate.write(Token::new(8), || Ok(())).is_ok());
}
