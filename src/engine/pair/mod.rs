//! The pair.
pub mod core;
