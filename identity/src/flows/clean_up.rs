//! Once an hour, what is of no use to anybody is forgotten.
//!
//! Invariant: nothing is removed that an answer could still depend on: a session stays a day after it expired, so that
//! its client hears "expired" and not "unknown".

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::limits::sms_day;
use crate::state::State;
use crate::store::{ephemeral_keys, invites, rate_limits, sessions, tokens};

const ROUND: Duration = Duration::from_secs(3600);
const KEEP_EXPIRED: Duration = Duration::from_secs(24 * 3600);

/// Cleans up for as long as the process lives.
pub async fn run(state: Arc<State>) {
    let mut round = tokio::time::interval(ROUND);
    loop {
        round.tick().await;
        if let Err(error) = clean_up(&state).await {
            tracing::error!(%error, "cleaning up failed; the next round tries again");
        }
    }
}

async fn clean_up(state: &State) -> Result<(), Error> {
    let now = state.clock.now();
    let old_session = now.minus(state.config.sessions.lifetime.get() + KEEP_EXPIRED);
    let idle_token = now.minus(state.config.auth.token_idle.get());
    let old_invite = now.minus(KEEP_EXPIRED);
    let (sessions, tokens, invites) = state
        .store
        .write(async move |conn| {
            let sessions = sessions::delete_older(conn, old_session).await?;
            let tokens = tokens::delete_idle(conn, idle_token).await?;
            let invites = invites::delete_expired(conn, old_invite).await?;
            // One that expired is as valid as one that is unknown.
            ephemeral_keys::delete_expired(conn, old_invite).await?;
            rate_limits::delete_full(conn, now).await?;
            sms_day::forget(conn, now).await?;
            Ok((sessions, tokens, invites))
        })
        .await?;
    tracing::debug!(sessions, tokens, invites, "cleaned up");
    Ok(())
}
