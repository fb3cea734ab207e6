//! What the programs `lockd` and `lockc` do: their command lines, output and exit codes.
//!
//! Not meant for library users. The programs call [`lockd::main`] and [`lockc::main`] and nothing
//! else, so that all they do can be tested here.

#[cfg(target_os = "linux")]
mod death;
mod environment;
mod escape;
mod exit;
pub mod lockc;
pub mod lockd;
mod options;
mod output;
mod signals;
mod text;
mod usage;
