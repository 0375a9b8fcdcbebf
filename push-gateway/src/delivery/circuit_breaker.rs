//! Circuit breaker: stops requests to a failing push service.
//!
//! Invariant: while a circuit is open, one probe at a time checks whether the push service is back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::outbound::backoff::Backoff;

use crate::providers::outcome::{Cause, Certainty, Failure, Outcome, Rejection};

/// Consecutive failures that open a circuit.
const FAILURES: u32 = 10;
/// How long a circuit stays open before the next probe.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// The most circuits: users choose the hosts of some.
const MAX_CIRCUITS: usize = 10_000;
/// A probe without a result after this time is lost.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// The circuits by key: one for each APNs credential and environment, FCM project, Web Push host. A closed circuit without
/// a recent failure has no entry.
#[derive(Debug, Default)]
pub(crate) struct Circuits(Mutex<HashMap<String, State>>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Every attempt passes.
    Closed { failures: u32 },
    /// No attempt passes until then.
    Open { until: Instant, pauses: u32 },
    /// One probe is in flight.
    Probing { lost_at: Instant, pauses: u32 },
}

impl State {
    /// The pause number `pauses` in a row.
    fn open(pauses: u32, now: Instant) -> Self {
        Self::Open { until: now + PAUSE.after(pauses), pauses }
    }
}

/// A change of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    Closed,
}

/// The permission to make one attempt; goes back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The circuit is closed.
    Ordinary,
    /// The attempt checks whether the push service is back.
    Probe,
}

/// Forgets the closed circuits; if all are open, one of them.
fn make_room(circuits: &mut HashMap<String, State>) {
    if circuits.len() < MAX_CIRCUITS {
        return;
    }
    circuits.retain(|_, state| !matches!(state, State::Closed { .. }));
    if circuits.len() >= MAX_CIRCUITS
        && let Some(key) = circuits.keys().next().cloned()
    {
        circuits.remove(&key);
    }
}

impl Circuits {
    /// Asks to make an attempt.
    ///
    /// # Errors
    /// The rest of the pause of an open circuit. After the pause, one caller passes as the probe.
    pub(crate) fn enter(&self, key: &str, now: Instant) -> Result<Pass, Duration> {
        let mut circuits = self.0.lock();
        let Some(state) = circuits.get_mut(key) else { return Ok(Pass::Ordinary) };
        let (until, pauses) = match *state {
            State::Closed { .. } => return Ok(Pass::Ordinary),
            State::Open { until, pauses } => (until, pauses),
            State::Probing { lost_at, pauses } => (lost_at, pauses),
        };
        if now < until {
            return Err(until - now);
        }
        *state = State::Probing { lost_at: now + PROBE_TIMEOUT, pauses };
        Ok(Pass::Probe)
    }

    /// Records the outcome of an attempt; returns the change of the circuit, if it is worth a log line.
    pub(crate) fn record(&self, key: &str, pass: Pass, outcome: &Outcome, now: Instant) -> Option<Change> {
        let mut circuits = self.0.lock();
        match outcome {
            // The push service answered.
            Outcome::Delivered
            | Outcome::Rejected(Rejection { certainty: Certainty::Certain, .. })
            | Outcome::Failed(Failure { cause: Cause::Ours { .. }, .. }) => {
                // Nearly always the circuit has no entry.
                let was_open = matches!(circuits.remove(key), Some(State::Open { .. } | State::Probing { .. }));
                return was_open.then_some(Change::Closed);
            }
            Outcome::Failed(Failure { cause: Cause::Upstream { is_outage: true }, .. }) => {}
            // No evidence: perhaps an answer; perhaps a pause, a missing access token, or an unreadable pushkey.
            Outcome::Dropped(_) | Outcome::Rejected(_) | Outcome::Failed(_) => {
                if let (Some(state), Pass::Probe) = (circuits.get_mut(key), pass)
                    && let State::Probing { pauses, .. } = *state
                {
                    // The next attempt is the probe, at once.
                    *state = State::Open { until: now, pauses };
                }
                return None;
            }
        }
        let state = match circuits.get_mut(key) {
            Some(state) => state,
            None => {
                make_room(&mut circuits);
                circuits.entry(key.to_owned()).or_insert(State::Closed { failures: 0 })
            }
        };
        match (*state, pass) {
            (State::Closed { failures }, _) if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, _) => {
                *state = State::open(1, now);
                return Some(Change::Opened);
            }
            (State::Probing { pauses, .. }, Pass::Probe) => *state = State::open(pauses.saturating_add(1), now),
            // An attempt that began before the circuit opened is no new evidence.
            (State::Open { .. }, _) | (State::Probing { .. }, Pass::Ordinary) => {}
        }
        None
    }

    /// Closes a circuit whose credential or address has changed.
    pub(crate) fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// The keys of the open circuits, for `/ready` and the metrics.
    pub(crate) fn open(&self) -> Vec<String> {
        let circuits = self.0.lock();
        let open = circuits.iter().filter(|(_, state)| !matches!(state, State::Closed { .. }));
        open.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Circuits, Pass};
    use crate::providers::outcome::{Certainty, Failure, Outcome};

    const SECOND: Duration = Duration::from_secs(1);

    fn outage() -> Outcome {
        Failure::outage("timeout", None).into()
    }

    fn fail(circuits: &Circuits, times: u32, now: Instant) {
        for _ in 0..times {
            let pass = circuits.enter("x", now).unwrap();
            circuits.record("x", pass, &outage(), now);
        }
    }

    #[test]
    fn ten_consecutive_failures_open_a_circuit_and_an_answer_in_between_resets_the_count() {
        let now = Instant::now();
        for answer in [
            Outcome::Delivered,
            Outcome::rejected("Unregistered", Certainty::Certain),
            Failure::ours("BadTopic", "check topic").into(),
        ] {
            let circuits = Circuits::default();
            fail(&circuits, 9, now);
            circuits.record("x", Pass::Ordinary, &answer, now);
            fail(&circuits, 9, now);
            assert_eq!(circuits.enter("x", now), Ok(Pass::Ordinary), "{answer:?}");
            fail(&circuits, 1, now);
            assert_eq!(circuits.enter("x", now), Err(SECOND * 5));
            assert_eq!(circuits.enter("y", now), Ok(Pass::Ordinary));
            assert_eq!(circuits.open(), ["x"]);
            circuits.forget("x");
            assert_eq!(circuits.enter("x", now), Ok(Pass::Ordinary));
        }
    }

    #[test]
    fn one_probe_at_a_time_closes_a_circuit_or_doubles_its_pause_up_to_a_minute() {
        let (circuits, mut now) = (Circuits::default(), Instant::now());
        fail(&circuits, 10, now);
        for pause in [5, 10, 20, 40, 60, 60] {
            now += SECOND * pause - Duration::from_millis(1);
            assert!(circuits.enter("x", now).is_err());
            now += Duration::from_millis(1);
            assert_eq!(circuits.enter("x", now), Ok(Pass::Probe), "after {pause} s");
            assert!(circuits.enter("x", now).is_err());
            // An attempt from before the circuit opened changes nothing.
            circuits.record("x", Pass::Ordinary, &outage(), now);
            circuits.record("x", Pass::Probe, &outage(), now);
        }
        now += SECOND * 60;
        assert_eq!(circuits.enter("x", now), Ok(Pass::Probe));
        circuits.record("x", Pass::Probe, &Outcome::Delivered, now);
        assert_eq!(circuits.enter("x", now), Ok(Pass::Ordinary));
        assert!(circuits.open().is_empty());
    }

    #[test]
    fn an_outcome_without_evidence_keeps_the_count_and_the_next_attempt_is_the_probe() {
        let now = Instant::now();
        for outcome in [
            Outcome::Dropped("not_a_call"),
            Outcome::rejected("invalid_token", Certainty::Suspect),
            Failure::upstream("no_token", None).into(),
            Failure::overloaded().into(),
        ] {
            let circuits = Circuits::default();
            for _ in 0..10 {
                fail(&circuits, 1, now);
                circuits.record("x", Pass::Ordinary, &outcome, now);
            }
            let later = now + SECOND * 5;
            assert_eq!(circuits.enter("x", later), Ok(Pass::Probe), "{outcome:?}");
            circuits.record("x", Pass::Probe, &outcome, later);
            assert_eq!(circuits.enter("x", later), Ok(Pass::Probe));
            assert!(circuits.enter("x", later).is_err(), "one probe at a time");
            circuits.record("x", Pass::Probe, &outage(), later);
            assert_eq!(circuits.enter("x", later), Err(SECOND * 10));
            circuits.record("y", Pass::Ordinary, &outcome, now);
            assert_eq!(circuits.open(), ["x"]);
        }
    }

    #[test]
    fn a_probe_without_a_result_is_followed_by_another() {
        let (circuits, now) = (Circuits::default(), Instant::now());
        fail(&circuits, 10, now);
        assert_eq!(circuits.enter("x", now + SECOND * 5), Ok(Pass::Probe));
        assert!(circuits.enter("x", now + SECOND * 34).is_err());
        assert_eq!(circuits.enter("x", now + SECOND * 35), Ok(Pass::Probe));
    }
}
