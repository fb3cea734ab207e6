//! The patches in `tests/mutants/`, each of which takes a rule out. `tests/mutants/refute` shows
//! that the exploration notices, or the simulation; here, that they still fit the source.

use std::fs;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn patches() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants");
    let entries = fs::read_dir(directory).expect("the patches");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "patch")
        })
        .collect()
}

/// The text that each hunk of a patch replaces, with its file.
fn replaced(patch: &str) -> Vec<(String, String)> {
    let mut hunks = Vec::new();
    let mut file = String::new();
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("--- a/") {
            name.clone_into(&mut file);
        } else if line.starts_with("@@") {
            hunks.push((file.clone(), String::new()));
        } else if let Some((_, text)) = hunks.last_mut()
            && let Some(kept) = line.strip_prefix([' ', '-'])
            && !line.starts_with("---")
        {
            text.push_str(kept);
            text.push('\n');
        }
    }
    hunks
}

#[test]
fn every_mutant_fits_the_source() {
    let patches = patches();
    assert!(patches.len() >= 12, "there are {}", patches.len());
    for path in patches {
        let hunks = replaced(&read(&path));
        assert!(!hunks.is_empty(), "{} changes nothing", path.display());
        for (file, text) in hunks {
            assert!(
                read(&file).contains(&text),
                "{} does not fit {file} any more: make it anew, and run tests/mutants/refute",
                path.display()
            );
        }
    }
}

#[test]
fn every_mutant_names_a_scope_of_the_exploration_or_seeds_of_the_simulation() {
    let scopes = read("src/engine/pair/core/tests/explore/scope.rs");
    for path in patches() {
        let patch = read(&path);
        let named = |what| patch.lines().find_map(|line| line.strip_prefix(what));
        match (named("Scope: "), named("Seeds: ")) {
            (Some(scope), None) => {
                assert!(scopes.contains(&format!("name: \"{scope}\"")), "{scope}");
            }
            (None, Some(seeds)) => assert!(seeds.contains(".."), "{seeds}"),
            _ => panic!("{} names neither, or both", path.display()),
        }
    }
}
