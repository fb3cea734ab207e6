//! Holds comments and documentation to what their readers rely on: lines of at most 100 columns,
//! links that lead somewhere, a README that is short, a book that has every page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;

/// Where text is written by hand.
const PLACES: [&str; 7] = [
    "src",
    "programs/src",
    "tests",
    "benches",
    "examples",
    "fuzz/src",
    "docs",
];

/// The pages at the root.
const PAGES: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

/// What a reader takes in before deciding whether to read on.
const README_LINES: usize = 200;

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
    paths.extend(PAGES.map(|page| root.join(page)));
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

/// The pages of the book, and their text.
fn book() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"),
        &mut paths,
    );
    paths.retain(|path| has_extension(path, "md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// What the links of a page lead to, but for other sites.
fn links(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let prose = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    let targets = prose.flat_map(|line| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchor that a heading has, on a forge and in the book alike.
fn anchor(heading: &str) -> String {
    let kept = |char: &char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_');
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    headings.any(|heading| anchor(heading) == wanted)
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = book();
    pages.extend(PAGES.map(|page| {
        let path = root.join(page);
        let text = fs::read_to_string(&path).expect("text");
        (path, text)
    }));
    let mut dead = Vec::new();
    for (path, text) in &pages {
        for link in links(text) {
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            let leads = target.exists()
                && (wanted.is_empty()
                    || has_anchor(&fs::read_to_string(&target).expect("text"), wanted));
            if !leads {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn a_page_of_the_book_leads_to_nothing_outside_it() {
    for (path, text) in book() {
        let outside = links(&text).into_iter().find(|link| link.contains(".."));
        assert_eq!(outside, None, "{} is rendered without that", path.display());
    }
}

#[test]
fn the_summary_has_every_page_of_the_book() {
    let mut pages = BTreeSet::new();
    let mut summary = String::new();
    for (path, text) in book() {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if name == "SUMMARY.md" {
            summary = text;
        } else {
            pages.insert(name);
        }
    }
    let listed = links(&summary).into_iter().map(str::to_owned);
    assert_eq!(listed.collect::<BTreeSet<_>>(), pages);
}

#[test]
fn the_examples_of_every_page_are_compiled() {
    let front = include_str!("../src/lib.rs");
    for (path, text) in book() {
        let name = path.file_name().expect("a name").to_string_lossy();
        let has_examples = text
            .lines()
            .any(|line| line.trim_start().starts_with("```rust"));
        let is_compiled = front.contains(&format!("include_str!(\"../docs/{name}\")"));
        assert_eq!(
            has_examples, is_compiled,
            "docs/{name} in `mod pages` of lib.rs"
        );
    }
}

#[test]
fn the_readme_is_short() {
    let lines = include_str!("../README.md").lines().count();
    assert!(
        lines <= README_LINES,
        "README.md has {lines} lines: what not every reader needs goes to docs/"
    );
}
