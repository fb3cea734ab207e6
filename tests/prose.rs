//! Holds comments and documentation to lines of at most 100 columns, so that they can be read
//! beside code.

use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;

/// Where text is written by hand.
const PLACES: [&str; 6] = ["src", "tests", "benches", "examples", "fuzz/src", "docs"];

fn collect(place: &Path, paths: &mut Vec<PathBuf>) {
    if !place.is_dir() {
        paths.push(place.to_owned());
        return;
    }
    for entry in fs::read_dir(place).expect("a directory") {
        collect(&entry.expect("an entry").path(), paths);
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}

/// A line of text.
struct Line<'a> {
    /// From 1.
    number: usize,
    whole: &'a str,
    /// Without what makes it a comment.
    said: &'a str,
}

/// The lines of a page.
fn page(text: &str) -> impl Iterator<Item = Line<'_>> {
    (1..).zip(text.lines()).map(|(number, whole)| {
        let said = whole.trim_start();
        Line {
            number,
            whole,
            said,
        }
    })
}

/// The comments of a source file. Other lines are for `rustfmt` to break.
fn comments(text: &str) -> impl Iterator<Item = Line<'_>> {
    let comments = page(text).filter(|line| line.said.starts_with("//"));
    comments.map(|line| Line {
        said: line.said.trim_start_matches(['/', '!', ' ']),
        ..line
    })
}

/// Leaves out tables, code and pictures, which cannot be broken.
fn prose<'a>(lines: impl Iterator<Item = Line<'a>>) -> impl Iterator<Item = Line<'a>> {
    let mut is_code = false;
    lines.filter(move |line| {
        let is_fence = line.said.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence && !line.said.starts_with(['|', '!', '<'])
    })
}

/// The numbers of the lines that are too wide. A word that is very long cannot be broken either.
fn wide<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<usize> {
    let is_wide = |line: &Line<'_>| {
        let words = line.whole.split(' ').map(|word| word.chars().count());
        line.whole.chars().count() > COLUMNS && words.max() < Some(COLUMNS / 2)
    };
    let wide = prose(lines).filter(is_wide);
    wide.map(|line| line.number).collect()
}

#[test]
fn no_comment_and_no_prose_is_wider_than_100_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for place in PLACES {
        collect(&root.join(place), &mut paths);
    }
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ] {
        paths.push(root.join(page));
    }
    let mut found = Vec::new();
    for path in paths {
        let wide = if has_extension(&path, "rs") {
            wide(comments(&fs::read_to_string(&path).expect("text")))
        } else if has_extension(&path, "md") {
            wide(page(&fs::read_to_string(&path).expect("text")))
        } else {
            continue;
        };
        let shown = path.strip_prefix(root).expect("it is below the package");
        found.extend(
            wide.iter()
                .map(|line| format!("{}:{line}", shown.display())),
        );
    }
    assert!(
        found.is_empty(),
        "wider than {COLUMNS} columns:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_wide_comment_is_found_and_a_wide_link_is_not() {
    let text = |width: usize| format!("// {}\nlet code = 1;", "word ".repeat(width / 5));
    assert_eq!(wide(comments(&text(100))), [1]);
    assert_eq!(wide(comments(&text(90))), [0; 0]);
    let link = format!("// see {}", "x".repeat(120));
    assert_eq!(wide(comments(&link)), [0; 0]);
    let code = format!("```\n{}\n```", "word ".repeat(30));
    assert_eq!(wide(page(&code)), [0; 0]);
}
