//! Somebody submits a validation token, by the client or by the link in the mail.
//!
//! Invariant: whoever does not know the client's secret learns nothing and changes nothing, not even a counter.

use subtle::ConstantTimeEq;

use crate::domain::client_secret::ClientSecret;
use crate::domain::msisdn;
use crate::domain::next_link::NextLink;
use crate::domain::session::Submission;
use crate::domain::sid::Sid;
use crate::domain::threepid::Medium;
use crate::error::Error;
use crate::limits::{self, Bucket, Counted, Verdict};
use crate::state::State;
use crate::store::sessions;

/// What is submitted.
pub struct SubmittedToken {
    /// The medium of the endpoint.
    pub medium: Medium,
    /// The session.
    pub sid: Sid,
    /// Its secret.
    pub client_secret: ClientSecret,
    /// The token as it was typed or linked.
    pub token: String,
}

enum Outcome {
    /// The right one; `is_first` if the session had none before.
    Right {
        next_link: Option<NextLink>,
        is_first: bool,
    },
    Wrong,
    Over,
    Unknown,
    Limited(std::time::Duration),
}

/// Validates the session if the token is right; gives the link to go on with.
///
/// # Errors
/// [`Error::UnknownSession`], [`Error::SessionExpired`], [`Error::TokenIncorrect`], [`Error::LimitExceeded`].
pub async fn submit_token(state: &State, submitted: SubmittedToken) -> Result<Option<NextLink>, Error> {
    let SubmittedToken { medium, sid, client_secret, token } = submitted;
    let token = normal(medium, &token);
    let found = {
        let sid = sid.clone();
        state.store.read(async move |conn| sessions::find(conn, &sid).await).await?
    };
    let known = found.filter(|session| session.threepid.medium() == medium && session.is_secret(&client_secret));
    let Some(session) = known else { return Err(Error::UnknownSession) };
    let expected = state.keys.read().sealing().open(&session.sealed_token, session.sid.as_str().as_bytes())?;
    let is_right: bool = expected.ct_eq(token.as_bytes()).into();

    let now = state.clock.now();
    let rules = state.config.sessions.rules();
    let settings = &state.config.limits;
    let (name, limit) = match medium {
        Medium::Email => ("email_wrong_tokens", settings.email_wrong_tokens),
        Medium::Msisdn => ("sms_wrong_tokens", settings.sms_wrong_tokens),
    };
    let bucket = settings.enabled.then(|| Bucket::new(name, limit, Counted::ThreePid(&session.threepid)));
    // Who earns by messages does not read them: a range of numbers whose owners do is not held back.
    let range = (settings.enabled && medium == Medium::Msisdn)
        .then(|| Bucket::new("sms_per_range", settings.sms_per_range, Counted::NumberRange(&session.threepid)));
    let country = match medium {
        Medium::Msisdn => msisdn::calling_code(session.threepid.address().as_str()),
        Medium::Email => None,
    };
    let outcome = state.store.write(async move |conn| {
        let Some(mut session) = sessions::find(conn, &sid).await? else { return Ok(Outcome::Unknown) };
        let submission = session.submission(is_right, now, &rules);
        if submission == Submission::Over {
            return Ok(Outcome::Over);
        }
        // Guessing in many sessions of one address is guessing at one address; who is validated guesses no more.
        if submission != Submission::AlreadyValidated
            && let Some(bucket) = &bucket
            && let Verdict::Refused { retry_after } = limits::peek(conn, bucket, now).await?
        {
            return Ok(Outcome::Limited(retry_after));
        }
        match submission {
            Submission::Over => Ok(Outcome::Over),
            Submission::AlreadyValidated => Ok(Outcome::Right { next_link: session.next_link, is_first: false }),
            Submission::Validates => {
                session.validated_at = Some(now);
                sessions::save(conn, &session).await?;
                if let Some(range) = &range {
                    limits::give_back(conn, range, now).await?;
                }
                Ok(Outcome::Right { next_link: session.next_link, is_first: true })
            }
            Submission::Wrong => {
                session.wrong_tokens += 1;
                sessions::save(conn, &session).await?;
                if let Some(bucket) = &bucket {
                    limits::charge(conn, &[*bucket], now).await?;
                }
                Ok(Outcome::Wrong)
            }
        }
    });
    let outcome = outcome.await?;
    let event = match &outcome {
        Outcome::Right { .. } => "validated",
        Outcome::Wrong | Outcome::Limited(_) | Outcome::Unknown => "wrong_token",
        Outcome::Over => "over",
    };
    metrics::counter!("identity_sessions_total", "medium" => medium.as_str(), "event" => event).increment(1);
    if let (Some(country), Outcome::Right { is_first: true, .. }) = (country, &outcome) {
        metrics::counter!("identity_sms_total", "country" => country, "event" => "validated").increment(1);
    }
    match outcome {
        Outcome::Right { next_link, .. } => Ok(next_link),
        Outcome::Wrong => Err(Error::TokenIncorrect),
        Outcome::Over => Err(Error::SessionExpired),
        Outcome::Unknown => Err(Error::UnknownSession),
        Outcome::Limited(retry_after) => Err(Error::LimitExceeded(retry_after)),
    }
}

/// The token without what people add by accident: white space around it, and in a number anything but its digits.
fn normal(medium: Medium, token: &str) -> String {
    match medium {
        Medium::Email => token.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned(),
        Medium::Msisdn => token.chars().filter(char::is_ascii_digit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Medium, normal};

    #[test]
    fn white_space_and_what_is_between_digits_do_not_count() {
        assert_eq!(normal(Medium::Email, " aB3 \r\n"), "aB3");
        assert_eq!(normal(Medium::Email, "a B"), "a B");
        assert_eq!(normal(Medium::Msisdn, " 123-456 "), "123456");
    }
}
