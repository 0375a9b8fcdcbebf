//! A pause that a push service asks for.
//!
//! Invariant: a clock that is set back prolongs no pause.

use std::time::Duration;

use shared::clock::Timestamp;

/// A pause, from its beginning to its end.
#[derive(Clone, Copy)]
pub(crate) struct Pause {
    end: Timestamp,
    length: Duration,
}

impl Pause {
    pub(crate) fn new(now: Timestamp, length: Duration) -> Self {
        Self { end: now.plus(length), length }
    }

    pub(crate) fn end(self) -> Timestamp {
        self.end
    }

    /// The rest; zero after the end.
    pub(crate) fn rest(self, now: Timestamp) -> Duration {
        let rest = self.end.since(now);
        if rest <= self.length { rest } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::Pause;

    #[test]
    fn a_pause_ends_with_time_or_when_the_clock_is_set_back() {
        let (start, second) = (Timestamp::from_millis(1_750_000_000_000), Duration::from_secs(1));
        let pause = Pause::new(start, second * 30);
        assert_eq!(pause.rest(start), second * 30);
        assert_eq!(pause.rest(start.plus(second * 10)), second * 20);
        assert_eq!(pause.rest(start.plus(second * 31)), Duration::ZERO);
        assert_eq!(pause.rest(start.minus(second)), Duration::ZERO);
    }
}
