//! Limits how often an error is logged.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;

/// Allows one log line a minute, so that a wrong key does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<Timestamp>>);

const INTERVAL: Duration = Duration::from_secs(60);

impl LogThrottle {
    /// Whether a line may be logged now; counts it if so.
    pub(crate) fn allow(&self, now: Timestamp) -> bool {
        let mut last = self.0.lock();
        let is_allowed = last.is_none_or(|last| now.since(last) >= INTERVAL);
        if is_allowed {
            *last = Some(now);
        }
        is_allowed
    }
}
