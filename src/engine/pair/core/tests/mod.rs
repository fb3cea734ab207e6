//! The role machine, step by step.

mod explore;
mod scenarios;
mod traces;
mod world;

pub(super) use explore::Names;
