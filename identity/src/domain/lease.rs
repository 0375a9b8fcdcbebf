//! The lengths of leases: how long one worker may hold a row while it sends.
//!
//! Invariant: a lease outlasts the longest attempt, so a row with a lease that has expired has no worker.

use std::time::Duration;

/// The part of a lease beyond the longest sending of a mail or an SMS, for the database before and after it.
const SENDING_MARGIN: Duration = Duration::from_secs(30);
/// The part of a lease beyond the longest request to a homeserver.
const REQUEST_MARGIN: Duration = Duration::from_secs(10);

/// The lease of a mail: one time-out to connect and log in, one to send; and both again if a kept connection was closed.
pub fn mail_lease(relay_timeout: Duration) -> Duration {
    relay_timeout * 4 + SENDING_MARGIN
}

/// The lease of an SMS that takes at most `longest` to send.
pub fn sms_lease(longest: Duration) -> Duration {
    longest + SENDING_MARGIN
}

/// The lease of one request of an onbind notification.
pub fn onbind_lease(request_timeout: Duration) -> Duration {
    request_timeout + REQUEST_MARGIN
}
