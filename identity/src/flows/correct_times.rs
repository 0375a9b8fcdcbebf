//! Corrects stored times after the clock was set back: at the start, and when a step is noticed.
//!
//! Invariant: a difference between the clocks of replicas is not taken for a step.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::error::Error;
use crate::state::State;
use crate::store::future_times::{self, Horizon};

/// How often the clock is compared with its previous value.
const INTERVAL: Duration = Duration::from_secs(1);
/// The smallest step back that is corrected.
const STEP: Duration = Duration::from_secs(5);
/// How far the clocks of replicas may differ.
const SKEW: Duration = Duration::from_secs(60);
/// Longer than every lease, unless the configuration has a longer time-out.
const LONGEST_LEASE: Duration = Duration::from_secs(15 * 60);
/// The longest backoff, unless the configuration has a longer one.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// Watches the clock until the process ends.
pub async fn run(state: Arc<State>) {
    let mut previous: Option<Timestamp> = None;
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let now = state.clock.now();
        if previous.is_none_or(|previous| now < previous.minus(STEP)) {
            match correct(&state, now, previous.is_some()).await {
                Ok(0) => {}
                Ok(values) => tracing::warn!(values, "the clock was ahead before; times in the future were corrected"),
                Err(error) => tracing::error!(%error, "times in the future could not be corrected"),
            }
            state.mail_queued.notify_one();
            state.onbind_queued.notify_one();
        }
        previous = Some(now);
    }
}

/// A step that this process noticed also makes every queued row due: an early attempt does no harm, and a row does not
/// show whether it waits because of its backoff or of the step.
async fn correct(state: &State, now: Timestamp, is_step: bool) -> Result<usize, Error> {
    let config = &state.config;
    let backoff = LONGEST_BACKOFF.max(config.email.retry_after.get()).max(config.outbox.retry_after.get());
    let horizon = Horizon {
        now,
        event: now.plus(SKEW),
        lease: now.plus(LONGEST_LEASE.max(config.email.timeout.get() * 5)),
        // Jitter makes a backoff longer.
        retry: if is_step { now } else { now.plus(backoff * 2) },
    };
    Ok(state.store.write(async move |conn| future_times::correct(conn, horizon).await).await?)
}
