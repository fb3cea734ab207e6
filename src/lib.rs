//! Lock service.

pub mod clerk;
pub mod config;
pub mod engine;
pub mod machine;
pub mod net;
pub mod server;
pub mod service;
pub mod types;
