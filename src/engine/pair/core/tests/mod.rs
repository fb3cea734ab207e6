//! The role machine, step by step.

mod explore;
mod scenarios;
mod sessions;
mod traces;
mod world;

pub(super) use explore::Names;
