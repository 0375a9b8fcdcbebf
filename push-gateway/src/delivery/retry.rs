//! Retries one delivery within its request; `delivery/mod.rs` explains all levels of retries.
//!
//! Invariant: an attempt starts only while there is time for it to end; a wait that the push service asks for replaces the
//! configured one.

use std::time::{Duration, Instant};

use shared::random::Random;

use crate::providers::outcome::{Failure, Outcome};

/// An attempt starts only if this much of the request's time is left.
const TIME_FOR_AN_ATTEMPT: Duration = Duration::from_secs(3);

/// Makes at most `waits.len() + 1` attempts; returns the outcome of the last one.
pub(super) async fn with_retries<F: Future<Output = Outcome>>(
    waits: &[Duration],
    deadline: Instant,
    random: Random,
    attempt: impl Fn() -> F,
) -> Outcome {
    let mut waits = waits.iter();
    loop {
        let outcome = attempt().await;
        let Outcome::Failed(failure) = &outcome else { return outcome };
        let Some(wait) = waits.next().and_then(|wait| wait_before_retry(failure, *wait, random)) else {
            return outcome;
        };
        if Instant::now() + wait + TIME_FOR_AN_ATTEMPT > deadline {
            return outcome;
        }
        tokio::time::sleep(wait).await;
    }
}

/// The wait before the next attempt; `None` if no attempt within the request can succeed.
fn wait_before_retry(failure: &Failure, configured: Duration, random: Random) -> Option<Duration> {
    // Jitter between a half and all of the wait separates deliveries that failed together.
    let jittered = || configured.mul_f64(0.5 + f64::from(random.below(1001)) / 2000.0);
    failure.retry_in_request.then(|| failure.retry_after.unwrap_or_else(jittered))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    use shared::random::Random;

    use super::{wait_before_retry, with_retries};
    use crate::providers::outcome::{Failure, Outcome};

    const SECOND: Duration = Duration::from_secs(1);

    /// The number of attempts, and whether the last one delivered.
    async fn attempts(waits: &[Duration], time: Duration, outcome: impl Fn(u32) -> Outcome) -> (u32, bool) {
        let made = Cell::new(0);
        let last = with_retries(waits, Instant::now() + time, Random, || {
            made.set(made.get() + 1);
            std::future::ready(outcome(made.get()))
        })
        .await;
        (made.get(), last == Outcome::Delivered)
    }

    fn outage(retry_after: Option<Duration>) -> Outcome {
        Failure::outage("network", retry_after).into()
    }

    #[tokio::test]
    async fn retries_stop_at_the_first_success_and_after_the_last_wait() {
        let waits = [Duration::from_millis(1); 2];
        let time = SECOND * 25;
        assert_eq!(attempts(&waits, time, |_| Outcome::Delivered).await, (1, true));
        let second = |n| if n == 2 { Outcome::Delivered } else { outage(None) };
        assert_eq!(attempts(&waits, time, second).await, (2, true));
        assert_eq!(attempts(&waits, time, |_| outage(None)).await, (3, false));
    }

    #[tokio::test]
    async fn no_attempt_starts_without_time_to_end_or_a_chance_to_succeed() {
        let waits = [Duration::from_millis(1); 2];
        assert_eq!(attempts(&waits, SECOND * 3, |_| outage(None)).await, (1, false));
        assert_eq!(attempts(&waits, SECOND * 25, |_| outage(Some(SECOND * 60))).await, (1, false));
        for failure in [
            Failure::upstream("circuit_open", Some(SECOND)),
            Failure::upstream("no_time", None),
            Failure::ours("BadTopic", "check topic"),
            Failure::pause("QUOTA_EXCEEDED", SECOND * 11),
        ] {
            let outcome = Outcome::from(failure);
            assert_eq!(attempts(&waits, SECOND * 25, |_| outcome.clone()).await, (1, false), "{outcome:?}");
        }
    }

    #[test]
    fn a_wait_of_the_push_service_replaces_the_configured_one_which_has_jitter() {
        let wait = |failure: Failure| wait_before_retry(&failure, SECOND, Random);
        assert_eq!(wait(Failure::outage("network", Some(SECOND * 7))), Some(SECOND * 7));
        assert_eq!(wait(Failure::pause("QUOTA_EXCEEDED", SECOND * 10)), Some(SECOND * 10));
        assert_eq!(wait(Failure::pause("QUOTA_EXCEEDED", SECOND * 11)), None);
        let waits: Vec<_> = (0..200).filter_map(|_| wait(Failure::outage("network", None))).collect();
        assert!(waits.iter().all(|wait| (SECOND / 2..=SECOND).contains(wait)));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
