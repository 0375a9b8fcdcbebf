//! What proves to APNs that a request comes from the app's developer: a provider token or a client certificate.
//!
//! Invariant: no secret is in a log or an error.

pub(super) mod certificate;
pub(super) mod token;
