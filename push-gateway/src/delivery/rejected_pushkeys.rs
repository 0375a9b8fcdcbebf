//! Remembers rejected pushkeys, so that the next request is answered without the provider.
//!
//! Invariant: bounded in number and time.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

use crate::providers::device_key::DeviceKey;
use crate::providers::outcome::Rejection;
use crate::providers::two_generation_cache::TwoGenerationCache;

/// How long a rejection is repeated without a request to the provider.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The same for a device without `pushkey_ts`: a new registration of it is invisible.
const LIFETIME_WITHOUT_TIMESTAMP: Duration = Duration::from_secs(600);

const CAPACITY: usize = 200_000;

/// The devices with a dead pushkey.
pub(crate) struct RejectedPushkeys {
    clock: Clock,
    known: Mutex<TwoGenerationCache<(Timestamp, Rejection)>>,
}

impl RejectedPushkeys {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::new(TwoGenerationCache::new(CAPACITY)) }
    }

    /// A valid rejection. It expires after an hour (ten minutes without `pushkey_ts`), and when the app
    /// registers the pushkey again.
    pub(crate) fn find(&self, device: DeviceKey, pushkey_ts: Option<i64>) -> Option<Rejection> {
        let (at, rejection) = self.known.lock().find(device)?;
        let (lifetime, is_renewed) = match pushkey_ts {
            // Whole seconds: within the same second the registration may be the later one.
            Some(seconds) => (LIFETIME, seconds >= at.as_millis().div_euclid(1000)),
            None => (LIFETIME_WITHOUT_TIMESTAMP, false),
        };
        let now = self.clock.now();
        // A time in the future comes from a clock that was set back since.
        (!is_renewed && at <= now && now.since(at) < lifetime).then_some(rejection)
    }

    pub(crate) fn insert(&self, device: DeviceKey, rejection: Rejection) {
        let now = self.clock.now();
        self.known.lock().insert(device, (now, rejection));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::RejectedPushkeys;
    use crate::providers::device_key::testing::{keys, numbered};
    use crate::providers::outcome::{Certainty, Rejection};

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    #[test]
    fn a_rejection_expires_with_time_and_with_a_new_registration() {
        let clock = Clock::manual(START.plus(Duration::from_millis(700)));
        let rejected = RejectedPushkeys::new(clock.clone());
        let device = numbered(&keys(), 1);
        let before = START.as_millis() / 1000 - 5;
        let rejection = Rejection { reason: "Unregistered", certainty: Certainty::Suspect };
        rejected.insert(device, rejection);
        assert_eq!(rejected.find(device, Some(before)), Some(rejection));
        assert_eq!(rejected.find(device, Some(before + 10)), None);
        assert_eq!(rejected.find(device, Some(START.as_millis() / 1000)), None, "within the same second");
        assert_eq!(rejected.find(device, Some(START.as_millis() / 1000 - 1)), Some(rejection));
        assert_eq!(rejected.find(device, None), Some(rejection));
        clock.advance(Duration::from_secs(600));
        assert_eq!(rejected.find(device, None), None);
        assert_eq!(rejected.find(device, Some(before)), Some(rejection));
        clock.advance(Duration::from_secs(3000));
        assert_eq!(rejected.find(device, Some(before)), None);
    }
}
