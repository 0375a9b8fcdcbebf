//! Rate limits of deliveries to one device and of requests from one client.
//!
//! Invariant: bounded in memory; a device that was idle for long has its whole burst again.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;
use shared::rate_limit::{Charge, Limit};

use crate::providers::device_key::DeviceKey;
use crate::providers::two_generation_cache::TwoGenerationCache;

const CAPACITY: usize = 200_000;

/// One token bucket for each key.
pub(crate) struct Buckets {
    limit: Option<Limit>,
    buckets: Mutex<TwoGenerationCache<Timestamp>>,
}

impl Buckets {
    /// Buckets of `limit`; `None` for no limit.
    pub(crate) fn new(limit: Option<Limit>) -> Self {
        Self { limit, buckets: Mutex::new(TwoGenerationCache::new(CAPACITY)) }
    }

    /// The number of known keys.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.lock().len()
    }

    /// Takes over what `key` has used in other buckets of the same limit.
    pub(crate) fn take_over(&self, other: &Self, key: DeviceKey) {
        let Some(state) = other.buckets.lock().find(key) else { return };
        let mut buckets = self.buckets.lock();
        let state = buckets.find(key).map_or(state, |own| own.max(state));
        buckets.insert(key, state);
    }

    /// Counts one event of `key`, which is computed only if there is a limit.
    ///
    /// # Errors
    /// The time until the next event is allowed.
    pub(crate) fn charge(&self, key: impl FnOnce() -> DeviceKey, now: Timestamp) -> Result<(), Duration> {
        self.charge_all(key, 1, now)
    }

    /// Whether the next event of `key` is allowed; counts nothing.
    ///
    /// # Errors
    /// The time until it is allowed.
    pub(crate) fn check(&self, key: impl FnOnce() -> DeviceKey, now: Timestamp) -> Result<(), Duration> {
        let Some(limit) = self.limit else { return Ok(()) };
        match limit.charge_many(1, self.buckets.lock().find(key()), now) {
            Charge::Allowed { .. } => Ok(()),
            Charge::Refused { retry_after } => Err(retry_after),
        }
    }

    /// Counts `events` of `key` or, if they exceed the limit, none of them. More than the whole burst count as the burst:
    /// they would never be allowed otherwise.
    ///
    /// # Errors
    /// The time until they are allowed.
    pub(crate) fn charge_all(
        &self,
        key: impl FnOnce() -> DeviceKey,
        events: usize,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let Some(limit) = self.limit else { return Ok(()) };
        let key = key();
        let mut buckets = self.buckets.lock();
        match limit.charge_many(u32::try_from(events).unwrap_or(u32::MAX), buckets.find(key), now) {
            Charge::Allowed { state } => {
                buckets.insert(key, state);
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

    use super::Buckets;
    use crate::providers::device_key::testing::{keys, numbered};

    #[test]
    fn what_a_key_has_used_moves_to_other_buckets() {
        let limit = || Buckets::new(Some("2/h".parse().unwrap()));
        let (junk, proven, key) = (limit(), limit(), numbered(&keys(), 1));
        let now = Timestamp::from_millis(1_750_000_000_000);
        assert_eq!([1, 2].map(|_| junk.charge(|| key, now)), [Ok(()), Ok(())]);
        proven.take_over(&junk, key);
        assert!(proven.charge(|| key, now).is_err() && proven.check(|| key, now).is_err());
        let other = numbered(&keys(), 2);
        assert_eq!([1, 2, 3].map(|_| proven.check(|| other, now)), [Ok(()); 3]);
        proven.take_over(&limit(), key);
        assert!(proven.charge(|| key, now).is_err());
    }

    #[test]
    fn each_key_has_its_own_burst() {
        let limit = Buckets::new(Some("2/min".parse().unwrap()));
        let keys = keys();
        let (one, other) = (numbered(&keys, 1), numbered(&keys, 2));
        let now = Timestamp::from_millis(1_750_000_000_000);
        assert_eq!([1, 2].map(|_| limit.charge(|| one, now)), [Ok(()), Ok(())]);
        assert_eq!(limit.charge(|| one, now), Err(Duration::from_secs(30)));
        assert_eq!(limit.charge(|| other, now), Ok(()));
        assert_eq!(limit.charge(|| one, now.plus(Duration::from_secs(30))), Ok(()));
        let twice = now.plus(Duration::from_secs(90));
        assert_eq!(limit.charge_all(|| one, 2, twice.minus(Duration::from_secs(30))), Err(Duration::from_secs(30)));
        assert_eq!(limit.charge_all(|| one, 3, twice), Ok(()), "more than the burst");
        assert_eq!(limit.charge_all(|| one, 1, twice), Err(Duration::from_secs(30)));
        let unlimited = Buckets::new(None);
        assert!((0..1000).all(|_| unlimited.charge(|| one, now).is_ok()));
    }
}
