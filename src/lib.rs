//! A replicated lock service.

pub mod config;
pub mod machine;
pub mod service;
pub mod types;
