//! The rate limit and the permit of one delivery: calls have their own, so that they never wait behind messages.
//!
//! Invariant: a delivery that is not admitted has cost the push service nothing.

use std::time::Instant;

use shared::clock::Timestamp;

use super::state::{Setup, State};
use crate::apps::permits::Permit;
use crate::apps::registry::App;
use crate::notification::Kind;
use crate::providers::device_key::DeviceKey;
use crate::providers::outcome::{Failure, Outcome};

/// What the admission of a delivery depends on.
pub(super) struct Applicant {
    pub(super) kind: Kind,
    /// Whether the notification is a call that rings.
    pub(super) is_ring: bool,
    /// What the push service counts as one device.
    pub(super) limited: DeviceKey,
    pub(super) client: DeviceKey,
    /// Whether the pushkey had a delivery before.
    pub(super) is_proven: bool,
    pub(super) deadline: Instant,
    pub(super) now: Timestamp,
}

/// Charges the limit of the device, and waits for a permit of the app.
///
/// # Errors
/// The outcome of a delivery that is not admitted.
pub(super) async fn admit<'a>(
    app: &'a App,
    state: &State,
    setup: &Setup,
    applicant: Applicant,
) -> Result<Permit<'a>, Outcome> {
    let Applicant { kind, is_ring, limited, client, is_proven, deadline, now } = applicant;
    let is_badge = kind == Kind::Badge;
    let buckets = match (is_ring, is_proven) {
        (true, true) => &state.calls_per_pushkey,
        (true, false) => &state.calls_per_unproven_pushkey,
        (false, true) => &setup.per_pushkey,
        (false, false) => &setup.per_unproven_pushkey,
    };
    if let Err(retry_after) = buckets.charge(|| limited, now) {
        // The next badge update replaces this one, and a call is over before a retry.
        let failure = Failure::rate_limited(retry_after);
        return Err(match (is_ring, is_badge) {
            (true, _) => Outcome::Dropped("call_limit"),
            (false, true) => Outcome::Dropped(failure.reason),
            (false, false) => failure.into(),
        });
    }
    let began = Instant::now();
    let permits = if is_ring { &app.call_permits } else { &app.permits };
    // More calls than the pool of calls takes may use free permits of messages.
    let spare = || is_ring.then(|| app.permits.try_acquire(is_proven)).flatten();
    let permit = match permits.try_acquire(is_proven).or_else(spare) {
        Some(permit) => permit,
        None if is_badge => return Err(Outcome::Dropped(Failure::overloaded().reason)),
        None => {
            let _waiting = app.metrics.waiting();
            let until = deadline.min(began + setup.config.limits.queue_wait.get());
            match tokio::time::timeout_at(until.into(), permits.acquire(client, is_proven)).await {
                Ok(permit) => permit,
                Err(_) => return Err(Failure::overloaded().into()),
            }
        }
    };
    app.metrics.record_queue_time(began.elapsed());
    Ok(permit)
}
