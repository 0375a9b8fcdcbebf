//! The HTTP interface: endpoints, wire types and error responses.
//!
//! Invariant: no module below this one knows HTTP.

mod discovery;
pub(crate) mod error;
mod network;
pub(crate) mod notify;
mod relay;
mod vapid;
