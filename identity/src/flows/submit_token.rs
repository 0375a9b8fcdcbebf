//! Submits a validation token, from the client or from the link in the mail.
//!
//! Invariant: without the client secret a request learns nothing and changes no stored row.

use shared::clock::Timestamp;
use subtle::ConstantTimeEq;

use crate::domain::client_secret::ClientSecret;
use crate::domain::decimal_digits;
use crate::domain::msisdn;
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::session::{Session, SessionRules, Submission};
use crate::domain::sid::Sid;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::limits::{self, Bucket, LimitKey};
use crate::state::State;
use crate::store::{Connection, sessions};

/// The request of a client.
pub struct SubmittedToken {
    /// The medium of the endpoint.
    pub medium: Medium,
    /// The session id.
    pub sid: Sid,
    /// The client secret.
    pub client_secret: ClientSecret,
    /// The token as typed or linked.
    pub token: String,
}

/// A session whose token was submitted.
pub struct Validated {
    /// The validated address.
    pub threepid: ThreePid,
    /// The account that started the session; none for the legacy API.
    pub account: Option<UserId>,
    /// Where the browser is redirected.
    pub next_link: Option<NextLink>,
}

/// What the transaction has committed.
enum Recorded {
    /// The correct token; `is_first` if it has validated the session.
    Correct { next_link: Option<NextLink>, is_first: bool },
    /// A wrong token, counted although the request fails.
    Wrong,
}

/// What the transaction decides on.
#[derive(Clone)]
struct Submitted {
    sid: Sid,
    is_correct: bool,
    now: Timestamp,
    rules: SessionRules,
    /// Counts wrong tokens over the sessions of one account for one number.
    wrong_tokens: Option<Bucket>,
    /// The charge of a validated message is returned, so toll fraud uses up its range and users do not.
    range: Option<Bucket>,
}

/// Validates the session if the token is correct.
///
/// # Errors
/// [`Error::UnknownSession`], [`Error::SessionExpired`], [`Error::TokenIncorrect`], [`Error::LimitExceeded`].
pub async fn submit_token(state: &State, submitted: SubmittedToken) -> Result<Validated, Error> {
    let (session, is_correct) = find(state, &submitted).await?;
    let (wrong_tokens, range) = buckets(state, &session);
    let submitted = Submitted {
        sid: submitted.sid,
        is_correct,
        now: state.clock.now(),
        rules: state.config.sessions.rules(),
        wrong_tokens,
        range,
    };
    let result = state.store.write(async move |conn| record(conn, &submitted).await).await;
    record_metrics(&session.threepid, &result);
    match result? {
        Recorded::Correct { next_link, .. } => {
            Ok(Validated { threepid: session.threepid, account: session.account, next_link })
        }
        Recorded::Wrong => Err(Error::TokenIncorrect),
    }
}

/// The session that the token of a mail would validate. Changes and counts nothing: this token is too long to guess.
///
/// # Errors
/// [`Error::UnknownSession`], [`Error::SessionExpired`], [`Error::TokenIncorrect`].
pub async fn preview(state: &State, submitted: &SubmittedToken) -> Result<Session, Error> {
    let (session, is_correct) = find(state, submitted).await?;
    match session.submission(is_correct, state.clock.now(), &state.config.sessions.rules()) {
        Submission::Validates | Submission::AlreadyValidated => Ok(session),
        Submission::Wrong => Err(Error::TokenIncorrect),
        Submission::Closed => Err(Error::SessionExpired),
    }
}

/// The session of the sid and the client secret, and whether the token is its own.
async fn find(state: &State, submitted: &SubmittedToken) -> Result<(Session, bool), Error> {
    let SubmittedToken { medium, sid, client_secret, token } = submitted;
    let found = {
        let sid = sid.clone();
        state.store.read(async move |conn| sessions::find(conn, &sid).await).await?
    };
    let known = found.filter(|session| session.threepid.medium() == *medium && session.is_secret(client_secret));
    let Some(session) = known else { return Err(Error::UnknownSession) };
    // A token of a lost signing key cannot be compared: the client requests a new message.
    let expected = state.keys.sealing().open(&session.sealed_token, session.sid.as_str().as_bytes());
    let expected = expected.map_err(|error| {
        tracing::warn!(sid = session.sid.as_str(), %error, "a submitted token cannot be compared");
        Error::SessionExpired
    })?;
    let is_correct = expected.ct_eq(normalize(*medium, token).as_bytes()).into();
    Ok((session, is_correct))
}

/// For a number, the limit of wrong tokens and the limit of messages to its range. The token of a mail is long enough
/// for the limit of its session alone.
///
/// Only the sessions of the same account count: otherwise a stranger who starts sessions for a number and guesses would
/// lock out its owner. How many sessions there are is limited by the messages to the number.
fn buckets(state: &State, session: &Session) -> (Option<Bucket>, Option<Bucket>) {
    let (settings, threepid) = (&state.config.limits, &session.threepid);
    if !settings.enabled || threepid.medium() == Medium::Email {
        return (None, None);
    }
    (
        Some(Bucket::new("sms_wrong_tokens", settings.sms_wrong_tokens, LimitKey::Guesser(session))),
        Some(Bucket::new("sms_per_range", settings.sms_per_range, LimitKey::NumberRange(threepid))),
    )
}

/// Validates the session or counts a wrong token; any error leaves all as it was.
async fn record(conn: &mut Connection, submitted: &Submitted) -> Result<Recorded, Error> {
    let Submitted { sid, is_correct, now, rules, wrong_tokens, range } = submitted;
    let mut session = sessions::find(conn, sid).await?.ok_or(Error::UnknownSession)?;
    let submission = session.submission(*is_correct, *now, rules);
    // An account may open many sessions of one number. A validated session no longer needs the limit.
    if matches!(submission, Submission::Validates | Submission::Wrong)
        && let Some(bucket) = wrong_tokens
    {
        limits::peek(conn, bucket, *now).await?.into_result().map_err(Error::LimitExceeded)?;
    }
    match submission {
        Submission::Closed => Err(Error::SessionExpired),
        Submission::AlreadyValidated => Ok(Recorded::Correct { next_link: session.next_link, is_first: false }),
        Submission::Validates => {
            session.validated_at = Some(*now);
            sessions::save(conn, &session).await?;
            if let Some(range) = range {
                limits::give_back(conn, range, *now).await?;
            }
            Ok(Recorded::Correct { next_link: session.next_link, is_first: true })
        }
        Submission::Wrong => {
            session.wrong_tokens += 1;
            sessions::save(conn, &session).await?;
            if let Some(bucket) = wrong_tokens {
                limits::charge(conn, &[*bucket], *now).await?;
            }
            Ok(Recorded::Wrong)
        }
    }
}

fn record_metrics(threepid: &ThreePid, result: &Result<Recorded, Error>) {
    let event = match result {
        Ok(Recorded::Correct { .. }) => "validated",
        Ok(Recorded::Wrong) | Err(Error::LimitExceeded(_) | Error::UnknownSession) => "wrong_token",
        Err(Error::SessionExpired) => "over",
        Err(_) => return,
    };
    let medium = threepid.medium();
    metrics::counter!("identity_sessions_total", "medium" => medium.as_str(), "event" => event).increment(1);
    if let (Medium::Msisdn, Ok(Recorded::Correct { is_first: true, .. })) = (medium, result)
        && let Some(country) = msisdn::calling_code(threepid.address().as_str())
    {
        metrics::counter!("identity_sms_total", "country" => country, "event" => "validated").increment(1);
    }
}

/// Removes what users add by accident: white space around a mail's token, and all but the digits of an SMS token.
fn normalize(medium: Medium, token: &str) -> String {
    match medium {
        Medium::Email => token.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned(),
        Medium::Msisdn => decimal_digits::to_ascii(token),
    }
}

#[cfg(test)]
mod tests {
    use super::{Medium, normalize};

    #[test]
    fn white_space_and_separators_of_digits_are_ignored() {
        assert_eq!(normalize(Medium::Email, " aB3 \r\n"), "aB3");
        assert_eq!(normalize(Medium::Email, "a B"), "a B");
        assert_eq!(normalize(Medium::Msisdn, " ١٢٣-456 "), "123456");
    }
}
