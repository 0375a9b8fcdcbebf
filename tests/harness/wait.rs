//! Waiting for something to become true.
//!
//! Invariant: every wait has a deadline, and a missed deadline says what was waited for.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within `deadline`; the message names `what`.
pub async fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, async || condition().then_some(())).await;
}

/// Waits until `attempt` gives something, and gives that.
///
/// # Panics
/// If it does not within `deadline`, also when an attempt itself hangs; the message names `what`.
pub async fn wait_for<T>(what: &str, deadline: Duration, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let found = tokio::time::timeout(deadline, async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
    match found.await {
        Ok(value) => value,
        Err(_) => panic!("waited {:?} without success for {what}", start.elapsed()),
    }
}

#[cfg(test)]
mod tests {
    use super::{wait_for, wait_until};
    use std::time::Duration;

    #[tokio::test]
    async fn it_returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let third = wait_for("the third look", Duration::from_secs(10), async || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "without success for the impossible")]
    async fn it_gives_up_at_the_deadline() {
        wait_until("the impossible", Duration::from_millis(20), || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "without success for an answer")]
    async fn an_attempt_that_hangs_does_not_outlive_the_deadline() {
        wait_for::<()>("an answer", Duration::from_millis(20), async || std::future::pending().await).await;
    }
}
