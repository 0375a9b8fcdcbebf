//! Composes a mail and sends it, or turns it into a queue row: at once, or when the relay defers it.
//!
//! Invariant: a queue row holds the mail sealed, because the mail holds a token.

use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::backoff::{NextAttempt, mail_backoff};
use crate::error::Error;
use crate::notify::email::message::OutgoingMail;
use crate::notify::email::{ComposeError, MailContent, Refusal, SendError};
use crate::state::State;
use crate::store::outgoing_mails::QueuedMail;

pub mod invite_block;
pub mod owner_notice;

/// How long a mail without a session is retried (RFC 5321 4.5.4.1: at least four to five days).
pub const MAIL_LIFETIME: Duration = Duration::from_secs(5 * 86_400);

/// How a deferred mail is queued and logged.
pub struct MailJob<'a> {
    /// The id of the queue row.
    pub queue_id: String,
    /// When the queue drops the mail.
    pub expires_at: Timestamp,
    /// The session or invite in log lines.
    pub log_id: &'a str,
}

/// An accepted mail.
pub enum Delivery {
    /// The relay accepted the mail.
    Sent,
    /// The relay deferred the mail; the caller inserts this row.
    Deferred(QueuedMail),
}

/// Composes a mail and sends it once.
///
/// # Errors
/// [`Error::InvalidEmail`] if the address cannot receive mail, [`Error::EmailSend`] if the relay refuses the mail.
pub async fn send<C: MailContent>(state: &State, content: &C, job: MailJob<'_>) -> Result<Delivery, Error> {
    let mail = compose(state, content)?;
    let (kind, id) = (C::KIND.as_str(), job.log_id);
    match state.mailer.send(&mail).await {
        Ok(()) => Ok(Delivery::Sent),
        Err(error @ SendError::TryLater { .. }) => {
            let (relay, action) = (state.mailer.describe(), advice(&error));
            tracing::warn!(kind, id, relay, %error, action, "the relay deferred a mail");
            let backoff = mail_backoff(state.config.email.retry_after.get(), 1);
            queued(state, &mail, job, 1, backoff).map(Delivery::Deferred)
        }
        Err(SendError::ImpossibleAddress) => Err(Error::InvalidEmail),
        Err(error @ SendError::Refused(Refusal::Reply(_))) => {
            // A reply code concerns one recipient. Any other failure concerns every mail of this server.
            let (relay, action) = (state.mailer.describe(), advice(&error));
            tracing::warn!(kind, id, relay, %error, action, "a mail was refused");
            Err(Error::EmailSend)
        }
        Err(error @ (SendError::Disabled | SendError::Refused(_))) => {
            let (relay, action) = (state.mailer.describe(), advice(&error));
            tracing::error!(kind, id, relay, %error, action, "mail cannot be sent");
            Err(Error::EmailSend)
        }
    }
}

/// What an operator does about a mail that was not sent.
pub fn advice(error: &SendError) -> &'static str {
    match error {
        SendError::Refused(Refusal::Connect(cause)) if cause.contains("InvalidContentType") => {
            "this port speaks no TLS at its beginning: set [email] tls to \"starttls\", or port to 465"
        }
        SendError::Refused(Refusal::Connect(cause)) if cause.contains("certificate") => {
            "the relay's certificate has to be valid for [email] host; for an authority of your own set [outbound] extra_ca_file"
        }
        SendError::Refused(Refusal::Connect(_)) => {
            "check [email] host, port and tls: 465 has \"tls\", 587 and 25 have \"starttls\"; a provider may block port 25"
        }
        SendError::Refused(Refusal::Login(_)) => "check [email] username and password",
        SendError::Refused(Refusal::NoMechanism { .. }) => "check [email] auth",
        SendError::Refused(Refusal::Token(_)) => "check [email] token_file or token_command",
        SendError::Refused(Refusal::File(_)) => "check [email] file_dir",
        SendError::Disabled => "set [email] enabled",
        SendError::Refused(Refusal::Reply(reply)) if reply.code() == 530 => {
            "the relay wants a login or TLS first: set [email] username and password, and tls"
        }
        SendError::Refused(Refusal::Reply(_)) => {
            "let the relay accept [email] from and mail to other domains from this server (relaying); its log has the reason"
        }
        SendError::Refused(Refusal::Broken) => "the relay did not answer in time ([email] timeout); see its log",
        SendError::TryLater { .. } => {
            "try again in some minutes: the relay defers mail, as greylisting does; its log has the reason"
        }
        SendError::ImpossibleAddress => "the relay has to offer SMTPUTF8 for such an address",
    }
}

/// Composes a mail for the queue, which sends it at once; the caller inserts the row.
///
/// # Errors
/// [`Error::InvalidEmail`] if the address cannot receive mail.
pub fn prepare<C: MailContent>(state: &State, content: &C, job: MailJob<'_>) -> Result<QueuedMail, Error> {
    queued(state, &compose(state, content)?, job, 0, Duration::ZERO)
}

fn compose<C: MailContent>(state: &State, content: &C) -> Result<OutgoingMail, Error> {
    state.mailer.compose(&state.templates, content).map_err(|error| match error {
        ComposeError::ImpossibleAddress => Error::InvalidEmail,
        error @ ComposeError::Template(_) => Error::Internal(error.to_string()),
    })
}

fn queued(
    state: &State,
    mail: &OutgoingMail,
    job: MailJob<'_>,
    attempts: i32,
    backoff: Duration,
) -> Result<QueuedMail, Error> {
    let MailJob { queue_id, expires_at, .. } = job;
    let next = NextAttempt::after(state.clock.now(), backoff);
    Ok(QueuedMail {
        sealed_mail: state.keys.sealing().seal(&mail.to_bytes(), queue_id.as_bytes(), state.random)?,
        id: queue_id,
        attempts,
        next_attempt_at: next.at.as_millis(),
        backoff: next.backoff_millis(),
        expires_at: expires_at.as_millis(),
    })
}
