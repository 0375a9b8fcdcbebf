//! The connections for the messages of one project.

pub(super) mod pauses;

use crate::providers::transport::Service;

/// FCM in the log.
pub(super) const SERVICE: Service = Service { name: "FCM", advice: "base_url, [outbound] proxy" };
