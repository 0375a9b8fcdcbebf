//! Retries mails that the relay has deferred until the relay accepts or rejects them, or they expire.
//!
//! Invariant: a mail has one sender at a time across all processes, and survives the loss of any of them.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;
use tokio::sync::Notify;

use crate::domain::backoff::mail_backoff;
use crate::domain::lease::mail_lease;
use crate::error::Error;
use crate::mail_delivery::advice;
use crate::notify::email::message::OutgoingMail;
use crate::notify::email::{Refusal, SendError};
use crate::queue_worker::{self, Attempt, Description, End, Queue};
use crate::state::{CurrentState, State};
use crate::store::outgoing_mails::{self, QueuedMail};
use crate::store::{Busy, QueueHead, StoreError};

/// Works on the mail queue until the process is draining.
pub async fn run(current: Arc<CurrentState>) {
    queue_worker::run::<MailQueue>(current).await;
}

struct MailQueue;

impl Queue for MailQueue {
    type Row = QueuedMail;
    type Report = ();

    const NAME: &'static str = "mail";
    const MAX_CONCURRENT: usize = 1;
    const MAX_PER_DESTINATION: usize = Self::MAX_CONCURRENT;
    const MAX_PER_GROUP: usize = Self::MAX_CONCURRENT;

    fn queued(state: &State) -> &Notify {
        &state.mail_queued
    }

    fn lease(state: &State) -> Duration {
        mail_lease(state.config.email.timeout.get())
    }

    async fn take_due(
        state: &State,
        now: Timestamp,
        leased_until: Timestamp,
        _: Busy,
    ) -> Result<QueueHead<QueuedMail>, StoreError> {
        state.store.write(async move |conn| outgoing_mails::take_due(conn, now, leased_until).await).await
    }

    fn describe(_: &State, mail: &QueuedMail) -> Description {
        Description {
            id: mail.id.clone(),
            destination: "relay".to_owned(),
            group: "relay".to_owned(),
            attempts: mail.attempts,
            expires_at: Timestamp::from_millis(mail.expires_at),
        }
    }

    async fn attempt(state: &State, queued: &mut QueuedMail) -> Result<(Attempt, ()), Error> {
        if queued.expires_at <= state.clock.now().as_millis() {
            return Ok((Attempt::Rejected { failure: "the mail has expired".to_owned() }, ()));
        }
        let opened = state.keys.sealing().open(&queued.sealed_mail, queued.id.as_bytes());
        let mail = opened.map_err(|error| error.to_string());
        match mail.and_then(|bytes| OutgoingMail::from_bytes(&bytes).map_err(|error| error.to_string())) {
            Ok(mail) => {
                let sent = state.mailer.send(&mail).await;
                if let Err(error) = &sent {
                    log(&queued.id, &state.mailer.describe(), error);
                }
                Ok((outcome(sent), ()))
            }
            // No later attempt can read it.
            Err(failure) => Ok((Attempt::Rejected { failure }, ())),
        }
    }

    fn backoff(state: &State, attempts: i32, _: Option<Duration>) -> Duration {
        mail_backoff(state.config.email.retry_after.get(), attempts)
    }

    async fn save(state: &State, mail: QueuedMail, end: End, (): ()) -> Result<(), Error> {
        let QueuedMail { id, attempts, .. } = mail;
        if let End::Dead { failure } = &end {
            tracing::warn!(id, attempts, failure, "queued mail was dropped");
        }
        state
            .store
            .write(async move |conn| match end {
                End::Retry { attempts, next, .. } => outgoing_mails::save_attempt(conn, &id, attempts, next).await,
                End::Done | End::Dead { .. } => outgoing_mails::delete(conn, &id).await,
            })
            .await?;
        Ok(())
    }
}

fn log(id: &str, relay: &str, error: &SendError) {
    let action = advice(error);
    match error {
        // About this mail alone.
        SendError::Disabled | SendError::ImpossibleAddress | SendError::Refused(Refusal::Reply(_)) => {
            tracing::warn!(id, relay, %error, action, "a queued mail was refused");
        }
        SendError::TryLater { .. } => tracing::warn!(id, relay, %error, action, "the relay deferred a queued mail"),
        SendError::Refused(_) => tracing::error!(id, relay, %error, action, "mail relay unusable"),
    }
}

/// The client has a success response, so only a rejection of this very mail drops it. A relay that is down, or rejects
/// every mail, does not.
fn outcome(sent: Result<(), SendError>) -> Attempt {
    match sent {
        Ok(()) => Attempt::Delivered,
        Err(error @ (SendError::Disabled | SendError::ImpossibleAddress | SendError::Refused(Refusal::Reply(_)))) => {
            Attempt::Rejected { failure: error.to_string() }
        }
        Err(error @ SendError::TryLater { .. }) => Attempt::Failed { failure: error.to_string(), retry_after: None },
        Err(
            error @ SendError::Refused(
                Refusal::Connect(_)
                | Refusal::Login(_)
                | Refusal::NoMechanism { .. }
                | Refusal::Token(_)
                | Refusal::Broken
                | Refusal::File(_),
            ),
        ) => Attempt::Failed { failure: error.to_string(), retry_after: None },
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Refusal, SendError, outcome};

    #[test]
    fn only_a_rejection_of_the_mail_itself_drops_it() {
        for (error, dropped) in [
            (SendError::Refused(Refusal::Reply(550.into())), true),
            (SendError::ImpossibleAddress, true),
            (SendError::Disabled, true),
            (SendError::TryLater { reply: Some(450.into()) }, false),
            (SendError::Refused(Refusal::Connect("timed out".into())), false),
            (SendError::Refused(Refusal::Login(Some(535.into()))), false),
            (SendError::Refused(Refusal::Broken), false),
        ] {
            let shown = error.to_string();
            assert_eq!(matches!(outcome(Err(error)), Attempt::Rejected { .. }), dropped, "{shown}");
        }
    }
}
