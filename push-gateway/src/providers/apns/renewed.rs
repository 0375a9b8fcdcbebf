//! Devices that registered again after APNs reported them as gone.
//!
//! Invariant: each registration gets one more attempt, because APNs may report what was true before it.

use std::time::Duration;

use moka::future::Cache;

use super::response::ApnsResponse;
use crate::providers::Delivery;
use crate::providers::device_key::DeviceKey;
use crate::providers::outcome::{Failure, Outcome};

/// The most devices that are paused, or remembered as registered again, at once.
pub(super) const CACHE_CAPACITY: u64 = 100_000;
/// How long a new registration of a device is remembered.
const RENEWED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A device and the time of its registration.
type Registration = (DeviceKey, Option<i64>);

/// The registrations that had their attempt.
pub(super) struct Renewed(Cache<Registration, ()>);

impl Default for Renewed {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CACHE_CAPACITY).time_to_live(RENEWED_FOR).build())
    }
}

impl Renewed {
    /// The outcome of a response that reports a device as gone.
    ///
    /// # Errors
    /// The failure of a device that registered again since, the first time.
    pub(super) async fn check(
        &self,
        delivery: &Delivery<'_>,
        response: &ApnsResponse,
        outcome: Outcome,
    ) -> Result<Outcome, Failure> {
        let registration = registration(delivery);
        if response.is_before(delivery.device.pushkey_ts) && !self.0.contains_key(&registration) {
            self.0.insert(registration, ()).await;
            // A relayed message waits for the homeserver's retry: its registration is known to the minute.
            let retry_in_request = delivery.notification.relayed.is_none();
            return Err(Failure { retry_in_request, ..Failure::upstream(outcome.labels().1, None) });
        }
        Ok(outcome)
    }
}

fn registration(delivery: &Delivery<'_>) -> Registration {
    (delivery.key, delivery.device.pushkey_ts)
}
