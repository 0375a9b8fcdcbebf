//! Corrects stored times after the clock was set back: at the start, and when a step is noticed.
//!
//! Invariant: a difference between the clocks of replicas is not taken for a step.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::lease::{mail_lease, onbind_lease, sms_lease};
use crate::error::Error;
use crate::state::{CurrentState, State};
use crate::store::future_times::{self, Horizon};

/// How often the clock is compared with its previous value.
const INTERVAL: Duration = Duration::from_secs(1);
/// The smallest step back that is corrected.
const STEP: Duration = Duration::from_secs(5);
/// How far the clocks of replicas may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Watches the clock until the process ends.
pub async fn run(current: Arc<CurrentState>) {
    let mut previous: Option<Timestamp> = None;
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let state = current.load();
        let now = state.clock.now();
        if previous.is_none_or(|previous| now < previous.minus(STEP)) {
            match correct(&state, now).await {
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

async fn correct(state: &State, now: Timestamp) -> Result<usize, Error> {
    let config = &state.config;
    let horizon = Horizon {
        now,
        skew: SKEW,
        mail_lease: mail_lease(config.email.timeout.get()),
        sms_lease: sms_lease(state.sms_sender.longest()),
        onbind_lease: onbind_lease(config.federation.timeout.get()),
    };
    // Without a transaction: on SQLite the search through all tables would block every writer.
    state.lookup_quota.forget_after(now.plus(SKEW));
    let ahead = state.store.read(async move |conn| future_times::count(conn, &horizon).await).await?;
    if ahead == 0 {
        return Ok(0);
    }
    Ok(state.store.write(async move |conn| future_times::correct(conn, &horizon).await).await?)
}
