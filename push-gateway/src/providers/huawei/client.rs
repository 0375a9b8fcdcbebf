//! The connections for the messages of one app, and its pause after a 503.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Clock;
use shared::outbound::backoff::Backoff;

use crate::providers::pause::ProbedPause;
use crate::providers::transport::Service;

/// Push Kit in the log.
pub(super) const SERVICE: Service = Service { name: "Huawei Push Kit", advice: "base_url, [outbound] proxy" };

/// The pauses of an app whose rate is too high.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

/// The pause of an app.
pub(super) struct AppPause {
    clock: Clock,
    state: Mutex<ProbedPause>,
}

impl AppPause {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Asks to send a message. After a pause, one message passes as the probe.
    ///
    /// # Errors
    /// The rest of the pause.
    pub(super) fn enter(&self) -> Result<(), Duration> {
        self.state.lock().enter(self.clock.now())
    }

    /// Begins or prolongs the pause; returns its rest.
    pub(super) fn refused(&self) -> Duration {
        let now = self.clock.now();
        let mut state = self.state.lock();
        // The answers to messages that were sent together count as one.
        if !state.is_running(now) {
            state.begin(now, PAUSE);
        }
        state.rest(now)
    }

    /// Records any other answer: the app may send again.
    pub(super) fn answered(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if !state.is_running(now) {
            *state = ProbedPause::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::AppPause;

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_ends_with_an_answer() {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        let pause = AppPause::new(clock.clone());
        let second = Duration::from_secs(1);
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!((pause.enter(), pause.refused()), (Ok(()), second * expected));
            assert_eq!(pause.refused(), second * expected, "of the same burst");
            pause.answered();
            assert_eq!(pause.enter(), Err(second * expected));
            clock.advance(second * expected);
        }
        assert_eq!(pause.enter(), Ok(()), "the probe");
        assert_eq!(pause.enter(), Err(second));
        pause.answered();
        assert_eq!((pause.enter(), pause.enter()), (Ok(()), Ok(())));
        assert_eq!(pause.refused(), second * 2);
    }
}
