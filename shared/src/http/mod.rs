//! The HTTP server of both services: bodies, errors, routing rules, request logs and metrics, and the
//! listeners.
//!
//! Invariant: every error from here is Matrix JSON with the cross-origin headers.

pub mod body;
pub mod body_budget;
mod certificate;
pub mod client_address;
mod connections;
pub mod endpoint;
pub mod envelope;
pub mod error;
pub mod listen;
pub mod observe;
pub mod operations;
pub mod server;
pub mod settings;
