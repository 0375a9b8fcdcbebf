//! Sends onbind notifications to homeservers until each has accepted the invitations of a bound address.
//!
//! Invariant: an association has one worker at a time across all processes, and a slow homeserver delays no other one.

mod attempt;

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;
use tokio::sync::Notify;

use self::attempt::{Rejection, attempt};
use crate::domain::backoff::{NextAttempt, ONBIND_JITTER, onbind_backoff};
use crate::domain::homeserver_group::homeserver_group;
use crate::domain::lease::onbind_lease;
use crate::error::Error;
use crate::queue_worker::{self, Attempt, Description, End, Queue};
use crate::state::{CurrentState, State};
use crate::store::onbinds::outbox::{self, LeasedOnbind};
use crate::store::{Busy, Connection, QueueHead, StoreError};

/// Works on the outbox until the process is draining.
pub async fn run(current: Arc<CurrentState>) {
    // The metric exists before the first dead letter.
    metrics::counter!("identity_outbox_dead_total").absolute(0);
    queue_worker::run::<Outbox>(current).await;
}

/// How long the homeserver of a former user is notified. No invitation depends on it, and the address itself has
/// received a mail, so it leaves no dead letter.
const FORMER_MAX_AGE: Duration = Duration::from_secs(86_400);

struct Outbox;

impl Queue for Outbox {
    type Row = LeasedOnbind;
    type Report = Vec<Rejection>;

    const NAME: &'static str = "outbox";
    /// Each attempt is one connection that waits.
    const MAX_CONCURRENT: usize = 64;
    const MAX_PER_DESTINATION: usize = 4;
    const MAX_PER_GROUP: usize = 16;

    fn queued(state: &State) -> &Notify {
        &state.onbind_queued
    }

    fn lease(state: &State) -> Duration {
        onbind_lease(state.config.federation.timeout.get())
    }

    async fn take_due(
        state: &State,
        now: Timestamp,
        leased_until: Timestamp,
        busy: Busy,
    ) -> Result<QueueHead<LeasedOnbind>, StoreError> {
        state.store.write(async move |conn| outbox::take_due(conn, now, leased_until, &busy).await).await
    }

    fn describe(state: &State, onbind: &LeasedOnbind) -> Description {
        Description {
            id: onbind.id.clone(),
            destination: onbind.server().as_str().to_owned(),
            group: homeserver_group(onbind.server()),
            attempts: onbind.attempts,
            expires_at: onbind.created_at.plus(match onbind.former {
                None => state.config.outbox.max_age.get(),
                Some(_) => state.config.outbox.max_age.get().min(FORMER_MAX_AGE),
            }),
        }
    }

    async fn attempt(state: &State, onbind: &mut LeasedOnbind) -> Result<(Attempt, Vec<Rejection>), Error> {
        attempt(state, onbind).await
    }

    fn backoff(state: &State, attempts: i32, retry_after: Option<Duration>) -> Duration {
        onbind_backoff(state.config.outbox.retry_after.get(), attempts, state.random.below(ONBIND_JITTER), retry_after)
    }

    async fn save(state: &State, onbind: LeasedOnbind, end: End, rejected: Vec<Rejection>) -> Result<(), Error> {
        let now = state.clock.now();
        let rejected: Vec<_> = rejected.into_iter().map(|rejection| (rejection, state.random.base62(24))).collect();
        let leased = onbind.clone();
        let dead = state.store.write(async move |conn| save(conn, &leased, &end, &rejected, now).await).await?;
        if dead > 0 {
            let server = onbind.server();
            tracing::warn!(id = onbind.id, %server, dead, "onbind became a dead letter: see `identity outbox list`");
            metrics::counter!("identity_outbox_dead_total").increment(dead);
        }
        Ok(())
    }
}

/// Saves the result of an attempt; each rejected invitation becomes a dead letter with its own id. Returns the number of
/// new dead letters.
async fn save(
    conn: &mut Connection,
    onbind: &LeasedOnbind,
    end: &End,
    rejected: &[(Rejection, String)],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let at_once = NextAttempt::after(now, Duration::ZERO);
    let mut dead = 0;
    for (Rejection { invite, failure }, dead_id) in rejected {
        dead += u64::from(outbox::mark_invite_dead(conn, &onbind.id, invite, dead_id, now, failure).await?);
    }
    match end {
        End::Done => {
            if !outbox::delete_done(conn, onbind, now).await? {
                // Invitations that arrived during the attempt start without failed attempts.
                outbox::save_attempt(conn, onbind, 0, at_once, None).await?;
            }
        }
        End::Retry { attempts, next, failure } => {
            outbox::save_attempt(conn, onbind, *attempts, *next, failure.as_deref()).await?;
        }
        End::Dead { .. } if onbind.former.is_some() => {
            outbox::delete_done(conn, onbind, now).await?;
        }
        End::Dead { failure } => {
            if outbox::mark_dead(conn, onbind, now, failure).await? {
                dead += 1;
            } else {
                // A new bind of the address, or the operator, has reset its age during the attempt.
                outbox::save_attempt(conn, onbind, 0, at_once, Some(failure)).await?;
            }
        }
    }
    Ok(dead)
}
