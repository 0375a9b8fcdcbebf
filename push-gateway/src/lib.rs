//! The push gateway, as a library so that its tests can start it; `main.rs` is only the command line.

pub mod fcm;
pub mod notification;
pub mod outbound;
pub mod provider;
