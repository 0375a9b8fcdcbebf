//! Exponential backoff between attempts.
//!
//! Invariant: the delay never decreases from one failure to the next and never exceeds the maximum.

use std::time::Duration;

/// Delays that double from the first to the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Delays from `first` to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The delay after this number of consecutive failures; zero without a failure.
    pub fn after(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3600));
        let minutes =
            [0, 1, 2, 3, 6, 7, 8, 32, 33, 40, u32::MAX].map(|failures| backoff.after(failures).as_secs() / 60);
        assert_eq!(minutes, [0, 1, 2, 4, 32, 60, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn the_maximum_limits_the_first_delay_too() {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(2));
        assert_eq!(backoff.after(1), Duration::from_secs(2));
    }
}
