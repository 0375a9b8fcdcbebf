//! Sends a validation token to an email address.
//!
//! Invariant: a mail that the relay defers counts as sent, because the mail queue has it.

use std::sync::Arc;

use url::form_urlencoded;

use super::TokenRequest;
use super::lease::{Acquired, NotSent, PlannedMessage, Sent, SessionLease};
use crate::domain::lease::mail_lease;
use crate::domain::mxid::UserId;
use crate::domain::redaction::masked;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::limits::{Bucket, Charges, LimitKey};
use crate::mail_delivery::{self, Delivery, MailJob};
use crate::notify::email::verification::VerificationMail;
use crate::state::State;

/// The length of a mail's token in characters: as hard to guess as half an access token.
const TOKEN_LENGTH: usize = 32;

/// Sends a token, unless the message of this request was sent before, and returns the session's id.
///
/// # Errors
/// [`Error::InvalidEmail`], [`Error::EmailSend`] or [`Error::LimitExceeded`]; no message counts as sent then.
pub async fn request_email_token(state: Arc<State>, request: TokenRequest) -> Result<Sid, Error> {
    if !state.config.email.is_enabled() {
        return Err(Error::EmailSend);
    }
    if !state.config.email.permits(request.threepid.recipient()) {
        return Err(Error::InvalidEmail);
    }
    let message = PlannedMessage {
        token: state.random.base62(TOKEN_LENGTH),
        lease: mail_lease(state.config.email.timeout.get()),
        charges: Charges::new(buckets(&state, &request), None),
    };
    match SessionLease::acquire(&state, &request, message, state.clock.now()).await? {
        Acquired::NothingToSend(sid) => Ok(sid),
        Acquired::Interrupted => Err(Error::EmailSend),
        Acquired::Lease(lease) => {
            let sent = send(&state, &request, &lease).await;
            lease.end(&state, sent).await
        }
    }
}

fn buckets(state: &State, request: &TokenRequest) -> Vec<Bucket> {
    let settings = &state.config.limits;
    if !settings.enabled {
        return Vec::new();
    }
    let caller = request.account.as_ref().map_or(LimitKey::Client(request.client), LimitKey::Account);
    let mut buckets: Vec<_> = Bucket::of_caller("email_per_account", settings.email_per_account, caller).collect();
    buckets.extend([
        Bucket::new("email_per_address", settings.email_per_address, LimitKey::ThreePid(&request.threepid)),
        Bucket::new("mail_global", settings.mail_global, LimitKey::Global),
    ]);
    buckets.extend(request.account.as_ref().map(|account| {
        let (limit, large) = (settings.mail_per_homeserver, &settings.large_homeservers);
        Bucket::of_homeserver("mail_per_homeserver", limit, account.server_name(), large)
    }));
    buckets
}

async fn send(state: &State, request: &TokenRequest, lease: &SessionLease) -> Result<Sent, NotSent> {
    let (session, token) = (lease.session(), lease.token(state)?);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("token", &token)
        .append_pair("client_secret", request.client_secret.expose())
        .append_pair("sid", session.sid.as_str())
        .finish();
    let link = format!("{}/_matrix/identity/v2/validate/email/submitToken?{query}", state.identity.base_url);
    let mxid = request.account.as_ref().map(UserId::shown).unwrap_or_default();
    let mail = VerificationMail {
        to: request.threepid.recipient(),
        link: &link,
        token: &token,
        mxid: &mxid,
        masked_address: &masked(&request.threepid, &state.config.invites.shown()),
        client_address: Some(request.client),
        expires_in: session.expires_at(state.config.sessions.lifetime.get()).since(state.clock.now()),
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
