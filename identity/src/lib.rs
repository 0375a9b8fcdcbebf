//! The identity server, as a library so that its tests can start it; `main.rs` is only the command line.

pub mod config;
pub mod domain;
pub mod homeserver;
pub mod signing_keys;
pub mod store;
pub mod notify;
