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
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod types;

pub use clerk::Clerk;
pub use net::Servers;
