//! Spares a provider that is down, and our callers the wait for it.
//!
//! Invariant: while a circuit is open, one probe at a time finds out whether the provider is back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open a circuit.
const FAILURES: u32 = 10;
/// How long it stays open at first; doubled each time the probe fails.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest that it stays open without a probe.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A probe that has not come back by then was lost.
const PROBE_TIME: Duration = Duration::from_secs(30);

/// The circuits by name: one for each APNs credential and environment, FCM project, Web Push host. One that is closed
/// and had no failure lately does not exist.
#[derive(Debug, Default)]
pub(crate) struct Circuits(Mutex<HashMap<String, State>>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Everything passes; so many failures in a row.
    Closed { failures: u32 },
    /// Nothing passes until then.
    Open { until: Instant, pause: Duration },
    /// One probe is out.
    Probing { lost_at: Instant, pause: Duration },
}

/// Leave to make one attempt, to be handed back with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// One among many.
    Ordinary,
    /// The one that finds out whether the provider is back.
    Probe,
}

/// What an attempt says of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It is there.
    Up,
    /// A network error, a time-out or a 5xx.
    Down,
    /// Nothing: perhaps it was not even asked.
    Nothing,
}

/// The circuit is open: nothing is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Until it is worth asking again.
    pub(crate) retry_after: Duration,
}

impl Circuits {
    /// Asks for leave to send.
    ///
    /// # Errors
    /// [`Open`] if the provider is taken for down. When the pause is over, one caller gets through as the probe.
    pub(crate) fn enter(&self, name: &str, now: Instant) -> Result<Pass, Open> {
        let mut circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = circuits.get_mut(name) else { return Ok(Pass::Ordinary) };
        let (until, pause) = match *state {
            State::Closed { .. } => return Ok(Pass::Ordinary),
            State::Open { until, pause } => (until, pause),
            State::Probing { lost_at, pause } => (lost_at, pause),
        };
        if now < until {
            return Err(Open { retry_after: until - now });
        }
        *state = State::Probing { lost_at: now + PROBE_TIME, pause };
        Ok(Pass::Probe)
    }

    /// Tells what came of an attempt.
    pub(crate) fn note(&self, name: &str, pass: Pass, sign: Sign, now: Instant) {
        let mut circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sign {
            Sign::Up => {
                // Nearly always there is nothing to remove; the provider is up, whoever found out.
                circuits.remove(name);
                return;
            }
            Sign::Nothing => {
                if let (Some(state), Pass::Probe) = (circuits.get_mut(name), pass)
                    && let State::Probing { pause, .. } = *state
                {
                    // The next one is the probe, at once.
                    *state = State::Open { until: now, pause };
                }
                return;
            }
            Sign::Down => {}
        }
        let state = match circuits.get_mut(name) {
            Some(state) => state,
            None => circuits.entry(name.to_owned()).or_insert(State::Closed { failures: 0 }),
        };
        match (*state, pass) {
            (State::Closed { failures }, _) if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, _) => *state = State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE },
            (State::Probing { pause, .. }, Pass::Probe) => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                *state = State::Open { until: now + pause, pause };
            }
            // An attempt that began before the circuit opened says nothing new.
            (State::Open { .. }, _) | (State::Probing { .. }, Pass::Ordinary) => {}
        }
    }

    /// Closes a circuit whose credential or address is another one now.
    pub(crate) fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The names of the circuits that are open, for `/ready` and the metrics.
    pub(crate) fn open(&self) -> Vec<String> {
        let circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = circuits.iter().filter(|(_, state)| !matches!(state, State::Closed { .. }));
        open.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Circuits, Open, Pass, Sign};

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(circuits: &Circuits, times: u32, now: Instant) {
        for _ in 0..times {
            let pass = circuits.enter("x", now).unwrap();
            circuits.note("x", pass, Sign::Down, now);
        }
    }

    #[test]
    fn ten_failures_in_a_row_open_it_and_one_success_in_between_does_not_let_it_come_to_that() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        fail(&circuits, 9, now);
        circuits.note("x", Pass::Ordinary, Sign::Up, now);
        fail(&circuits, 9, now);
        assert_eq!(circuits.enter("x", now), Ok(Pass::Ordinary));
        fail(&circuits, 1, now);
        assert_eq!(circuits.enter("x", now), Err(Open { retry_after: SECOND * 5 }));
        assert_eq!(circuits.enter("y", now), Ok(Pass::Ordinary));
        assert_eq!(circuits.open(), ["x"]);
        circuits.forget("x");
        assert_eq!(circuits.enter("x", now), Ok(Pass::Ordinary));
    }

    #[test]
    fn one_probe_at_a_time_closes_it_or_doubles_its_pause_up_to_a_minute() {
        let (circuits, mut now) = (Circuits::default(), Instant::now());
        fail(&circuits, 10, now);
        for pause in [5, 10, 20, 40, 60, 60] {
            now += SECOND * pause - Duration::from_millis(1);
            assert!(circuits.enter("x", now).is_err());
            now += Duration::from_millis(1);
            assert_eq!(circuits.enter("x", now), Ok(Pass::Probe), "after {pause} s");
            assert!(circuits.enter("x", now).is_err());
            // What began before it opened changes nothing.
            circuits.note("x", Pass::Ordinary, Sign::Down, now);
            circuits.note("x", Pass::Probe, Sign::Down, now);
        }
        now += SECOND * 60;
        assert_eq!(circuits.enter("x", now), Ok(Pass::Probe));
        circuits.note("x", Pass::Probe, Sign::Up, now);
        assert_eq!(circuits.enter("x", now), Ok(Pass::Ordinary));
        assert!(circuits.open().is_empty());
    }

    #[test]
    fn who_asked_nobody_neither_closes_it_nor_keeps_it_from_opening_and_the_next_one_is_the_probe() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        for _ in 0..10 {
            fail(&circuits, 1, now);
            circuits.note("x", Pass::Ordinary, Sign::Nothing, now);
        }
        let later = now + SECOND * 5;
        assert_eq!(circuits.enter("x", later), Ok(Pass::Probe));
        circuits.note("x", Pass::Probe, Sign::Nothing, later);
        assert_eq!(circuits.enter("x", later), Ok(Pass::Probe));
        assert!(circuits.enter("x", later).is_err(), "one probe at a time");
        circuits.note("x", Pass::Probe, Sign::Down, later);
        assert_eq!(circuits.enter("x", later), Err(Open { retry_after: SECOND * 10 }));
        circuits.note("y", Pass::Ordinary, Sign::Nothing, now);
        assert_eq!(circuits.open(), ["x"]);
    }

    #[test]
    fn a_probe_that_never_comes_back_is_followed_by_another() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        fail(&circuits, 10, now);
        assert_eq!(circuits.enter("x", now + SECOND * 5), Ok(Pass::Probe));
        assert!(circuits.enter("x", now + SECOND * 34).is_err());
        assert_eq!(circuits.enter("x", now + SECOND * 35), Ok(Pass::Probe));
    }
}
