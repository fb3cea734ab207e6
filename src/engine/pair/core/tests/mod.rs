//! The role machine, step by step.

mod scenarios;
mod traces;
mod world;
