//! Pieces of what the programs say.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What stands for the characters that are left out.
const ELLIPSIS: char = '…';

/// A number of things: `1 call`, `2 calls`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What a load is: `8 clerks with 4 calls in flight each`.
pub(super) fn load(clerks: u64, in_flight: u64) -> String {
    let each = if clerks == 1 { "" } else { " each" };
    let (clerks, calls) = (counted(clerks, "clerk"), counted(in_flight, "call"));
    format!("{clerks} with {calls} in flight{each}")
}

/// Both ends of `text`, in `width` columns of a terminal; all of it where it fits.
pub(super) fn abridged(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let head = fitting(text.chars(), room.div_ceil(2));
    let tail = fitting(text.chars().rev(), room / 2);
    let rest: String = tail.chars().rev().collect();
    format!("{head}{ELLIPSIS}{rest}")
}

/// As many of the first characters as fit into `room` columns.
fn fitting(chars: impl Iterator<Item = char>, mut room: usize) -> String {
    chars
        .take_while(|char| {
            let width = char.width().unwrap_or(0);
            let fits = width <= room;
            room = room.saturating_sub(width);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_said_as_many() {
        assert_eq!(counted(0, "call"), "0 calls");
        assert_eq!(counted(1, "call"), "1 call");
        assert_eq!(counted(2, "call"), "2 calls");
        assert_eq!(load(1, 1), "1 clerk with 1 call in flight");
        assert_eq!(load(2, 1), "2 clerks with 1 call in flight each");
    }

    #[test]
    fn what_is_shortened_keeps_both_of_its_ends() {
        assert_eq!(abridged("jobs/nightly/eu-west-1", 11), "jobs/…est-1");
        assert_eq!(abridged("jobs", 4), "jobs");
        assert_eq!(abridged("jobs", 3), "j…s");
        assert_eq!(abridged("ロック", 4), "ロ…");
        assert_eq!(abridged("jobs", 0), "…");
    }
}
