//! The identity server. `main.rs` runs it, and the tests of the example file read its configuration.

#![expect(unreachable_pub, reason = "the modules are private: `pub` in them means visible in the crate")]

mod canonical_json;
mod cli;
mod config;
mod domain;
mod error;
mod flows;
mod homeserver;
mod json;
mod limits;
mod mail_delivery;
mod memory;
mod notify;
mod queue_worker;
mod routes;
mod server;
mod signing;
mod signing_keys;
mod state;
mod store;

pub use self::cli::run;
pub use self::config::RawConfig;
