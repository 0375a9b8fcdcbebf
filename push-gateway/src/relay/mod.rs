//! The Web Push relay: a push resource (RFC 8030) in front of APNs and FCM, for homeservers that send Web Push (MSC4174).
//!
//! Invariant: pure. The gateway stores nothing: the URL of a push resource has the device token in it, sealed.

pub(crate) mod app;
pub(crate) mod body;
pub(crate) mod headers;
pub(crate) mod seal;
pub(crate) mod vapid;
