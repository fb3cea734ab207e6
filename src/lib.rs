//! Lock service.

pub mod clerk;
#[cfg(feature = "bin")]
pub mod cli;
pub mod config;
pub mod engine;
pub mod machine;
pub mod net;
pub mod server;
pub mod service;
pub mod types;
