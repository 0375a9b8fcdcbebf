//! A client asks for a validation token to be sent to an e-mail address.
//!
//! Invariant: a message is remembered as sent only once the relay, or our own queue, has it; until then the session
//! holds a lease, so that two equal requests at the same time send one message.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;
use url::form_urlencoded;

use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::retry::mail_pause;
use crate::domain::session::{ClientSecretDigest, Due, SendAttempt, Sending, Session};
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::limits::{self, Bucket, Counted, Verdict};
use crate::notify::message::OutgoingMail;
use crate::notify::templates::{Audience, MessageError, VerificationMail};
use crate::notify::{Refusal, SendError};
use crate::state::State;
use crate::store::outgoing_mails::{self, QueuedMail};
use crate::store::sessions;

/// The letters of an e-mail's token: as unguessable as an access token's half.
const TOKEN_LENGTH: usize = 32;

/// How much longer than the mailer's own time-outs a sender is given before it is taken for dead.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// What a client asks for.
pub struct TokenRequest {
    /// The account that asks.
    pub account: Option<UserId>,
    /// The address to validate.
    pub threepid: ThreePid,
    /// The client's secret.
    pub client_secret: ClientSecret,
    /// The number of this request.
    pub send_attempt: SendAttempt,
    /// Where the browser goes afterwards.
    pub next_link: Option<NextLink>,
    /// Who asks, for the mail's text.
    pub client: IpAddr,
    /// The brand of the mail, if one was asked for.
    pub brand: Option<String>,
    /// The language of the mail, if one was asked for.
    pub lang: Option<String>,
    /// `Accept-Language` of the client.
    pub accept_language: Option<String>,
}

/// Sends a token, unless this request was answered before, and names the session.
///
/// # Errors
/// [`Error::InvalidEmail`], [`Error::EmailSend`] or [`Error::LimitExceeded`]; nothing is then remembered as sent.
pub async fn request_token(state: Arc<State>, request: TokenRequest) -> Result<Sid, Error> {
    if !state.config.email.enabled {
        return Err(Error::EmailSend);
    }
    if !state.config.email.permits(request.threepid.recipient()) {
        return Err(Error::InvalidEmail);
    }
    let now = state.clock.now();
    let (session, is_due) = match prepare(&state, &request, now).await? {
        Prepared::Send(session) => (session, true),
        Prepared::Answered(session) => (session, false),
        Prepared::Limited(retry_after) => return Err(Error::LimitExceeded(retry_after)),
    };
    if is_due {
        let sent = send(&state, &request, &session).await;
        finish(&state, &session.sid, request.send_attempt, sent).await?;
    }
    Ok(session.sid)
}

#[derive(Clone)]
enum Prepared {
    /// A message is due, and we hold the lease to send it.
    Send(Session),
    /// None is due.
    Answered(Session),
    /// One is due, but not allowed yet.
    Limited(Duration),
}

/// Finds or starts the session, and takes the lease if a message is due.
async fn prepare(state: &State, request: &TokenRequest, now: Timestamp) -> Result<Prepared, Error> {
    let sid = Sid::draw(state.random);
    let token = state.random.base62(TOKEN_LENGTH);
    let fresh = Session {
        sealed_token: state.keys.read().sealing().seal(token.as_bytes(), sid.as_str().as_bytes(), state.random)?,
        sid,
        threepid: request.threepid.clone(),
        client_secret: ClientSecretDigest::of(&request.client_secret, &request.threepid),
        account: request.account.clone(),
        created_at: now,
        validated_at: None,
        send_attempt: None,
        sending: None,
        wrong_tokens: 0,
        next_link: None,
    };
    let rules = state.config.sessions.rules();
    let lease = state.config.email.timeout.get() * 3 + LEASE_MARGIN;
    let (attempt, next_link) = (request.send_attempt, request.next_link.clone());
    let buckets = buckets(state, request);
    let prepared = state.store.write(async move |conn| {
        let found = sessions::find_newest(conn, &fresh.threepid, fresh.client_secret, fresh.account.as_ref()).await?;
        let due = Session::due(found.as_ref(), attempt, now, &rules);
        let mut session = match (due, found) {
            (Due::Message | Due::Nothing, Some(found)) => found,
            _ => fresh,
        };
        if next_link.is_some() {
            session.next_link = next_link;
        }
        if due == Due::Nothing {
            sessions::save(conn, &session).await?;
            return Ok(Prepared::Answered(session));
        }
        if let Verdict::Refused { retry_after } = limits::charge(conn, &buckets, now).await? {
            return Ok(Prepared::Limited(retry_after));
        }
        session.sending = Some(Sending { attempt, until: now.plus(lease) });
        sessions::save(conn, &session).await?;
        Ok(Prepared::Send(session))
    });
    Ok(prepared.await?)
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

/// What became of a message.
enum Sent {
    ByTheRelay,
    /// The relay said "later": the mail waits in the queue.
    Queued(QueuedMail),
    Refused(Error),
}

async fn send(state: &State, request: &TokenRequest, session: &Session) -> Result<Sent, Error> {
    let mail = match compose(state, request, session)? {
        Ok(mail) => mail,
        Err(refusal) => return Ok(Sent::Refused(refusal)),
    };
    match state.mailer.send(&mail).await {
        Ok(()) => Ok(Sent::ByTheRelay),
        Err(SendError::TryLater { code }) => {
            tracing::warn!(sid = session.sid.as_str(), code, "the relay put a mail off");
            queue(state, session, &mail).map(Sent::Queued)
        }
        Err(SendError::ImpossibleAddress) => Ok(Sent::Refused(Error::InvalidEmail)),
        Err(error @ (SendError::Disabled | SendError::Refused(_))) => {
            // A refusal by number concerns one recipient; anything else concerns every mail of this server.
            if matches!(error, SendError::Refused(Refusal::Reply(_))) {
                tracing::warn!(sid = session.sid.as_str(), %error, "a mail was refused");
            } else {
                tracing::error!(sid = session.sid.as_str(), %error, "mail cannot be sent");
            }
            Ok(Sent::Refused(Error::EmailSend))
        }
    }
}

fn compose(state: &State, request: &TokenRequest, session: &Session) -> Result<Result<OutgoingMail, Error>, Error> {
    let token = state.keys.read().sealing().open(&session.sealed_token, session.sid.as_str().as_bytes())?;
    let token = std::str::from_utf8(&token).map_err(|_| Error::Internal("a sealed token is no text".to_owned()))?;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("token", token)
        .append_pair("client_secret", request.client_secret.expose())
        .append_pair("sid", session.sid.as_str())
        .finish();
    let link = format!("{}/_matrix/identity/v2/validate/email/submitToken?{query}", state.identity.base_url);
    let mail = VerificationMail {
        to: request.threepid.recipient(),
        link: &link,
        token,
        client_address: Some(request.client),
        audience: Audience {
            brand: request.brand.as_deref(),
            lang: request.lang.as_deref(),
            accept_language: request.accept_language.as_deref(),
        },
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

/// Gives the lease back, and remembers the message if it went out.
async fn finish(state: &State, sid: &Sid, attempt: SendAttempt, sent: Result<Sent, Error>) -> Result<(), Error> {
    let (went_out, queued, result) = match sent {
        Ok(Sent::ByTheRelay) => (true, None, Ok(())),
        Ok(Sent::Queued(mail)) => (true, Some(mail), Ok(())),
        Ok(Sent::Refused(refusal)) => (false, None, Err(refusal)),
        Err(error) => (false, None, Err(error)),
    };
    let is_queued = queued.is_some();
    let sid = sid.clone();
    let remembered = state.store.write(async move |conn| {
        if let Some(mail) = &queued {
            outgoing_mails::insert(conn, mail).await?;
        }
        let Some(mut session) = sessions::find(conn, &sid).await? else { return Ok(()) };
        if session.sending.is_some_and(|sending| sending.attempt == attempt) {
            session.sending = None;
        }
        if went_out {
            session.send_attempt = session.send_attempt.max(Some(attempt));
        }
        sessions::save(conn, &session).await
    });
    remembered.await?;
    if is_queued {
        state.mail_queued.notify_one();
    }
    metrics::counter!(
        "identity_sessions_total", "medium" => "email", "event" => if went_out { "sent" } else { "refused" }
    )
    .increment(1);
    result
}
