//! The push gateway, as a library so that its tests can start it; `main.rs` is only the command line.

pub mod breaker;
pub mod memory;
pub mod notification;
pub mod outbound;
pub mod provider;
pub mod pushkey_limit;
pub mod retry;
