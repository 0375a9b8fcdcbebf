//! Mails that the relay had put off are tried again, until it takes them, refuses them, or their session is over.
//!
//! Invariant: a mail has one sender at a time, also with several processes on one database, and survives each of them.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::retry::mail_pause;
use crate::error::Error;
use crate::notify::SendError;
use crate::notify::message::OutgoingMail;
use crate::state::State;
use crate::store::outgoing_mails::{self, QueuedMail};

/// How often the queue is looked at when nobody rings.
const ROUND: Duration = Duration::from_secs(15);

/// Works on the queue for as long as the process lives.
pub async fn run(state: Arc<State>) {
    loop {
        loop {
            match send_one(&state).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "the mail queue could not be worked on");
                    break;
                }
            }
        }
        // A ring or the end of the round, whichever comes first: which one it was does not matter.
        let _ = tokio::time::timeout(ROUND, state.mail_queued.notified()).await;
    }
}

/// Tries the mail whose turn it is; false if there is none.
async fn send_one(state: &State) -> Result<bool, Error> {
    let now = state.clock.now();
    let lease = now.plus(state.config.email.timeout.get() * 3 + Duration::from_secs(30));
    let due = state.store.write(async move |conn| outgoing_mails::take_due(conn, now, lease).await).await?;
    let Some(queued) = due else { return Ok(false) };
    if queued.expires_at <= now.as_millis() {
        tracing::warn!(attempts = queued.attempts, "a mail was given up: its session is over");
        return forget(state, queued.id).await;
    }
    let bytes = state.keys.sealing().open(&queued.sealed_mail, queued.id.as_bytes())?;
    let mail = OutgoingMail::from_bytes(&bytes).map_err(|error| Error::Internal(error.to_string()))?;
    match state.mailer.send(&mail).await {
        Ok(()) => forget(state, queued.id).await,
        Err(SendError::TryLater { .. }) => try_again(state, queued, now).await,
        Err(error @ (SendError::Disabled | SendError::Refused(_) | SendError::ImpossibleAddress)) => {
            tracing::warn!(%error, attempts = queued.attempts, "a queued mail was refused for good");
            forget(state, queued.id).await
        }
    }
}

async fn forget(state: &State, id: String) -> Result<bool, Error> {
    state.store.write(async move |conn| outgoing_mails::delete(conn, &id).await).await?;
    Ok(true)
}

async fn try_again(state: &State, queued: QueuedMail, now: Timestamp) -> Result<bool, Error> {
    let attempts = queued.attempts.saturating_add(1);
    let next = now.plus(mail_pause(attempts));
    let id = queued.id;
    state.store.write(async move |conn| outgoing_mails::save_attempt(conn, &id, attempts, next).await).await?;
    Ok(true)
}
