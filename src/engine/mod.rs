//! Engines: submit a request, get its answer once it is safe.
//!
//! An engine gives commands their one order, applies them to the [lock machine](crate::machine),
//! and answers when no single failure can take the answer back. There is one, the [`pair`].

pub mod pair;
