//! How often one device may be pushed to and one client may ask: guessing keys and flooding a phone both end here.
//!
//! Invariant: bounded in memory; a device that has been quiet for long has its whole burst again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::Timestamp;
use shared::rate_limit::{Charge, Limit};

use super::two_generation_cache::TwoGenerationCache;
use crate::providers::device_key::Fingerprint;

/// Devices that are counted at the same time at most.
const DEVICES: usize = 200_000;

/// The buckets of one process.
pub(crate) struct Buckets {
    limit: Option<Limit>,
    buckets: Mutex<TwoGenerationCache<Timestamp>>,
}

impl Buckets {
    /// Buckets of `limit`; `None` for no limit.
    pub(crate) fn new(limit: Option<Limit>) -> Self {
        Self { limit, buckets: Mutex::new(TwoGenerationCache::new(DEVICES)) }
    }

    /// Counts one push; `device` is asked for only if anything is counted.
    ///
    /// # Errors
    /// The time until the device may have another.
    pub(crate) fn charge(&self, device: impl FnOnce() -> Fingerprint, now: Timestamp) -> Result<(), Duration> {
        let Some(limit) = self.limit else { return Ok(()) };
        let device = device();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.charge(buckets.find(device), now) {
            Charge::Allowed { state } => {
                buckets.insert(device, state);
                Ok(())
            }
            Charge::Refused { retry_after } => Err(retry_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::Buckets;
    use crate::providers::device_key::Fingerprints;

    #[test]
    fn each_device_has_its_own_burst() {
        let limit = Buckets::new(Some("2/min".parse().unwrap()));
        let prints = Fingerprints::new(Random);
        let (one, other) = (prints.of(&["1"]), prints.of(&["2"]));
        let now = Timestamp::from_millis(1_750_000_000_000);
        assert_eq!([1, 2].map(|_| limit.charge(|| one, now)), [Ok(()), Ok(())]);
        assert_eq!(limit.charge(|| one, now), Err(Duration::from_secs(30)));
        assert_eq!(limit.charge(|| other, now), Ok(()));
        assert_eq!(limit.charge(|| one, now.plus(Duration::from_secs(30))), Ok(()));
        let unlimited = Buckets::new(None);
        assert!((0..1000).all(|_| unlimited.charge(|| one, now).is_ok()));
    }
}
