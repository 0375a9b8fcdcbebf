//! The configured apps: which provider serves which app ID, their metrics and status, and reloading them.
//!
//! Invariant: labels of metrics come from the configuration, never from a request.

pub(crate) mod legacy_names;
pub(crate) mod metrics;
mod pattern;
pub(crate) mod permits;
pub(crate) mod registry;
pub(crate) mod reload;
mod route;
pub(crate) mod sender;
pub(crate) mod status;
