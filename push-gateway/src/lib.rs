//! The push gateway, as a library so that its tests can start it; `main.rs` is only the command line.

pub mod apns;
pub mod apps;
pub mod breaker;
pub mod buckets;
pub mod check_config;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod fcm;
pub mod legacy_names;
pub mod memory;
pub mod notification;
pub mod outbound;
pub mod provider;
pub mod reload;
pub mod retry;
pub mod routes;
pub mod server;
pub mod standing;
pub mod state;
pub mod test_push;
pub mod verdict;
