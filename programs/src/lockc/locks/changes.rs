//! Prints changes: in sentences for people, as JSON for machines.

use std::fmt;

use serde::Serialize;

use super::view::{HolderName, QueueEntryView, mode};
use crate::escape::escaped;
use lockservice::inspect::{LockChange, LockEvent};
use lockservice::types::LockName;

/// A change for people.
pub(super) struct Sentence<'a>(pub(super) &'a LockChange);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = escaped(self.0.name.as_str());
        match &self.0.event {
            LockEvent::Locked => write!(f, "{name}: locked, and belongs to nobody"),
            LockEvent::Unlocked => write!(f, "{name}: unlocked"),
            LockEvent::Granted(place) => {
                let (who, mode) = (HolderName(place), mode(place.mode));
                write!(f, "{name}: granted to {who}, {mode}")
            }
            LockEvent::Ended(place) => write!(f, "{name}: no longer held by {}", HolderName(place)),
            LockEvent::Left(place) => write!(f, "{name}: {} left the queue", HolderName(place)),
            LockEvent::Queued(place) => {
                let (who, mode) = (HolderName(place), mode(place.mode));
                write!(f, "{name}: {who} queued, {mode}")
            }
            event => write!(f, "{name}: {}", event.name()),
        }?;
        let token = self.0.event.entry().and_then(|place| place.token);
        token.map_or(Ok(()), |token| write!(f, ", token {token}"))
    }
}

/// A change for machines. Field names are a contract.
#[derive(Debug, Serialize)]
pub(super) struct ChangeView<'a> {
    event: &'static str,
    name: &'a LockName,
    #[serde(flatten)]
    place: Option<QueueEntryView>,
}

impl<'a> ChangeView<'a> {
    pub(super) fn new(change: &'a LockChange) -> Self {
        Self {
            event: change.event.name(),
            name: &change.name,
            place: change.event.entry().map(QueueEntryView::new),
        }
    }
}

/// All of them, in one line.
pub(in crate::lockc) fn changes_json(changes: &[LockChange]) -> serde_json::Result<String> {
    let views: Vec<_> = changes.iter().map(ChangeView::new).collect();
    serde_json::to_string(&views)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockservice::inspect::changes;
    use lockservice::inspect::samples::{lock, unowned};

    #[test]
    fn people_read_a_sentence_of_each_change() {
        let before = [lock("a", &[(1, 10)], &[2, 3]), unowned("b", &[])];
        let after = [lock("a", &[(2, 11)], &[4]), unowned("c\n", &[])];
        let told: Vec<_> = changes(&before, &after)
            .iter()
            .map(|change| Sentence(change).to_string())
            .collect();
        assert_eq!(
            told,
            [
                "a: no longer held by 00000001/1, token 10",
                "a: 00000003/3 left the queue",
                "a: granted to 00000002/2, exclusive, token 11",
                "a: 00000004/4 queued, exclusive",
                "b: unlocked",
                "c\\n: locked, and belongs to nobody",
            ]
        );
    }

    #[test]
    fn the_json_of_a_change_is_a_line_with_what_is_known() {
        let changes = changes(&[], &[lock("a\n", &[(1, 10)], &[]), unowned("b", &[])]);
        let lines: Vec<_> = changes
            .iter()
            .map(|change| serde_json::to_string(&ChangeView::new(change)).expect("it encodes"))
            .collect();
        assert_eq!(
            lines,
            [
                r#"{"event":"granted","name":"a\n","client":"00000001-0000-0000-0000-000000000000","session":1,"mode":"exclusive","token":10,"since":10}"#,
                r#"{"event":"locked","name":"b"}"#,
            ]
        );
        let all = changes_json(&changes).expect("it encodes");
        assert_eq!(all, format!("[{}]", lines.join(",")));
        assert_eq!(changes_json(&[]).expect("it encodes"), "[]");
    }
}
