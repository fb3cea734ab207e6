//! What the programs write: answers to stdout, everything else to stderr. Either can be closed,
//! full, or blocked, and its reader can go; nothing that they do for their users may hang on that.

pub(super) mod answer;
mod queue;
pub(super) mod stderr;
mod write;

pub(super) use self::answer::Unwritten;
