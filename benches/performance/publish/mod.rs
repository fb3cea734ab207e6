//! Makes the tables and pictures of the documentation from the figures.

mod pictures;
mod tables;

use std::fs;
use std::path::Path;

use super::results::Results;

/// Where a table goes: between these two lines, which stay.
fn marks(table: &str) -> [String; 2] {
    ["begin", "end"].map(|edge| format!("<!-- {edge} {table} -->\n"))
}

/// Writes what can be made of the results. `source` has the documents; `sink` gets them, and may be
/// the same.
pub(crate) fn publish(results: &Results, source: &Path, sink: &Path) {
    fs::create_dir_all(sink.join("docs")).expect("a folder that can be written to");
    for document in ["README.md", "docs/performance.md"] {
        let text = fs::read_to_string(source.join(document)).expect("a document");
        let text = tables::all(results)
            .into_iter()
            .fold(text, |text, (name, table)| put(&text, name, &table));
        fs::write(sink.join(document), text).expect("a document that can be written");
    }
    pictures::latency(results, &sink.join("docs/latency.svg"));
    pictures::failover(results, &sink.join("docs/failover.svg"));
}

/// Puts the table in its place, if the text has one for it.
fn put(text: &str, name: &str, table: &str) -> String {
    let [begin, end] = marks(name);
    let (Some(from), Some(to)) = (text.find(&begin), text.find(&end)) else {
        return text.to_owned();
    };
    let (before, after) = (&text[..from + begin.len()], &text[to..]);
    format!("{before}{table}{after}")
}
