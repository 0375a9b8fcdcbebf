//! The push gateway, as a library so that its tests can start it; `main.rs` is only the command line.

pub mod apns;
pub mod notification;
pub mod outbound;
pub mod provider;
