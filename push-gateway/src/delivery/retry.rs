//! When one delivery is attempted again within its request.
//!
//! Invariant: a new attempt begins only while there is time for it to end; what the provider says about waiting goes
//! before what we would do.

use std::time::{Duration, Instant};

use shared::random::Random;

use crate::providers::{Outcome, ProviderError};

/// A new attempt begins only if this much of the request's time is left.
const TIME_FOR_AN_ATTEMPT: Duration = Duration::from_secs(3);
/// The longest wait that is worth sitting out when the provider says "too many requests".
const LONGEST_QUOTA_WAIT: Duration = Duration::from_secs(10);

/// Why one attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttemptError {
    /// What the provider, or the way to it, said.
    Provider(ProviderError),
    /// The provider is taken for down; nothing was sent.
    CircuitOpen {
        /// Until it is worth asking again.
        retry_after: Duration,
    },
}

/// Attempts a delivery at most `waits.len() + 1` times; each wait is shortened at random to between half and all of it.
///
/// # Errors
/// The last attempt's.
pub(crate) async fn attempts<F>(
    waits: &[Duration],
    deadline: Instant,
    random: Random,
    attempt: impl Fn() -> F,
) -> Result<Outcome, AttemptError>
where
    F: Future<Output = Result<Outcome, AttemptError>>,
{
    let mut waits = waits.iter();
    loop {
        let error = match attempt().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let Some(own_wait) = waits.next() else { return Err(error) };
        let Some(wait) = wait_for(&error, *own_wait, random) else { return Err(error) };
        if Instant::now() + wait + TIME_FOR_AN_ATTEMPT > deadline {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
}

/// How long to wait before the next attempt, if there should be one.
fn wait_for(error: &AttemptError, own_wait: Duration, random: Random) -> Option<Duration> {
    let AttemptError::Provider(error) = error else { return None };
    match error {
        ProviderError::Permanent { .. } => None,
        ProviderError::Temporary { again: true, retry_after: Some(wait), .. } => Some(*wait),
        ProviderError::Temporary { again: true, retry_after: None, .. } => {
            // Between a half and all of it, so that what failed together does not come back together.
            Some(own_wait.mul_f64(0.5 + f64::from(random.below(1001)) / 2000.0))
        }
        ProviderError::Temporary { again: false, retry_after, .. } => {
            retry_after.filter(|wait| *wait <= LONGEST_QUOTA_WAIT)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    use shared::random::Random;

    use super::{AttemptError, attempts, wait_for};
    use crate::providers::{Outcome, ProviderError};

    const SECOND: Duration = Duration::from_secs(1);

    fn temporary(again: bool, retry_after: Option<Duration>) -> AttemptError {
        AttemptError::Provider(ProviderError::Temporary { reason: "network", retry_after, again, is_outage: true })
    }

    async fn count(
        waits: &[Duration],
        time: Duration,
        answer: impl Fn(u32) -> Result<Outcome, AttemptError>,
    ) -> (u32, bool) {
        let made = Cell::new(0);
        let result = attempts(waits, Instant::now() + time, Random, || {
            made.set(made.get() + 1);
            std::future::ready(answer(made.get()))
        })
        .await;
        (made.get(), result.is_ok())
    }

    #[tokio::test]
    async fn it_stops_at_the_first_success_and_after_the_last_wait() {
        let waits = [Duration::from_millis(1); 2];
        let time = Duration::from_secs(25);
        assert_eq!(count(&waits, time, |_| Ok(Outcome::Delivered)).await, (1, true));
        let second = |n| if n == 2 { Ok(Outcome::Delivered) } else { Err(temporary(true, None)) };
        assert_eq!(count(&waits, time, second).await, (2, true));
        assert_eq!(count(&waits, time, |_| Err(temporary(true, None))).await, (3, false));
    }

    #[tokio::test]
    async fn no_attempt_begins_that_has_no_time_to_end_or_no_hope() {
        let waits = [Duration::from_millis(1); 2];
        assert_eq!(count(&waits, SECOND * 3, |_| Err(temporary(true, None))).await, (1, false));
        let later = Some(Duration::from_secs(60));
        assert_eq!(count(&waits, SECOND * 25, |_| Err(temporary(true, later))).await, (1, false));
        assert_eq!(count(&waits, SECOND * 25, |_| Err(temporary(false, None))).await, (1, false));
        let wrong_key = || ProviderError::Permanent { reason: "key", detail: String::new() };
        assert_eq!(count(&waits, SECOND * 25, |_| Err(AttemptError::Provider(wrong_key()))).await, (1, false));
        let open = AttemptError::CircuitOpen { retry_after: SECOND };
        assert_eq!(count(&waits, SECOND * 25, |_| Err(open.clone())).await, (1, false));
    }

    #[test]
    fn the_providers_word_replaces_our_wait_and_ours_is_shortened_at_random() {
        assert_eq!(wait_for(&temporary(true, Some(SECOND * 7)), SECOND, Random), Some(SECOND * 7));
        assert_eq!(wait_for(&temporary(false, Some(SECOND * 10)), SECOND, Random), Some(SECOND * 10));
        assert_eq!(wait_for(&temporary(false, Some(SECOND * 11)), SECOND, Random), None);
        let waits: Vec<_> = (0..200).filter_map(|_| wait_for(&temporary(true, None), SECOND, Random)).collect();
        assert!(waits.iter().all(|wait| (SECOND / 2..=SECOND).contains(wait)));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
