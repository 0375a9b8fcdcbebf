//! How often a device is asked to count its messages itself.
//!
//! Invariant: bounded in memory; only a nudge that was delivered delays the next one.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

use crate::providers::device_key::DeviceKey;
use crate::providers::two_generation_cache::TwoGenerationCache;

const CAPACITY: usize = 200_000;

/// The time of the last nudge of each device.
pub(crate) struct Nudges {
    last: Mutex<TwoGenerationCache<Option<Timestamp>>>,
    clock: Clock,
}

impl Nudges {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { last: Mutex::new(TwoGenerationCache::new(CAPACITY)), clock }
    }

    /// Whether `device` may get a nudge now; counts it if so.
    pub(super) fn allow(&self, device: DeviceKey, interval: Duration) -> bool {
        let now = self.clock.now();
        let mut last = self.last.lock();
        // A clock that was set back prolongs no interval.
        let is_recent = |last: Timestamp| now >= last && now.since(last) < interval;
        let is_allowed = !last.find(device).flatten().is_some_and(is_recent);
        if is_allowed {
            last.insert(device, Some(now));
        }
        is_allowed
    }

    /// Forgets the last nudge of `device`, which did not arrive.
    pub(super) fn forget(&self, device: DeviceKey) {
        self.last.lock().insert(device, None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::Nudges;
    use crate::providers::device_key::testing::{keys, numbered};

    #[test]
    fn a_device_gets_the_first_nudge_of_an_interval() {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        let (nudges, keys) = (Nudges::new(clock.clone()), keys());
        let (one, other, interval) = (numbered(&keys, 1), numbered(&keys, 2), Duration::from_secs(600));
        assert_eq!([one, one, other].map(|device| nudges.allow(device, interval)), [true, false, true]);
        clock.advance(Duration::from_secs(599));
        assert!(!nudges.allow(one, interval));
        clock.advance(Duration::from_secs(1));
        assert!(nudges.allow(one, interval));
        nudges.forget(one);
        assert!(nudges.allow(one, interval) && !nudges.allow(one, interval));
    }
}
