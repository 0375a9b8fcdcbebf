//! How the identity server talks to homeservers (the specification's server-server API).
//!
//! Invariant: every request goes through [`client::HomeserverClient`], so there is one place where servers are
//! discovered, addresses judged, certificates verified and replies cut.

pub mod client;
mod connect;
pub mod keys;
pub mod onbind;
pub mod openid;
mod resolve;
pub mod trace;
mod well_known;

#[cfg(test)]
mod tests;
