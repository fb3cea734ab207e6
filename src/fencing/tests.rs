use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Barrier;
use std::{fs, io, thread};

use tempfile::TempDir;

use super::*;

const OLD: Token = Token::new(33);
const NEW: Token = Token::new(34);
const STALE: Stale = Stale {
    presented: OLD,
    highest: NEW,
};

/// A gate file that has seen [`NEW`].
fn used_gate(directory: &TempDir) -> FileGate {
    let gate = gate(directory);
    gate.write(NEW, || Ok(())).expect("it is the first");
    gate
}

fn gate(directory: &TempDir) -> FileGate {
    FileGate::new(directory.path().join("gate"))
}

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

/// A write that the gate must refuse.
fn never() -> io::Result<()> {
    panic!("it must not be run")
}

#[test]
fn a_late_write_is_refused_and_not_run() {
    let memory = MemoryGate::new("");
    assert_eq!(memory.write(NEW, |value| *value = "new"), Ok(()));
    assert_eq!(memory.write(OLD, |value| *value = "old"), Err(STALE));
    assert_eq!(memory.read(|value| *value), "new");

    let directory = directory();
    let file = used_gate(&directory);
    let written = Cell::new(false);
    let late = file.write(OLD, || {
        written.set(true);
        Ok(())
    });
    assert!(matches!(late, Err(GateError::Stale(STALE))), "{late:?}");
    assert!(!written.get());
    assert_eq!(file.highest().expect("a whole file"), NEW);
}

#[test]
fn a_holder_may_write_more_than_once() {
    let memory = MemoryGate::new(0);
    let directory = directory();
    let file = gate(&directory);
    for written in 1..4 {
        let count = |value: &mut i32| {
            *value += 1;
            *value
        };
        assert_eq!(memory.write(NEW, count), Ok(written));
        assert_eq!(file.write(NEW, || Ok(written)).ok(), Some(written));
    }
}

#[test]
fn a_gate_that_has_seen_nothing_admits_anybody() {
    let zero = Token::new(0);
    assert_eq!(Fence::new().highest(), zero);
    assert_eq!(Fence::new().admit(zero), Ok(()));
    assert_eq!(Fence::new().admit(Token::new(u64::MAX)), Ok(()));
    let directory = directory();
    assert_eq!(gate(&directory).highest().ok(), Some(zero));
    assert!(gate(&directory).write(zero, || Ok(())).is_ok());
}

#[test]
fn a_fence_that_was_stored_goes_on_refusing() {
    let mut fence = Fence::new();
    fence.admit(NEW).expect("it is the first");
    let stored = postcard::to_stdvec(&fence).expect("it encodes");
    let mut fence: Fence = postcard::from_bytes(&stored).expect("it decodes");
    assert_eq!(fence.admit(OLD), Err(STALE));
}

#[test]
fn a_write_that_panics_leaves_the_gate_usable() {
    let memory = MemoryGate::new(0);
    let directory = directory();
    let file = gate(&directory);
    let panicked = [
        catch_unwind(AssertUnwindSafe(|| memory.write(NEW, |_| panic!("inside")))).is_err(),
        catch_unwind(|| file.write(NEW, || -> io::Result<()> { panic!("inside") })).is_err(),
    ];
    assert_eq!(panicked, [true; 2]);
    assert_eq!(memory.write(OLD, |_| ()), Err(STALE));
    assert_eq!(memory.write(NEW, |_| ()), Ok(()));
    assert!(file.write(OLD, || Ok(())).is_err());
    assert!(file.write(NEW, || Ok(())).is_ok());
}

#[test]
fn a_gate_file_outlives_its_gate() {
    let directory = directory();
    drop(used_gate(&directory));
    let late = gate(&directory).write(OLD, || Ok(()));
    assert!(matches!(late, Err(GateError::Stale(STALE))), "{late:?}");
}

#[test]
fn a_token_is_recorded_before_its_write_begins() {
    let directory = directory();
    let gate = gate(&directory);
    let seen = gate.write(NEW, || Ok(gate.highest().ok()));
    assert_eq!(seen.ok(), Some(Some(NEW)));
}

#[test]
fn the_error_of_a_write_is_that_of_the_gate_which_has_seen_the_token() {
    let directory = directory();
    let gate = gate(&directory);
    let failed = gate.write(NEW, || -> io::Result<()> { Err(io::Error::other("full")) });
    let error = failed.expect_err("it failed");
    assert_eq!(error.to_string(), "the write failed: full");
    assert_eq!(gate.highest().expect("a whole file"), NEW);
    let late = gate.write(OLD, never);
    assert!(matches!(late, Err(GateError::Stale(STALE))), "{late:?}");
}

#[test]
fn what_a_crash_left_beside_the_gate_file_changes_nothing() {
    let directory = directory();
    let gate = used_gate(&directory);
    let whole = fs::read(directory.path().join("gate")).expect("a gate file");
    for left_behind in [&b""[..], b"lockservice-fe", &whole] {
        let new = directory.path().join("gate.new");
        fs::write(&new, left_behind).expect("a file");
        assert!(gate.write(OLD, || Ok(())).is_err());
        assert!(gate.write(NEW, || Ok(())).is_ok());
        assert!(gate.write(Token::new(NEW.get() + 1), || Ok(())).is_ok());
        assert!(!new.exists());
        fs::write(directory.path().join("gate"), &whole).expect("the old state");
    }
}

#[test]
fn a_gate_file_that_is_not_whole_admits_nobody() {
    let directory = directory();
    let gate = used_gate(&directory);
    let path = directory.path().join("gate");
    let whole = fs::read(&path).expect("a gate file");
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let flipped = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    let longer = [b"\n".to_vec(), vec![b' '; 1 << 20], vec![0xff]];
    let longer = longer.into_iter().map(|more| [&whole[..], &more].concat());
    for corrupt in cut.chain(flipped).chain(longer) {
        fs::write(&path, &corrupt).expect("a file");
        let refused = gate.write(Token::new(u64::MAX), never);
        assert!(
            matches!(refused, Err(GateError::Corrupt { .. })),
            "{refused:?} by {corrupt:?}"
        );
        gate.highest().expect_err("refused");
        assert_eq!(fs::read(&path).expect("it is still there"), corrupt);
    }
}

#[test]
fn a_gate_file_that_cannot_be_written_admits_nobody() {
    let directory = directory();
    let missing = FileGate::new(directory.path().join("missing/gate"));
    let refused = missing.write(NEW, never);
    assert!(matches!(refused, Err(GateError::Io { .. })), "{refused:?}");

    let no_lock = FileGate::new(directory.path().join("other"));
    fs::create_dir(directory.path().join("other.lock")).expect("something in the way");
    let refused = no_lock.write(NEW, never);
    assert!(matches!(refused, Err(GateError::Io { .. })), "{refused:?}");

    let gate = used_gate(&directory);
    fs::create_dir(directory.path().join("gate.new")).expect("something in the way");
    let refused = gate.write(Token::new(u64::MAX), never);
    assert!(matches!(refused, Err(GateError::Io { .. })), "{refused:?}");
    assert!(gate.write(NEW, || Ok(())).is_ok());
}

#[test]
fn a_gate_file_is_named_without_a_directory_too() {
    let none = file::directory_of(Path::new("gate"));
    assert_eq!(none, Path::new("."));
    let some = file::directory_of(Path::new("/srv/gate"));
    assert_eq!(some, Path::new("/srv"));
}

/// Half of the threads come with rising tokens, half with falling ones, all of them with the same.
fn from_many_threads(tokens: u64, write: impl Fn(Token) + Sync) {
    const THREADS: usize = 8;
    let together = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (write, together) = (&write, &together);
            scope.spawn(move || {
                together.wait();
                for step in 0..tokens {
                    let falls = number % 2 == 0;
                    let token = if falls { tokens - 1 - step } else { step };
                    write(Token::new(token));
                }
            });
        }
    });
}

#[test]
fn threads_never_see_an_admitted_token_fall() {
    let gate = MemoryGate::new(Vec::new());
    from_many_threads(5_000, |token| {
        let written = gate.write(token, |admitted| admitted.push(token));
        assert!(written.is_ok() || token < gate.highest());
    });
    assert!(gate.read(|admitted| admitted.is_sorted()));
    assert_eq!(gate.highest(), Token::new(4_999));
}

#[test]
fn threads_that_share_a_gate_file_write_one_at_a_time() {
    let directory = directory();
    let log = directory.path().join("log");
    fs::write(&log, "").expect("a log");
    // Reads and replaces the whole log, so that two at once would lose something.
    let append = |token: Token| {
        let before = fs::read_to_string(&log)?;
        fs::write(&log, format!("{before}{token}\n"))
    };
    let shared = gate(&directory);
    let admitted = MemoryGate::new(0);
    from_many_threads(40, |token| {
        let of_its_own = gate(&directory);
        let gate = if token.get() % 3 == 0 {
            &of_its_own
        } else {
            &shared
        };
        if gate.write(token, || append(token)).is_ok() {
            admitted
                .write(Token::new(0), |count| *count += 1)
                .expect("never stale");
        }
    });
    let log = fs::read_to_string(&log).expect("a log");
    let log: Vec<Token> = log
        .lines()
        .map(|line| line.parse().expect("a token"))
        .collect();
    assert!(log.is_sorted(), "{log:?}");
    assert_eq!(log.len(), admitted.read(|count| *count));
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Near one another and of all lengths.
    fn tokens() -> impl Strategy<Value = Vec<u64>> {
        vec(prop_oneof![0..20_u64, any::<u64>()], 0..40)
    }

    proptest! {
        #[test]
        fn admitted_tokens_never_fall_and_no_other_is_refused(tokens in tokens()) {
            let mut fence = Fence::new();
            let mut highest = 0;
            for token in tokens {
                let admitted = fence.admit(Token::new(token));
                let expected = if token < highest {
                    let (presented, highest) = (Token::new(token), Token::new(highest));
                    Err(Stale { presented, highest })
                } else {
                    Ok(())
                };
                prop_assert_eq!(admitted, expected);
                highest = highest.max(token);
                prop_assert_eq!(fence.highest(), Token::new(highest));
            }
        }

        #[test]
        fn a_gate_file_holds_any_token(token: u64, others: Vec<u8>) {
            let token = Token::new(token);
            prop_assert_eq!(file::decode(file::encode(token).as_bytes()), Some(token));
            prop_assert_eq!(file::decode(&others), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_gate_file_admits_what_a_fence_admits(tokens in tokens()) {
            let directory = directory();
            let mut fence = Fence::new();
            for token in tokens.into_iter().map(Token::new) {
                let admitted = gate(&directory).write(token, || Ok(()));
                prop_assert_eq!(admitted.is_ok(), fence.admit(token).is_ok());
                prop_assert_eq!(gate(&directory).highest().ok(), Some(fence.highest()));
            }
        }
    }
}
