//! Holds the source tree to what `ARCHITECTURE.md` says of it. Its invariants are absences, so this
//! reads the files and looks for what must not be there. Comments may speak of it, and tests may
//! use it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file, without its tests and comments.
struct Source {
    /// Relative to the package, with `/`.
    path: String,
    /// Numbered from 1.
    lines: Vec<(usize, String)>,
}

/// Where the sources of the library and of the programs are.
const SOURCES: [&str; 2] = ["src", "programs/src"];

/// Every one of their files that is not a test.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for place in SOURCES {
        collect(&root.join(place), &mut paths);
    }
    paths.sort();
    assert!(paths.len() > 50, "src is not where this test looks for it");
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(root).expect("it is below the package");
        let text = fs::read_to_string(&path).expect("a source file is text");
        Source {
            path: relative.to_string_lossy().replace('\\', "/"),
            lines: code(&text),
        }
    };
    paths.into_iter().map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if is_test {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The lines of `text` that are neither comments nor those of a test module, which stands last.
fn code(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<_> = text.lines().collect();
    let opens_tests = |at: usize| {
        lines[at] == "#[cfg(test)]"
            && lines
                .get(at + 1)
                .is_some_and(|next| next.contains("mod ") && next.ends_with('{'))
    };
    let end = (0..lines.len())
        .find(|at| opens_tests(*at))
        .unwrap_or(lines.len());
    let numbered = lines[..end].iter().enumerate();
    numbered
        .map(|(at, line)| (at + 1, without_comment(line).to_owned()))
        .collect()
}

/// A `//` after a colon is taken for a part of an address.
fn without_comment(line: &str) -> &str {
    let starts = line.match_indices("//").map(|(at, _)| at);
    let comment = starts.into_iter().find(|at| !line[..*at].ends_with(':'));
    &line[..comment.unwrap_or(line.len())]
}

/// Whether `word` stands in `line` by itself, and not as a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

/// Fails with every line of `places` that has one of `words` in it.
fn forbid(places: &[&str], words: &[&str], why: &str) {
    let mut found = String::new();
    let mut looked_at = 0;
    for source in sources() {
        if !places.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        looked_at += 1;
        for (number, line) in &source.lines {
            for word in words.iter().filter(|word| has_word(line, word)) {
                let path = &source.path;
                writeln!(found, "    {path}:{number}: `{word}`").expect("a string takes it");
            }
        }
    }
    assert!(looked_at > 0, "no file begins with any of {places:?}");
    assert!(found.is_empty(), "{why}\n{found}");
}

/// What is pure: the lock machine, what any leader does, the role machine of the pair, and what is
/// concluded from looks at the locks.
const PURE: [&str; 4] = [
    "src/machine/",
    "src/engine/leader/",
    "src/engine/pair/core",
    "src/inspect/",
];

#[test]
fn the_pure_parts_know_no_clock() {
    forbid(
        &PURE,
        &["Instant", "SystemTime", "sleep", "timeout_at"],
        "time is handed to a pure part, or two servers that are told the same would differ, and no trace \
         could be replayed",
    );
}

#[test]
fn the_pure_parts_do_no_io() {
    forbid(
        &PURE,
        &[
            "tokio",
            "futures",
            "tarpc",
            "tracing",
            "net",
            "fs",
            "io::Error",
            "env",
            "process",
            "println",
            "eprintln",
            "File",
        ],
        "a pure part hands back effects; its shell carries them out",
    );
}

#[test]
fn the_pure_parts_run_on_no_task_or_thread() {
    forbid(
        &PURE,
        &[
            "async",
            "await",
            "spawn",
            "thread",
            "Mutex",
            "RwLock",
            "atomic",
            "Arc::new",
            "RefCell",
            "mpsc",
            "oneshot",
            "static mut",
        ],
        "one task owns a pure part, which therefore shares nothing and waits for nothing",
    );
}

#[test]
fn the_pure_parts_draw_no_random_numbers_and_have_no_order_of_their_own() {
    forbid(
        &PURE,
        &["rand", "random", "new_v4", "HashMap", "HashSet"],
        "two servers that are told the same must do the same; the order of std's hash tables differs from \
         run to run",
    );
}

/// The modules of the library, and those that each may use; those that the programs may.
const ARROWS: [(&str, &[&str]); 16] = [
    ("types", &[]),
    ("config", &[]),
    ("throttle", &[]),
    ("fencing", &["types"]),
    ("service", &["types"]),
    ("machine", &["types", "config", "service"]),
    ("inspect", &["types", "service"]),
    ("transport", &["types", "config"]),
    ("rpc", &["types", "config", "service", "transport"]),
    (
        "engine",
        &[
            "types",
            "config",
            "service",
            "machine",
            "transport",
            "rpc",
            "throttle",
        ],
    ),
    (
        "server",
        &[
            "types",
            "config",
            "service",
            "transport",
            "rpc",
            "engine",
            "throttle",
        ],
    ),
    (
        "clerk",
        &["types", "config", "service", "transport", "rpc", "inspect"],
    ),
    (
        "blocking",
        &[
            "types",
            "config",
            "service",
            "transport",
            "inspect",
            "clerk",
        ],
    ),
    ("checker", &["types", "service", "clerk"]),
    (
        "programs",
        &[
            "types",
            "config",
            "service",
            "transport",
            "rpc",
            "server",
            "inspect",
            "clerk",
            "checker",
        ],
    ),
    (
        "testkit",
        &[
            "types",
            "config",
            "service",
            "transport",
            "rpc",
            "server",
            "clerk",
            "checker",
        ],
    ),
];

#[test]
fn arrows_between_modules_point_one_way() {
    let mut found = String::new();
    for source in sources() {
        let path = &source.path;
        let Some((module, allowed)) = ARROWS.iter().find(|(module, _)| {
            path.starts_with(&format!("src/{module}/"))
                || *path == format!("src/{module}.rs")
                || path.starts_with(&format!("{module}/"))
        }) else {
            continue;
        };
        let library = if *module == "programs" {
            "lockservice::"
        } else {
            "crate::"
        };
        for (number, line) in &source.lines {
            let used = line.split(library).skip(1).map(first_word);
            for used in used.filter(|used| used != module && !allowed.contains(used)) {
                writeln!(found, "    {path}:{number}: `{module}` uses `{used}`")
                    .expect("a string takes it");
            }
        }
    }
    assert!(
        found.is_empty(),
        "arrows point one way, so that each part can be read, tested and replaced without what is above \
         it\n{found}"
    );
}

fn first_word(text: &str) -> &str {
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn the_role_machine_does_not_know_its_shell() {
    forbid(
        &["src/engine/pair/core"],
        &[
            "driver::",
            "forward::",
            "inbox::",
            "peer::",
            "probe::",
            "relay::",
            "crate::transport",
        ],
        "the shell calls the core and never the other way round, so that a test or a model checker can be \
         the shell",
    );
}

#[test]
fn the_server_knows_no_engine_but_by_the_seam() {
    forbid(
        &["src/server/"],
        &["engine::pair", "PairHandle"],
        "the server asks `engine::Engine`, so that another engine can answer",
    );
}

#[test]
fn what_any_leader_does_knows_no_engine() {
    forbid(
        &["src/engine/leader/"],
        &["pair"],
        "every engine calls it, and none is called by it",
    );
}

#[test]
fn only_the_driver_moves_the_role_machine() {
    let mut owners = sources();
    owners.retain(|source| {
        let outside = !source.path.starts_with("src/engine/pair/core");
        outside && source.lines.iter().any(|(_, line)| has_word(line, "Core"))
    });
    let owners: Vec<_> = owners.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(
        owners,
        ["src/engine/pair/driver.rs"],
        "one task owns the state; everybody else sends it a message"
    );
}

#[test]
fn every_select_is_biased() {
    let mut found = String::new();
    for source in sources() {
        let simulated = ["server", "engine", "clerk", "transport", "rpc"];
        let inside = |module| source.path.starts_with(&format!("src/{module}/"));
        if !simulated.into_iter().any(inside) {
            continue;
        }
        for pair in source.lines.windows(2) {
            let [(number, line), (_, next)] = pair else {
                continue;
            };
            if line.contains("select! {") && next.trim() != "biased;" {
                writeln!(found, "    {}:{number}", source.path).expect("a string takes it");
            }
        }
    }
    assert!(
        found.is_empty(),
        "what is done first when several things are ready is a decision, and one that a simulation can \
         repeat\n{found}"
    );
}

#[test]
fn every_channel_is_bounded() {
    forbid(
        &SOURCES,
        &[
            "unbounded",
            "unbounded_channel",
            "UnboundedSender",
            "mpsc::channel()",
        ],
        "a receiver that is slow would cost all memory; a full channel makes its sender wait",
    );
}

#[test]
fn nothing_is_spawned_where_something_is_dropped() {
    let mut found = String::new();
    let mut looked_at = 0;
    for source in sources() {
        let mut is_drop = false;
        for (number, line) in &source.lines {
            if line.starts_with("impl") && line.contains(" Drop for ") {
                is_drop = true;
                looked_at += 1;
            }
            if is_drop && line.contains("spawn") {
                writeln!(found, "    {}:{number}", source.path).expect("a string takes it");
            }
            is_drop &= line != "}";
        }
    }
    assert!(
        looked_at > 5,
        "drops are not where this test looks for them"
    );
    assert!(
        found.is_empty(),
        "there may be no runtime any more; what is dropped is given back by a task that is there already\n{found}"
    );
}

#[test]
fn no_thread_is_put_to_sleep_and_no_process_ended_from_within() {
    forbid(
        &SOURCES,
        &["thread::sleep", "block_in_place", "process::exit"],
        "the servers run on one thread, which must never stand still, and end by returning",
    );
}

#[test]
fn nothing_is_written_to_stderr_in_place() {
    let mut writers = sources();
    writers.retain(|source| source.path.starts_with("programs/"));
    writers.retain(|source| {
        let words = ["eprintln", "eprint", "println", "print!", "io::stderr"];
        let mut lines = source.lines.iter();
        lines.any(|(_, line)| words.iter().any(|word| line.contains(word)))
    });
    let writers: Vec<_> = writers.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(
        writers,
        [
            // These ask whether it is a terminal, and how wide.
            "programs/src/lockc/progress.rs",
            "programs/src/lockc/run/waiting.rs",
            "programs/src/lockd/logs.rs",
            "programs/src/output/stderr.rs",
        ],
        "stderr may be full, blocked or closed; a thread that nobody waits for writes there"
    );
}

#[test]
fn a_server_reads_the_wall_clock_when_it_starts_and_to_say_what_time_it_is() {
    let mut readers = sources();
    readers.retain(|source| {
        let mut lines = source.lines.iter();
        lines.any(|(_, line)| has_word(line, "SystemTime::now"))
    });
    readers.retain(|source| !source.path.starts_with("programs/src/lockc/"));
    let readers: Vec<_> = readers.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(
        readers,
        ["src/engine/pair/driver.rs", "src/engine/pair/mod.rs"],
        "a clock that is put forward or back must not touch what a running server decides"
    );
}

#[test]
fn the_programs_only_parse_and_call() {
    for source in sources() {
        if !source.path.starts_with("programs/src/bin/") {
            continue;
        }
        let length = source.lines.len();
        let path = source.path;
        assert!(
            length <= 15,
            "{path} has {length} lines: what a program does is in `programs/src/lib.rs` and below, where tests reach it"
        );
    }
}

/// Lines of a file, without its tests.
const LONGEST_FILE: usize = 500;

#[test]
fn a_file_is_read_in_one_sitting() {
    for source in sources() {
        let length = source.lines.len();
        let path = source.path;
        assert!(
            length <= LONGEST_FILE,
            "{path} has {length} lines: it holds more than one idea; split it"
        );
    }
}

#[test]
fn the_map_shows_every_module() {
    let map = include_str!("../ARCHITECTURE.md");
    for source in sources() {
        let path = source.path;
        // By its path or the last parts of it. A `mod.rs` is shown by its directory.
        let named = path.strip_suffix("mod.rs").unwrap_or(&path);
        let starts = named.match_indices('/').map(|(at, _)| at + 1);
        let shown = starts
            .filter(|start| *start < named.len())
            .any(|start| map.contains(&format!("`{}`", &named[start..])));
        assert!(shown, "ARCHITECTURE.md has no line for {path}");
    }
}

#[test]
fn every_test_belongs_to_one_package() {
    let manifests = [
        include_str!("../Cargo.toml"),
        include_str!("../programs/Cargo.toml"),
    ];
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut looked_at = 0;
    for path in test_targets(&tests) {
        let path = path.strip_prefix(&tests).expect("it is in there");
        let path = path.to_str().expect("its name is text");
        looked_at += 1;
        let named = |manifest: &&&str| {
            let paths = ["tests", "../tests"].map(|place| format!("path = \"{place}/{path}\"\n"));
            paths.iter().any(|path| manifest.contains(path))
        };
        let packages = manifests.iter().filter(named).count();
        assert_eq!(
            packages, 1,
            "tests/{path} is run with {packages} packages: name it in the `Cargo.toml` of one"
        );
    }
    assert!(
        looked_at > 20,
        "tests are not where this test looks for them"
    );
}

/// The files in a directory that Cargo builds tests of: `main.rs`, or else each file, and those of
/// the directories in it.
fn test_targets(directory: &Path) -> Vec<PathBuf> {
    let main = directory.join("main.rs");
    if main.exists() {
        return vec![main];
    }
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => test_targets(&path),
            Some(extension) if extension == "rs" && !path.ends_with("mod.rs") => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

/// So every build and test is also one of the minimum version.
#[test]
fn the_pinned_toolchain_is_the_minimum_rust_version() {
    let value = |text: &'static str, key: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(key));
        line.expect("a key")
            .trim_matches([' ', '=', '"'])
            .to_owned()
    };
    let minimum = value(include_str!("../Cargo.toml"), "rust-version");
    let pinned = value(include_str!("../rust-toolchain.toml"), "channel");
    assert_eq!(pinned, format!("{minimum}.0"));
    let readme = include_str!("../README.md");
    assert!(
        readme.contains(&format!("\nRust {minimum}.")),
        "the README tells another minimum than {minimum}"
    );
}

/// Crates that a client is built of, itself among them.
const MOST_CRATES: usize = 64;

#[test]
fn a_client_brings_nothing_of_the_programs_and_the_server() {
    let crates = crates_of("lockservice");
    let unwanted = [
        "clap",
        "comfy-table",
        "criterion",
        "hashbrown",
        "hdrhistogram",
        "indexmap",
        "indicatif",
        "nix",
        "serde_json",
        "signal-hook",
        "tempfile",
        "tikv-jemallocator",
    ];
    let brought: Vec<_> = unwanted
        .into_iter()
        .filter(|unwanted| crates.iter().any(|name| name == unwanted))
        .collect();
    assert!(brought.is_empty(), "a client builds {brought:?}");
    assert!(
        crates.len() <= MOST_CRATES,
        "a client builds {} crates, and each of its users waits for them",
        crates.len()
    );
    assert!(crates_of("lockservice-programs").contains(&"clap".to_owned()));
}

/// The crates that `package` is built of, as a user gets it who asks for no feature.
fn crates_of(package: &str) -> Vec<String> {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).expect("names are text");
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut names: Vec<_> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
