//! Replays what the fuzz targets (`fuzz/`) have found worth keeping, without a fuzzer: each input
//! once broke something, or reaches code that no other input does.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a library to the fuzzer")]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = fs::read_dir(corpus.join(name)).expect("each target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "there is something to replay");
    for path in paths {
        // The last one that a failed test shows is the one.
        println!("{}", path.display());
        target(&fs::read(&path).expect("a file"));
    }
}

#[test]
fn prefaces_are_understood_or_refused() {
    replay("preface", targets::preface);
}

#[test]
fn frames_are_decoded_or_end_their_connection() {
    replay("frames", targets::frames);
}

#[test]
fn names_are_checked_wherever_they_come_from() {
    replay("names", targets::names);
}

#[test]
fn addresses_are_written_as_they_are_read() {
    replay("addresses", targets::addresses);
}

#[test]
fn servers_survive_what_strangers_and_false_servers_say() {
    replay("conversation", targets::conversation);
}
