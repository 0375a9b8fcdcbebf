//! A client asks for a validation token to be sent to an e-mail address.
//!
//! Invariant: a mail that the relay puts off is as good as sent, for the queue has it.

use std::sync::Arc;

use url::form_urlencoded;

use super::{Plan, Prepared, Sent, TokenRequest, finish, open_token, prepare};
use crate::domain::retry::mail_pause;
use crate::domain::session::Session;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::limits::{Bucket, Counted};
use crate::notify::message::OutgoingMail;
use crate::notify::templates::{MessageError, VerificationMail};
use crate::notify::{Refusal, SendError};
use crate::state::State;
use crate::store::outgoing_mails::QueuedMail;

/// The letters of an e-mail's token: as unguessable as an access token's half.
const TOKEN_LENGTH: usize = 32;

/// Sends a token, unless this request was answered before, and names the session.
///
/// # Errors
/// [`Error::InvalidEmail`], [`Error::EmailSend`] or [`Error::LimitExceeded`]; nothing is then remembered as sent.
pub async fn request_email_token(state: Arc<State>, request: TokenRequest) -> Result<Sid, Error> {
    if !state.config.email.enabled {
        return Err(Error::EmailSend);
    }
    if !state.config.email.permits(request.threepid.recipient()) {
        return Err(Error::InvalidEmail);
    }
    let plan = Plan {
        token: state.random.base62(TOKEN_LENGTH),
        // Connecting with login, then handing over; and once more if a kept connection was dead.
        longest: state.config.email.timeout.get() * 3,
        buckets: buckets(&state, &request),
        day: None,
    };
    match prepare(&state, &request, plan, state.clock.now()).await? {
        Prepared::Send(session) => {
            let sent = send(&state, &request, &session).await;
            finish(&state, &request, &session.sid, sent).await?;
            Ok(session.sid)
        }
        Prepared::Answered(session) => Ok(session.sid),
    }
}

fn buckets(state: &State, request: &TokenRequest) -> Vec<Bucket> {
    let settings = &state.config.limits;
    if !settings.enabled {
        return Vec::new();
    }
    let caller = request.account.as_ref().map_or(Counted::Client(request.client), Counted::Account);
    vec![
        Bucket::new("email_per_account", settings.email_per_account, caller),
        Bucket::new("email_per_address", settings.email_per_address, Counted::ThreePid(&request.threepid)),
        Bucket::new("mail_global", settings.mail_global, Counted::Everyone),
    ]
}

async fn send(state: &State, request: &TokenRequest, session: &Session) -> Result<Sent, Error> {
    let refused = |error| Ok(Sent::Refused { error, day: None });
    let mail = match compose(state, request, session)? {
        Ok(mail) => mail,
        Err(refusal) => return refused(refusal),
    };
    match state.mailer.send(&mail).await {
        Ok(()) => Ok(Sent::Delivered),
        Err(SendError::TryLater { code }) => {
            tracing::warn!(sid = session.sid.as_str(), code, "the relay put a mail off");
            queue(state, session, &mail).map(Sent::Queued)
        }
        Err(SendError::ImpossibleAddress) => refused(Error::InvalidEmail),
        Err(error @ (SendError::Disabled | SendError::Refused(_))) => {
            // A refusal by number concerns one recipient; anything else concerns every mail of this server.
            if matches!(error, SendError::Refused(Refusal::Reply(_))) {
                tracing::warn!(sid = session.sid.as_str(), %error, "a mail was refused");
            } else {
                tracing::error!(sid = session.sid.as_str(), %error, "mail cannot be sent");
            }
            refused(Error::EmailSend)
        }
    }
}

fn compose(state: &State, request: &TokenRequest, session: &Session) -> Result<Result<OutgoingMail, Error>, Error> {
    let token = open_token(state, session)?;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("token", &token)
        .append_pair("client_secret", request.client_secret.expose())
        .append_pair("sid", session.sid.as_str())
        .finish();
    let link = format!("{}/_matrix/identity/v2/validate/email/submitToken?{query}", state.identity.base_url);
    let mail = VerificationMail {
        to: request.threepid.recipient(),
        link: &link,
        token: &token,
        client_address: Some(request.client),
        audience: request.audience(),
    };
    match state.templates.verification(&mail, state.clock.now(), state.random) {
        Ok(mail) => Ok(Ok(mail)),
        Err(MessageError::ImpossibleAddress) => Ok(Err(Error::InvalidEmail)),
        Err(error @ MessageError::Template { .. }) => Err(Error::Internal(error.to_string())),
    }
}

fn queue(state: &State, session: &Session, mail: &OutgoingMail) -> Result<QueuedMail, Error> {
    let id = state.random.base62(24);
    let now = state.clock.now();
    Ok(QueuedMail {
        sealed_mail: state.keys.read().sealing().seal(&mail.to_bytes(), id.as_bytes(), state.random)?,
        id,
        attempts: 1,
        next_attempt_at: now.plus(mail_pause(state.config.email.retry_after.get(), 1)).as_millis(),
        expires_at: session.created_at.plus(state.config.sessions.lifetime.get()).as_millis(),
    })
}
