//! What clients asked and were told, and whether a lock pair that is right can have told them so.
//!
//! Not meant for library users under this name: the test kit shows it to them, and `lockc torture`
//! uses it without the test kit.

pub mod history;
pub mod holders;
pub mod invariants;
pub mod linearizability;
pub mod rounds;
