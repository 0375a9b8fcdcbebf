//! Outbound connections of both services: one connector under every client, and one HTTP client over it.
//!
//! Invariant: a connection to a host that users choose uses only addresses that [`guard::AddressGuard`] permitted.

pub mod backoff;
pub mod client;
pub mod connector;
pub mod dns;
pub mod failure;
pub mod failure_log;
pub mod guard;
mod happy_eyeballs;
mod no_proxy;
pub mod proxy;
pub mod resolver;
pub mod retry_after;
pub mod settings;
pub mod stream;
pub mod tls;
