//! Tables for people: padded columns, no wider than the terminal.
//!
//! On a terminal, long cells of the columns that may shrink lose their middle, so that no row
//! wraps. Piped into another program, every cell is whole.

use std::io::{self, IsTerminal as _};

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use unicode_width::UnicodeWidthStr as _;

use crate::text::abridged;

/// The columns of a terminal that does not tell its width.
const USUAL_WIDTH: usize = 80;

/// A cell that shrinks keeps this many columns: enough of both ends to recognise a name.
const NARROWEST_CELL: usize = 8;

/// The blanks between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column<'a> {
    /// Its cells are always whole.
    Whole(&'a str),
    /// Its cells lose their middle where the table is too wide.
    Shrinks(&'a str),
}

impl<'a> Column<'a> {
    const fn header(self) -> &'a str {
        match self {
            Self::Whole(header) | Self::Shrinks(header) => header,
        }
    }
}

/// The columns of the terminal that stdout is; `None` where it is none, and nothing has to fit.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    match rustix::termios::tcgetwinsize(stdout) {
        Ok(size) if size.ws_col > 0 => Some(size.ws_col.into()),
        _ => Some(USUAL_WIDTH),
    }
}

/// Lays out `rows` under `columns`, in `width` columns of a terminal where there is one.
pub(super) fn table<R>(columns: &[Column<'_>], mut rows: Vec<R>, width: Option<usize>) -> String
where
    R: AsMut<[String]> + IntoIterator<Item = String>,
{
    if let Some(width) = width {
        let cells = rows.iter_mut().map(AsMut::as_mut);
        shrink(columns, &mut cells.collect::<Vec<_>>(), width);
    }
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(columns.iter().map(|column| column.header()));
    table.add_rows(rows);
    let lines = table.lines().map(|line| line.trim().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Takes columns from the widest of those that shrink, one after the other, until the rows fit.
fn shrink(columns: &[Column<'_>], rows: &mut [&mut [String]], width: usize) {
    let widths = columns.iter().map(|column| column.header().width());
    let mut widths: Vec<_> = widths.collect();
    for row in &*rows {
        for (width, cell) in widths.iter_mut().zip(&**row) {
            *width = cell.width().max(*width);
        }
    }
    let mut excess = (widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1))
        .saturating_sub(width);
    while excess > 0 {
        let shrinking = columns.iter().zip(&mut widths);
        let widest = shrinking
            .filter(|(column, width)| {
                matches!(column, Column::Shrinks(_)) && **width > NARROWEST_CELL
            })
            .max_by_key(|(_, width)| **width);
        let Some((_, widest)) = widest else { break };
        *widest -= 1;
        excess -= 1;
    }
    for row in rows {
        for (cell, &width) in row.iter_mut().zip(&widths) {
            if cell.width() > width {
                *cell = abridged(cell, width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<'_>; 3] = [
        Column::Shrinks("NAME"),
        Column::Shrinks("HOLDER"),
        Column::Whole("TOKEN"),
    ];

    fn rows(name: &str, holder: &str) -> Vec<[String; 3]> {
        vec![
            [name, holder, "1795577617491901"].map(str::to_owned),
            ["b", "c", "1"].map(str::to_owned),
        ]
    }

    fn widest(table: &str) -> usize {
        table
            .lines()
            .map(unicode_width::UnicodeWidthStr::width)
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn no_row_is_wider_than_the_terminal_however_long_its_cells_are() {
        let long = "n".repeat(1_024);
        let wide = "ロック".repeat(100);
        for name in ["a", "jobs/nightly/of/eu-west-1", &long, &wide] {
            for holder in ["deploy@web-3 4711 ./nightly --all", &long, &wide] {
                let table = table(&COLUMNS, rows(name, holder), Some(80));
                assert!(widest(&table) <= 80, "{table}");
                assert_eq!(table.lines().count(), 3, "{table}");
                assert!(table.contains("1795577617491901"), "{table}");
            }
        }
    }

    #[test]
    fn a_cell_is_whole_where_it_fits_and_where_nothing_has_to() {
        let long = "n".repeat(1_024);
        let piped = table(&COLUMNS, rows(&long, &long), None);
        assert!(piped.contains(&format!("{long}  ")), "{piped}");
        let short = table(&COLUMNS, rows("jobs/nightly", "deploy"), Some(80));
        assert!(!short.contains('…'), "{short}");
    }
}
