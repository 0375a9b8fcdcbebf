//! Mails that the relay had put off are tried again, until it takes them, refuses them, or their time is over.
//!
//! Invariant: a mail has one sender at a time, also with several processes on one database, and survives each of them.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;
use shared::http::observe::InFlight;

use crate::domain::retry::mail_pause;
use crate::error::Error;
use crate::notify::email::message::OutgoingMail;
use crate::notify::email::{Refusal, SendError};
use crate::state::State;
use crate::store::outgoing_mails::{self, QueuedMail};

/// How often the queue is looked at when nobody rings; more often if pauses are shorter.
const ROUND: Duration = Duration::from_secs(15);

/// Works on the queue until the process is told to stop, which waits for the mail that is being sent.
pub async fn run(state: Arc<State>) {
    let round = state.config.email.retry_after.get().min(ROUND);
    loop {
        loop {
            let _in_flight = InFlight::enter(&state.activity);
            if state.activity.is_draining() {
                return;
            }
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
        let _ = tokio::time::timeout(round, state.mail_queued.notified()).await;
    }
}

/// Tries the mail whose turn it is; false if there is none.
async fn send_one(state: &State) -> Result<bool, Error> {
    let now = state.clock.now();
    let lease = now.plus(state.config.email.timeout.get() * 3 + Duration::from_secs(30));
    let due = state.store.write(async move |conn| outgoing_mails::take_due(conn, now, lease).await).await?;
    let Some(queued) = due else { return Ok(false) };
    if queued.expires_at <= now.as_millis() {
        tracing::warn!(attempts = queued.attempts, "a mail was given up: its time is over");
        return forget(state, queued.id).await;
    }
    let bytes = state.keys.read().sealing().open(&queued.sealed_mail, queued.id.as_bytes())?;
    let mail = OutgoingMail::from_bytes(&bytes).map_err(|error| Error::Internal(error.to_string()))?;
    match state.mailer.send(&mail).await {
        Ok(()) => forget(state, queued.id).await,
        Err(SendError::TryLater { .. }) => try_again(state, queued, now).await,
        Err(error) if is_final(&error) => {
            tracing::warn!(%error, attempts = queued.attempts, "a queued mail was refused for good");
            forget(state, queued.id).await
        }
        Err(error) => {
            tracing::error!(%error, attempts = queued.attempts, "mail cannot be sent; a queued one stays in the queue");
            try_again(state, queued, now).await
        }
    }
}

/// Whether the refusal is about this mail. The client was told that it is on its way, so a relay that is down or refuses
/// everybody is no reason to drop it.
fn is_final(error: &SendError) -> bool {
    match error {
        SendError::Disabled | SendError::ImpossibleAddress | SendError::Refused(Refusal::Reply(_)) => true,
        SendError::TryLater { .. }
        | SendError::Refused(Refusal::Connect(_) | Refusal::Login(_) | Refusal::Broken | Refusal::File(_)) => false,
    }
}

async fn forget(state: &State, id: String) -> Result<bool, Error> {
    state.store.write(async move |conn| outgoing_mails::delete(conn, &id).await).await?;
    Ok(true)
}

async fn try_again(state: &State, queued: QueuedMail, now: Timestamp) -> Result<bool, Error> {
    let attempts = queued.attempts.saturating_add(1);
    let next = now.plus(mail_pause(state.config.email.retry_after.get(), attempts));
    let id = queued.id;
    state.store.write(async move |conn| outgoing_mails::save_attempt(conn, &id, attempts, next).await).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{Refusal, SendError, is_final};

    #[test]
    fn a_queued_mail_is_dropped_only_for_a_refusal_of_itself() {
        for (error, dropped) in [
            (SendError::Refused(Refusal::Reply(550)), true),
            (SendError::ImpossibleAddress, true),
            (SendError::Disabled, true),
            (SendError::TryLater { code: Some(450) }, false),
            (SendError::Refused(Refusal::Connect("timed out".into())), false),
            (SendError::Refused(Refusal::Login(Some(535))), false),
            (SendError::Refused(Refusal::Broken), false),
        ] {
            assert_eq!(is_final(&error), dropped, "{error}");
        }
    }
}
