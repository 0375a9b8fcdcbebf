//! A pause that a push service asks for.
//!
//! Invariant: a clock that is set back prolongs no pause.

use std::time::Duration;

use shared::clock::Timestamp;
use shared::outbound::backoff::Backoff;

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

/// How long others wait for the push that tries a service again.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(1);

/// A push that tries a service and has no result after this time is lost.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// A pause of a whole service, which one push ends; each in a row is longer.
#[derive(Default)]
pub(crate) struct ProbedPause {
    pause: Option<Pause>,
    /// Pauses in a row.
    pauses: u32,
    probe: Option<Timestamp>,
}

impl ProbedPause {
    /// Asks to send a push. After a pause, one push passes as the probe.
    ///
    /// # Errors
    /// The rest of the pause.
    pub(crate) fn enter(&mut self, now: Timestamp) -> Result<(), Duration> {
        let Some(pause) = self.pause else { return Ok(()) };
        let rest = pause.rest(now);
        if !rest.is_zero() {
            return Err(rest);
        }
        if self.probe.is_some_and(|since| since <= now && now.since(since) < PROBE_TIMEOUT) {
            return Err(PROBE_WAIT);
        }
        self.probe = Some(now);
        Ok(())
    }

    /// Begins the next pause.
    pub(crate) fn begin(&mut self, now: Timestamp, lengths: Backoff) {
        self.pauses = self.pauses.saturating_add(1);
        self.pause = Some(Pause::new(now, lengths.after(self.pauses)));
        self.probe = None;
    }

    /// The rest; zero after the end.
    pub(crate) fn rest(&self, now: Timestamp) -> Duration {
        self.pause.map_or(Duration::ZERO, |pause| pause.rest(now))
    }

    pub(crate) fn is_running(&self, now: Timestamp) -> bool {
        !self.rest(now).is_zero()
    }

    /// Whether a push tries the service.
    pub(crate) fn has_probe(&self) -> bool {
        self.probe.is_some()
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
