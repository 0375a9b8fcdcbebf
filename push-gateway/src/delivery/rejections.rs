//! Remembers rejected pushkeys, so that a homeserver's next request is answered without the provider.
//!
//! Invariant: bounded in number and time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::{Clock, Timestamp};

use super::two_generation_cache::TwoGenerationCache;
use crate::providers::device_key::Fingerprint;

/// How long a rejection is repeated without asking the provider.
const REJECTED_FOR: Duration = Duration::from_secs(3600);
/// The same for a device without `pushkey_ts`, whose renewal we could not see.
const REJECTED_FOR_UNDATED: Duration = Duration::from_secs(600);
/// Rejections that are remembered at most.
const REJECTIONS: usize = 200_000;

/// The devices whose pushkey the provider has called dead.
pub(crate) struct Rejections {
    clock: Clock,
    known: Mutex<TwoGenerationCache<(Timestamp, &'static str)>>,
}

impl Rejections {
    /// An empty memory.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::new(TwoGenerationCache::new(REJECTIONS)) }
    }

    /// Why the device was rejected, if it still counts: for an hour (ten minutes if the device has no `pushkey_ts`),
    /// and not if the pushkey was set anew since.
    pub(crate) fn find(&self, device: Fingerprint, pushkey_ts: Option<i64>) -> Option<&'static str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, reason) = known.find(device)?;
        let (life, is_renewed) = match pushkey_ts {
            // Whole seconds: of two in the same one, the registration may well be the later.
            Some(seconds) => (REJECTED_FOR, seconds >= at.as_millis().div_euclid(1000)),
            None => (REJECTED_FOR_UNDATED, false),
        };
        (!is_renewed && self.clock.now().since(at) < life).then_some(reason)
    }

    /// Remembers a rejection.
    pub(crate) fn insert(&self, device: Fingerprint, reason: &'static str) {
        let now = self.clock.now();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(device, (now, reason));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};
    use shared::random::Random;

    use super::Rejections;
    use crate::providers::device_key::Fingerprints;

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    #[test]
    fn a_rejection_counts_for_its_time_and_until_the_pushkey_is_renewed() {
        let clock = Clock::manual(START.plus(Duration::from_millis(700)));
        let memory = Rejections::new(clock.clone());
        let device = Fingerprints::new(Random).of(&["app", "key"]);
        let before = START.as_millis() / 1000 - 5;
        memory.insert(device, "Unregistered");
        assert_eq!(memory.find(device, Some(before)), Some("Unregistered"));
        assert_eq!(memory.find(device, Some(before + 10)), None);
        assert_eq!(memory.find(device, Some(START.as_millis() / 1000)), None, "within the same second");
        assert_eq!(memory.find(device, Some(START.as_millis() / 1000 - 1)), Some("Unregistered"));
        assert_eq!(memory.find(device, None), Some("Unregistered"));
        clock.advance(Duration::from_secs(600));
        assert_eq!(memory.find(device, None), None);
        assert_eq!(memory.find(device, Some(before)), Some("Unregistered"));
        clock.advance(Duration::from_secs(3000));
        assert_eq!(memory.find(device, Some(before)), None);
    }
}
