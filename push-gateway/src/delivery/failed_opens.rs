//! Counts the URLs of push resources that do not open, for each client address, and blocks an address that tries many.
//!
//! Invariant: bounded in memory.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;

use crate::providers::device_key::DeviceKey;
use crate::providers::two_generation_cache::TwoGenerationCache;

/// More failures than this in a window block the client.
const MAX: u32 = 100;
/// The length of the window, and of the block.
const WINDOW: Duration = Duration::from_secs(60);
const CAPACITY: usize = 20_000;

/// The failures of all clients.
pub(crate) struct FailedOpens(Mutex<TwoGenerationCache<Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    /// The time of the first one; of the last one once the client is blocked.
    since: Timestamp,
    number: u32,
}

impl Failures {
    /// How long the window still lasts. A time in the future comes from a clock that was set back since.
    fn rest(self, now: Timestamp) -> Option<Duration> {
        let passed = now.since(self.since);
        (self.since <= now && passed < WINDOW).then(|| WINDOW.saturating_sub(passed))
    }
}

impl Default for FailedOpens {
    fn default() -> Self {
        Self(Mutex::new(TwoGenerationCache::new(CAPACITY)))
    }
}

impl FailedOpens {
    /// Whether a client may try a URL.
    ///
    /// # Errors
    /// How long it is still blocked.
    pub(crate) fn check(&self, client: DeviceKey, now: Timestamp) -> Result<(), Duration> {
        let failures = self.0.lock().find(client).filter(|failures| failures.number > MAX);
        failures.and_then(|failures| failures.rest(now)).map_or(Ok(()), Err)
    }

    /// Counts a URL that does not open.
    pub(crate) fn record(&self, client: DeviceKey, now: Timestamp) {
        let mut clients = self.0.lock();
        let failures = clients.find(client).filter(|failures| failures.rest(now).is_some());
        let mut failures = failures.unwrap_or(Failures { since: now, number: 0 });
        failures.number = failures.number.saturating_add(1);
        if failures.number == MAX + 1 {
            failures.since = now;
        }
        clients.insert(client, failures);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::FailedOpens;
    use crate::providers::device_key::testing::{keys, numbered};

    #[test]
    fn more_than_a_hundred_failures_in_a_minute_block_a_client_for_a_minute() {
        let (failed, keys) = (FailedOpens::default(), keys());
        let (one, other) = (numbered(&keys, 1), numbered(&keys, 2));
        let start = Timestamp::from_millis(1_750_000_000_000);
        let at = |seconds| start.plus(Duration::from_secs(seconds));
        (0..100).for_each(|_| failed.record(one, at(0)));
        assert_eq!(failed.check(one, at(0)), Ok(()));
        failed.record(one, at(30));
        assert_eq!(failed.check(one, at(30)), Err(Duration::from_secs(60)));
        assert_eq!(failed.check(one, at(89)), Err(Duration::from_secs(1)));
        assert_eq!((failed.check(one, at(90)), failed.check(other, at(30))), (Ok(()), Ok(())));
        // The next window has its own count.
        (0..100).for_each(|second| failed.record(one, at(100 + second)));
        assert_eq!(failed.check(one, at(200)), Ok(()));
    }
}
