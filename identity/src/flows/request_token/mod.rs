//! A client asks for a validation token to be sent: what both media have in common. [`email`] and [`sms`] tell what each
//! of them does between the two steps here.
//!
//! Invariant: a message is remembered as sent only once somebody has it who will deliver it; until then the session holds
//! a lease, so that two equal requests at the same time send one message.

pub mod email;
pub mod sms;

use std::net::IpAddr;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::session::{ClientSecretDigest, Due, SendAttempt, Sending, Session};
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::limits::sms_day::SmsDay;
use crate::limits::{self, Bucket, Verdict};
use crate::notify::templates::Audience;
use crate::state::State;
use crate::store::outgoing_mails::{self, QueuedMail};
use crate::store::sessions;

/// How much longer than its own time-outs a sender is given before it is taken for dead.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// What a client asks for, whatever the medium.
pub struct TokenRequest {
    /// The account that asks; none for the removed v1 API.
    pub account: Option<UserId>,
    /// What is to be validated.
    pub threepid: ThreePid,
    /// The client's secret.
    pub client_secret: ClientSecret,
    /// The number of this request.
    pub send_attempt: SendAttempt,
    /// Where the browser goes afterwards.
    pub next_link: Option<NextLink>,
    /// Who asks, for the limits and the mail's text.
    pub client: IpAddr,
    /// The brand of the message, if one was asked for.
    pub brand: Option<String>,
    /// The language of the message, if one was asked for.
    pub lang: Option<String>,
    /// `Accept-Language` of the client.
    pub accept_language: Option<String>,
}

impl TokenRequest {
    fn audience(&self) -> Audience<'_> {
        Audience {
            brand: self.brand.as_deref(),
            lang: self.lang.as_deref(),
            accept_language: self.accept_language.as_deref(),
        }
    }
}

/// What a medium says of its message before it is known whether one is due.
struct Plan {
    /// The token of a new session.
    token: String,
    /// The longest that sending may take.
    longest: Duration,
    /// What it is charged to.
    buckets: Vec<Bucket>,
    /// What it is charged to besides, if it is an SMS.
    day: Option<SmsDay>,
}

/// The session of a request.
enum Prepared {
    /// A message is due, and we hold the lease to send it.
    Send(Session),
    /// None is due.
    Answered(Session),
}

/// Finds or starts the session, and takes the lease if a message is due.
///
/// # Errors
/// [`Error::LimitExceeded`] or [`Error::SmsSpentForToday`] if one is due, but not allowed; nothing is charged then.
async fn prepare(state: &State, request: &TokenRequest, plan: Plan, now: Timestamp) -> Result<Prepared, Error> {
    let Plan { token, longest, buckets, day } = plan;
    let sid = Sid::draw(state.random);
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
    let lease = longest + LEASE_MARGIN;
    let (attempt, next_link) = (request.send_attempt, request.next_link.clone());
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
            return Ok(Ok(Prepared::Answered(session)));
        }
        if let Some(day) = &day
            && !day.has_room(conn).await?
        {
            return Ok(Err(Error::SmsSpentForToday));
        }
        if let Verdict::Refused { retry_after } = limits::charge(conn, &buckets, now).await? {
            return Ok(Err(Error::LimitExceeded(retry_after)));
        }
        if let Some(day) = &day {
            day.charge(conn).await?;
        }
        session.sending = Some(Sending { attempt, until: now.plus(lease) });
        sessions::save(conn, &session).await?;
        Ok(Ok(Prepared::Send(session)))
    });
    prepared.await?
}

/// The session's token, which every message of it repeats.
fn open_token(state: &State, session: &Session) -> Result<String, Error> {
    let token = state.keys.read().sealing().open(&session.sealed_token, session.sid.as_str().as_bytes())?;
    std::str::from_utf8(&token).map(str::to_owned).map_err(|_| Error::Internal("a sealed token is no text".to_owned()))
}

/// What became of a message.
enum Sent {
    /// Somebody has it who will deliver it.
    Delivered,
    /// The relay said "later": the mail waits in the queue.
    Queued(QueuedMail),
    /// It did not go out, or nobody knows.
    Refused {
        /// What the client is told.
        error: Error,
        /// What is given back, because it is certain that nothing was sent.
        day: Option<SmsDay>,
    },
}

/// Gives the lease back, and remembers the message if it went out.
async fn finish(state: &State, request: &TokenRequest, sid: &Sid, sent: Result<Sent, Error>) -> Result<(), Error> {
    let (went_out, queued, day, result) = match sent {
        Ok(Sent::Delivered) => (true, None, None, Ok(())),
        Ok(Sent::Queued(mail)) => (true, Some(mail), None, Ok(())),
        Ok(Sent::Refused { error, day }) => (false, None, day, Err(error)),
        Err(error) => (false, None, None, Err(error)),
    };
    let is_queued = queued.is_some();
    let (sid, attempt) = (sid.clone(), request.send_attempt);
    let remembered = state.store.write(async move |conn| {
        if let Some(mail) = &queued {
            outgoing_mails::insert(conn, mail).await?;
        }
        if let Some(day) = &day {
            day.give_back(conn).await?;
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
        "identity_sessions_total",
        "medium" => request.threepid.medium().as_str(),
        "event" => if went_out { "sent" } else { "refused" },
    )
    .increment(1);
    result
}
