//! The backoff of both durable queues.
//!
//! Invariant: a backoff doubles up to one hour, or up to the operator's first backoff if that is longer.

use std::time::Duration;

use shared::clock::Timestamp;
use shared::outbound::backoff::Backoff;

/// When a queued row is due, and how long it waits until then. The length shows whether the clock was ahead when the time
/// was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextAttempt {
    pub at: Timestamp,
    pub backoff: Duration,
}

impl NextAttempt {
    /// The attempt after `backoff`.
    pub fn after(now: Timestamp, backoff: Duration) -> Self {
        Self { at: now.plus(backoff), backoff }
    }

    /// The backoff in milliseconds.
    pub fn backoff_millis(&self) -> i64 {
        i64::try_from(self.backoff.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The longest backoff between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(3600);
/// The exclusive upper bound of the jitter of [`onbind_backoff`].
pub const ONBIND_JITTER: u32 = 401;

/// The backoff of a mail after `attempts` deferrals by the relay: `first` (`[email] retry_after`), doubled each time, at
/// most one hour, or `first` if that is longer.
pub fn mail_backoff(first: Duration, attempts: i32) -> Duration {
    backoff(first, attempts)
}

/// The backoff of an onbind notification after `attempts` failures: `first` (`[outbox] retry_after`), doubled each time,
/// at most one hour. `jitter` (below [`ONBIND_JITTER`]) changes it by up to a fifth, so that rows which failed together
/// are not retried together. The homeserver's `retry_after` applies if it is longer, up to one hour.
pub fn onbind_backoff(first: Duration, attempts: i32, jitter: u32, retry_after: Option<Duration>) -> Duration {
    let jittered = backoff(first, attempts).saturating_mul(800 + jitter.min(ONBIND_JITTER - 1)) / 1000;
    jittered.max(retry_after.unwrap_or_default()).min(max_backoff(first))
}

fn backoff(first: Duration, attempts: i32) -> Duration {
    Backoff::new(first, max_backoff(first)).after(u32::try_from(attempts).unwrap_or(0).max(1))
}

fn max_backoff(first: Duration) -> Duration {
    MAX_BACKOFF.max(first)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ONBIND_JITTER, mail_backoff, onbind_backoff};

    #[test]
    fn a_backoff_doubles_up_to_one_hour() {
        let first = Duration::from_secs(60);
        let minutes = |attempts| mail_backoff(first, attempts).as_secs() / 60;
        assert_eq!([1, 2, 3, 6, 7, 500].map(minutes), [1, 2, 4, 32, 60, 60]);
        assert_eq!(mail_backoff(first, -1), first);
        let long = Duration::from_secs(7200);
        assert_eq!([1, 2, 500].map(|attempts| mail_backoff(long, attempts)), [long; 3]);
    }

    #[test]
    fn an_onbind_backoff_doubles_with_jitter_of_a_fifth_up_to_one_hour() {
        let first = Duration::from_secs(1);
        let seconds = |attempts, jitter| onbind_backoff(first, attempts, jitter, None).as_secs_f64();
        for (attempts, middle) in [(1, 1.0), (2, 2.0), (5, 16.0), (12, 2048.0)] {
            let backoffs = [0, 200, ONBIND_JITTER - 1, u32::MAX].map(|jitter| seconds(attempts, jitter) / middle);
            assert!(
                backoffs.iter().zip([0.8, 1.0, 1.2, 1.2]).all(|(a, b)| (a - b).abs() < 1e-6),
                "{attempts}: {backoffs:?}"
            );
        }
        assert_eq!([13, 500].map(|attempts| onbind_backoff(first, attempts, 400, None).as_secs()), [3600; 2]);
        assert_eq!(onbind_backoff(first, 500, 0, None).as_secs(), 2880);
    }

    #[test]
    fn a_longer_retry_after_of_the_homeserver_applies_up_to_one_hour() {
        let backoff =
            |retry_after| onbind_backoff(Duration::from_secs(1), 3, 200, Some(Duration::from_secs(retry_after)));
        assert_eq!([0, 3, 5, 3600, 1 << 40].map(|asked| backoff(asked).as_secs()), [4, 4, 5, 3600, 3600]);
    }
}
