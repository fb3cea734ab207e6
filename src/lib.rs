pub mod clerk;
pub mod config;
pub mod machine;
pub mod net;
pub mod service;
pub mod types;
