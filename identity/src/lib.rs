//! The identity server, as a library so that its tests can start it; `main.rs` is only the command line.

pub mod canonical_json;
pub mod commands;
pub mod config;
pub mod domain;
pub mod error;
pub mod flows;
pub mod homeserver;
pub mod json;
pub mod limits;
pub mod mail_delivery;
pub mod notify;
pub mod routes;
pub mod server;
pub mod signing;
pub mod signing_keys;
pub mod state;
pub mod store;
