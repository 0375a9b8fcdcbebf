//! Remembers the pushkeys that had a delivery. Junk pushkeys never have one, so they get fewer permits and less weight.
//!
//! Invariant: bounded in number.

use parking_lot::Mutex;

use crate::providers::device_key::DeviceKey;
use crate::providers::two_generation_cache::TwoGenerationCache;

const CAPACITY: usize = 500_000;

/// The pushkeys with a delivery since the gateway started.
pub(crate) struct ProvenPushkeys(Mutex<TwoGenerationCache<()>>);

impl Default for ProvenPushkeys {
    fn default() -> Self {
        Self(Mutex::new(TwoGenerationCache::new(CAPACITY)))
    }
}

impl ProvenPushkeys {
    pub(crate) fn contains(&self, pushkey: DeviceKey) -> bool {
        self.0.lock().find(pushkey).is_some()
    }

    /// Returns whether it is new.
    pub(crate) fn insert(&self, pushkey: DeviceKey) -> bool {
        let mut known = self.0.lock();
        let is_new = known.find(pushkey).is_none();
        known.insert(pushkey, ());
        is_new
    }
}
