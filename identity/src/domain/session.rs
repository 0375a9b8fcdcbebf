//! Validation sessions: how long they live, when a message is due, what a submitted token does, who may use the result.
//!
//! Invariant: a message or a request never makes a session live longer; only its validation does, once.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use subtle::ConstantTimeEq;

use super::client_secret::ClientSecret;
use super::mxid::UserId;
use super::next_link::NextLink;
use super::sid::Sid;
use super::threepid::{Medium, ThreePid};
use crate::json::{FieldError, Json};

/// The number of a client's request for a message (specification: `send_attempt`); a message goes out only for a
/// number greater than the last one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendAttempt(i64);

impl SendAttempt {
    /// From the field of a request: an integer, or the same in decimal digits, as matrix-js-sdk sends it.
    ///
    /// # Errors
    /// [`FieldError::Invalid`] for anything else, negative numbers and more than 18 digits included.
    pub fn from_field(value: &Json<'_>) -> Result<Self, FieldError> {
        let wrong = || FieldError::invalid("send_attempt", "a non-negative integer");
        match value {
            Json::Integer(number) => i64::try_from(*number).ok().filter(|number| *number >= 0).map(Self),
            Json::Text(text) if (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().map(Self)
            }
            _ => None,
        }
        .ok_or_else(wrong)
    }

    /// The number that a row remembers.
    pub const fn from_row(number: i64) -> Self {
        Self(number)
    }

    /// The number, for the row.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// What is remembered of a client's secret: a digest bound to the address, so that equal secrets of two people look
/// different.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientSecretDigest([u8; 32]);

impl ClientSecretDigest {
    /// The digest of `secret` in a session for `threepid`.
    pub fn of(secret: &ClientSecret, threepid: &ThreePid) -> Self {
        let mut hash = Sha256::new();
        // None of the parts can hold the separator.
        for part in [threepid.medium().as_str(), "\0", threepid.address().as_str(), "\0", secret.expose()] {
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The digest that a row remembers.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 octets, for the row.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClientSecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecretDigest(***)")
    }
}

/// The operator's bounds on sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// From creation, and again from validation, to expiry.
    pub lifetime: Duration,
    /// Wrong tokens that burn an e-mail session.
    pub email_max_wrong: u32,
    /// Wrong tokens that burn an SMS session.
    pub sms_max_wrong: u32,
}

/// A message that somebody is sending at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// For this request.
    pub attempt: SendAttempt,
    /// After this the sender is taken for dead.
    pub until: Timestamp,
}

/// A session as it is remembered.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name.
    pub sid: Sid,
    /// What is to be validated.
    pub threepid: ThreePid,
    /// What the client must know besides the name.
    pub client_secret: ClientSecretDigest,
    /// The account that started it; none for the legacy API, which has no accounts.
    pub account: Option<UserId>,
    /// The validation token, sealed.
    pub sealed_token: Vec<u8>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When the right token was first submitted.
    pub validated_at: Option<Timestamp>,
    /// The last request for which a message went out.
    pub send_attempt: Option<SendAttempt>,
    /// The message that is on its way to the relay now.
    pub sending: Option<Sending>,
    /// Wrong tokens submitted so far.
    pub wrong_tokens: u32,
    /// Where a browser goes after the link was followed.
    pub next_link: Option<NextLink>,
}

/// What a request for a token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A new session and its first message: there is none, or it is over.
    NewSession,
    /// A message in the session that there is.
    Message,
    /// Nothing: this number was sent already, or is being sent.
    Nothing,
}

/// What a submitted token does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It is right, and the first right one.
    Validates,
    /// It is right, as one before it was.
    AlreadyValidated,
    /// It is wrong, and counts.
    Wrong,
    /// The session is over: expired, or burnt by too many wrong tokens.
    Over,
}

/// Why a session's result cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No such session for this secret and this account.
    NotFound,
    /// Its time is over.
    Expired,
    /// Nobody has submitted the token yet.
    NotValidated,
}

impl Session {
    /// What a request numbered `attempt` needs, `found` being the newest session for the same key.
    pub fn due(found: Option<&Self>, attempt: SendAttempt, now: Timestamp, rules: &SessionRules) -> Due {
        let Some(session) = found.filter(|session| !session.is_over(now, rules)) else { return Due::NewSession };
        let sent = session.send_attempt.is_some_and(|sent| attempt <= sent);
        let being_sent = session.sending.is_some_and(|sending| attempt <= sending.attempt && now < sending.until);
        if sent || being_sent { Due::Nothing } else { Due::Message }
    }

    /// What a submission at `now` does; `is_right` says whether the token is the session's.
    pub fn submission(&self, is_right: bool, now: Timestamp, rules: &SessionRules) -> Submission {
        match (self.is_over(now, rules), is_right, self.validated_at) {
            (true, ..) => Submission::Over,
            (false, false, _) => Submission::Wrong,
            (false, true, None) => Submission::Validates,
            (false, true, Some(_)) => Submission::AlreadyValidated,
        }
    }

    /// When the address was validated, for someone who knows the secret and, if an account started the session, is
    /// that account.
    ///
    /// # Errors
    /// [`Unusable`], in the order in which the specification wants it told.
    pub fn usable(
        &self,
        secret: &ClientSecret,
        account: Option<&UserId>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Timestamp, Unusable> {
        if !self.is_secret(secret) || self.account.as_ref().is_some_and(|starter| Some(starter) != account) {
            return Err(Unusable::NotFound);
        }
        if self.is_expired(now, lifetime) {
            return Err(Unusable::Expired);
        }
        self.validated_at.ok_or(Unusable::NotValidated)
    }

    /// Whether this is the session's secret; in constant time.
    pub fn is_secret(&self, secret: &ClientSecret) -> bool {
        let given = ClientSecretDigest::of(secret, &self.threepid);
        given.0.ct_eq(&self.client_secret.0).into()
    }

    /// Whether no submission can change anything any more.
    pub fn is_over(&self, now: Timestamp, rules: &SessionRules) -> bool {
        let allowed = match self.threepid.medium() {
            Medium::Email => rules.email_max_wrong,
            Medium::Msisdn => rules.sms_max_wrong,
        };
        self.wrong_tokens >= allowed || self.is_expired(now, rules.lifetime)
    }

    fn is_expired(&self, now: Timestamp, lifetime: Duration) -> bool {
        let since = self.validated_at.map_or(self.created_at, |validated| validated.max(self.created_at));
        now > since.plus(lifetime)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::{ClientSecretDigest, Due, SendAttempt, Sending, Session, SessionRules, Submission, Unusable};
    use crate::domain::client_secret::ClientSecret;
    use crate::domain::mxid::UserId;
    use crate::domain::sid::Sid;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::json::Json;

    const DAY: Duration = Duration::from_secs(86_400);
    const RULES: SessionRules = SessionRules { lifetime: DAY, email_max_wrong: 20, sms_max_wrong: 5 };
    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn secret(text: &str) -> ClientSecret {
        ClientSecret::parse(text).unwrap()
    }

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    fn session() -> Session {
        let threepid = ThreePid::canonical(Medium::Email, "bob@example.com").unwrap();
        Session {
            sid: Sid::draw(Random),
            client_secret: ClientSecretDigest::of(&secret("s"), &threepid),
            threepid,
            account: Some(user("@bob:hs.example")),
            sealed_token: vec![],
            created_at: START,
            validated_at: None,
            send_attempt: None,
            sending: None,
            wrong_tokens: 0,
            next_link: None,
        }
    }

    fn due(session: &Session, attempt: i64, after: Duration) -> Due {
        Session::due(Some(session), SendAttempt(attempt), START.plus(after), &RULES)
    }

    #[test]
    fn a_message_goes_out_only_for_a_number_greater_than_the_last_one_sent() {
        let mut session = session();
        assert_eq!(Session::due(None, SendAttempt(0), START, &RULES), Due::NewSession);
        assert_eq!(due(&session, 0, Duration::ZERO), Due::Message);
        session.send_attempt = Some(SendAttempt(3));
        assert_eq!([2, 3, 4].map(|n| due(&session, n, Duration::ZERO)), [Due::Nothing, Due::Nothing, Due::Message]);
    }

    #[test]
    fn a_message_on_its_way_is_not_sent_again_until_its_sender_is_taken_for_dead() {
        let mut session = session();
        let lease = Duration::from_secs(60);
        session.sending = Some(Sending { attempt: SendAttempt(1), until: START.plus(lease) });
        assert_eq!(due(&session, 1, Duration::ZERO), Due::Nothing);
        assert_eq!(due(&session, 2, Duration::ZERO), Due::Message);
        assert_eq!(due(&session, 1, lease), Due::Message);
    }

    #[test]
    fn a_session_that_is_expired_or_burnt_is_followed_by_a_new_one() {
        let mut session = session();
        session.send_attempt = Some(SendAttempt(1));
        assert_eq!(due(&session, 1, DAY), Due::Nothing);
        assert_eq!(due(&session, 1, DAY + Duration::from_millis(1)), Due::NewSession);
        session.wrong_tokens = 20;
        assert_eq!(due(&session, 1, Duration::ZERO), Due::NewSession);
    }

    #[test]
    fn validation_happens_once_and_gives_the_session_one_more_lifetime() {
        let mut session = session();
        assert_eq!(session.submission(true, START.plus(DAY), &RULES), Submission::Validates);
        session.validated_at = Some(START.plus(DAY));
        assert_eq!(session.submission(true, START.plus(DAY * 2), &RULES), Submission::AlreadyValidated);
        assert_eq!(session.submission(true, START.plus(DAY * 3), &RULES), Submission::Over);
    }

    #[test]
    fn after_the_last_allowed_wrong_token_even_the_right_one_is_refused() {
        let mut session = session();
        session.wrong_tokens = 19;
        assert_eq!(session.submission(false, START, &RULES), Submission::Wrong);
        assert_eq!(session.submission(true, START, &RULES), Submission::Validates);
        session.wrong_tokens = 20;
        assert_eq!(session.submission(true, START, &RULES), Submission::Over);
        session.threepid = ThreePid::canonical(Medium::Msisdn, "447700900001").unwrap();
        session.wrong_tokens = 5;
        assert_eq!(session.submission(true, START, &RULES), Submission::Over);
    }

    #[test]
    fn the_result_serves_only_the_account_that_started_and_refusals_keep_their_order() {
        let mut session = session();
        let bob = user("@bob:hs.example");
        let usable = |session: &Session, s: &str, account: Option<&UserId>, after: Duration| {
            session.usable(&secret(s), account, START.plus(after), DAY)
        };
        assert_eq!(usable(&session, "s", Some(&bob), Duration::ZERO), Err(Unusable::NotValidated));
        assert_eq!(usable(&session, "s", Some(&bob), DAY * 2), Err(Unusable::Expired));
        session.validated_at = Some(START);
        assert_eq!(usable(&session, "s", Some(&bob), Duration::ZERO), Ok(START));
        assert_eq!(usable(&session, "t", Some(&bob), Duration::ZERO), Err(Unusable::NotFound));
        assert_eq!(usable(&session, "s", Some(&user("@eve:hs.example")), DAY * 2), Err(Unusable::NotFound));
        assert_eq!(usable(&session, "s", None, Duration::ZERO), Err(Unusable::NotFound));
        session.account = None;
        assert_eq!(usable(&session, "s", Some(&bob), Duration::ZERO), Ok(START));
    }

    #[test]
    fn send_attempt_is_an_integer_or_its_digits() {
        for (json, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("\"007\"", Some(7)),
            ("-1", None),
            ("\"-1\"", None),
            ("1.0", None),
            ("1e3", None),
            ("true", None),
            ("\"\"", None),
            ("\"1234567890123456789\"", None),
            ("18446744073709551616", None),
            ("18446744073709551615", None),
            ("[]", None),
        ] {
            let value = Json::parse(json.as_bytes()).unwrap();
            assert_eq!(SendAttempt::from_field(&value).ok().map(SendAttempt::get), expected, "{json}");
        }
    }
}
