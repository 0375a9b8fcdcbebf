//! The HTTP side that both services share: bodies, errors, routing rules, what is told about each request, and the
//! server itself.
//!
//! Invariant: whatever goes wrong in here is answered as Matrix JSON with the cross-origin headers.

pub mod body;
pub mod client_address;
pub mod endpoint;
pub mod envelope;
pub mod error;
pub mod listen;
pub mod observe;
pub mod operations;
pub mod server;
pub mod settings;
