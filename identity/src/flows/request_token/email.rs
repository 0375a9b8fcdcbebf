//! A client asks for a validation token to be sent to an e-mail address.
//!
//! Invariant: a mail that the relay puts off is as good as sent, for the queue has it.

use std::sync::Arc;

use url::form_urlencoded;

use super::{Plan, Prepared, Sent, TokenRequest, finish, open_token, prepare};
use crate::domain::session::Session;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::limits::{Bucket, Counted};
use crate::mail_delivery::{self, Delivery, MailJob};
use crate::notify::email::verification::VerificationMail;
use crate::state::State;

/// The letters of an e-mail's token: as unguessable as an access token's half.
const TOKEN_LENGTH: usize = 32;

/// Sends a token, unless this request was answered before, and names the session.
///
/// # Errors
/// [`Error::InvalidEmail`], [`Error::EmailSend`] or [`Error::LimitExceeded`]; nothing is then remembered as sent.
pub async fn request_email_token(state: Arc<State>, request: TokenRequest) -> Result<Sid, Error> {
    if !state.config.email.is_enabled() {
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
    let job = MailJob {
        queue_id: state.random.base62(24),
        expires_at: session.created_at.plus(state.config.sessions.lifetime.get()),
        log_id: session.sid.as_str(),
    };
    Ok(match mail_delivery::send(state, &mail, job).await? {
        Delivery::Sent => Sent::Delivered,
        Delivery::Deferred(mail) => Sent::Queued(mail),
    })
}
