//! Deletes expired rows once an hour.
//!
//! Invariant: no response depends on a deleted row. A session is kept for a day after its expiry, so that its client
//! receives "expired" instead of "unknown".

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::limits::sms_day;
use crate::state::State;
use crate::store::{ephemeral_keys, invites, rate_limits, sessions, tokens};

const INTERVAL: Duration = Duration::from_secs(3600);
const KEEP_EXPIRED: Duration = Duration::from_secs(24 * 3600);

/// Cleans up until the process ends.
pub async fn run(state: Arc<State>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = clean_up(&state).await {
            tracing::error!(%error, "clean-up failed; the next one is in an hour");
        }
    }
}

async fn clean_up(state: &State) -> Result<(), Error> {
    let now = state.clock.now();
    let old_session = now.minus(state.config.sessions.lifetime.get() + KEEP_EXPIRED);
    let idle_token = now.minus(state.config.auth.token_idle.get());
    let old_invite = now.minus(KEEP_EXPIRED);
    let deleted = state.store.write(async move |conn| {
        let sessions = sessions::delete_older(conn, old_session).await?;
        let tokens = tokens::delete_idle(conn, idle_token).await?;
        let invites = invites::delete_expired(conn, old_invite).await?;
        // An expired key and an unknown one get the same response.
        ephemeral_keys::delete_expired(conn, old_invite).await?;
        rate_limits::delete_full(conn, now).await?;
        sms_day::delete_past(conn, now).await?;
        Ok::<_, Error>((sessions, tokens, invites))
    });
    let (sessions, tokens, invites) = deleted.await?;
    tracing::debug!(sessions, tokens, invites, "expired rows deleted");
    Ok(())
}
