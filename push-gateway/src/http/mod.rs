//! The HTTP interface: endpoints, wire types and error responses.
//!
//! Invariant: no module below this one knows HTTP.

pub(crate) mod error;
pub(crate) mod notify;
