//! The connections to the receiver of one app.

use crate::providers::transport::Service;

/// The receiver in the log.
pub(super) const SERVICE: Service = Service { name: "the receiver", advice: "url, [outbound] proxy" };
