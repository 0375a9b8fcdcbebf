//! Validation sessions: their lifetime, when a code is sent, what a submitted token does, who may use the result.
//!
//! Invariant: only the validation extends a session's lifetime, and only once; messages and requests do not.

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

/// The specification's `send_attempt`: the server sends a message only if it is greater than that of the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendAttempt(i64);

impl SendAttempt {
    /// Parses the field of a request: an integer, or its decimal digits as text, as matrix-js-sdk sends it.
    ///
    /// # Errors
    /// [`FieldError::Invalid`] for any other value, negative numbers and more than 18 digits included.
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

    /// From the value of a row.
    pub const fn from_row(number: i64) -> Self {
        Self(number)
    }

    /// The value for a row.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// The stored form of a client secret: a digest over address and secret, so equal secrets of two users differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientSecretDigest([u8; 32]);

impl ClientSecretDigest {
    /// Computes the digest of `secret` in a session for `threepid`.
    pub fn of(secret: &ClientSecret, threepid: &ThreePid) -> Self {
        let mut hash = Sha256::new();
        // No part can contain the separator.
        for part in [threepid.medium().as_str(), "\0", threepid.address().as_str(), "\0", secret.expose()] {
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// From the bytes of a row.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for a row.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClientSecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecretDigest(***)")
    }
}

/// The operator's limits for sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// From creation, and again from validation, to expiry.
    pub lifetime: Duration,
    /// Wrong tokens after which an email session is closed.
    pub email_max_wrong: u32,
    /// Wrong tokens after which an SMS session is closed.
    pub sms_max_wrong: u32,
}

/// The lease of the worker that is sending the session's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The request that the message answers.
    pub attempt: SendAttempt,
    /// When the lease expires.
    pub until: Timestamp,
}

/// A validation session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session id.
    pub sid: Sid,
    /// The address to validate.
    pub threepid: ThreePid,
    /// The digest of the client secret.
    pub client_secret: ClientSecretDigest,
    /// The account that started the session; none for the legacy API, which has no accounts.
    pub account: Option<UserId>,
    /// The validation token, sealed.
    pub sealed_token: Vec<u8>,
    /// When the session was started.
    pub created_at: Timestamp,
    /// When the correct token was first submitted.
    pub validated_at: Option<Timestamp>,
    /// The last request for which a message was sent.
    pub send_attempt: Option<SendAttempt>,
    /// The lease of the message that is being sent.
    pub sending: Option<Sending>,
    /// The number of wrong tokens so far.
    pub wrong_tokens: u32,
    /// Where the browser is redirected after validation.
    pub next_link: Option<NextLink>,
}

/// Whether a request for a token sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendDecision {
    /// Start a new session and send its first message: no session exists, or it is closed.
    StartSession,
    /// Send another message in the existing session: `send_attempt` has increased.
    Send,
    /// Send nothing: the message of this `send_attempt` was sent, or is being sent.
    Skip,
    /// Send nothing: the lease of an SMS for this `send_attempt` has expired, so its sender stopped without a result
    /// and may have sent it.
    Unclear,
}

/// The effect of a submitted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// The first correct token: validates the session.
    Validates,
    /// A correct token for a session that is validated.
    AlreadyValidated,
    /// A wrong token, which counts.
    Wrong,
    /// The session is closed: expired, or too many wrong tokens.
    Closed,
}

/// Why the result of a session cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No session matches this secret and this account.
    NotFound,
    /// The session has expired.
    Expired,
    /// No correct token was submitted.
    NotValidated,
}

impl Session {
    /// Decides whether the request `attempt` sends a message; `found` is the newest session of the same key.
    pub fn send_decision(
        found: Option<&Self>,
        attempt: SendAttempt,
        now: Timestamp,
        rules: &SessionRules,
    ) -> SendDecision {
        let Some(session) = found.filter(|session| !session.is_closed(now, rules)) else {
            return SendDecision::StartSession;
        };
        if session.send_attempt.is_some_and(|sent| attempt <= sent) {
            return SendDecision::Skip;
        }
        match session.sending.filter(|sending| attempt <= sending.attempt) {
            Some(sending) if now < sending.until => SendDecision::Skip,
            // An SMS costs money; a second mail does no harm.
            Some(_) if session.threepid.medium() == Medium::Msisdn => SendDecision::Unclear,
            Some(_) | None => SendDecision::Send,
        }
    }

    /// The effect of a token submitted at `now`; `is_correct` is whether it is the session's.
    pub fn submission(&self, is_correct: bool, now: Timestamp, rules: &SessionRules) -> Submission {
        match (self.is_closed(now, rules), is_correct, self.validated_at) {
            (true, ..) => Submission::Closed,
            (false, false, _) => Submission::Wrong,
            (false, true, None) => Submission::Validates,
            (false, true, Some(_)) => Submission::AlreadyValidated,
        }
    }

    /// When the address was validated. The caller needs the secret and, if an account started the session, that account.
    ///
    /// # Errors
    /// [`Unusable`], checked in the specification's order.
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

    /// Ends the lease `sending`, unless another worker has acquired the session since.
    pub fn end_sending(&mut self, sending: Sending) {
        if self.sending == Some(sending) {
            self.sending = None;
        }
    }

    /// Whether `secret` is the session's; compares in constant time.
    pub fn is_secret(&self, secret: &ClientSecret) -> bool {
        let given = ClientSecretDigest::of(secret, &self.threepid);
        given.0.ct_eq(&self.client_secret.0).into()
    }

    /// Whether the session is expired or has reached its limit of wrong tokens.
    pub fn is_closed(&self, now: Timestamp, rules: &SessionRules) -> bool {
        let allowed = match self.threepid.medium() {
            Medium::Email => rules.email_max_wrong,
            Medium::Msisdn => rules.sms_max_wrong,
        };
        self.wrong_tokens >= allowed || self.is_expired(now, rules.lifetime)
    }

    /// The last moment at which the session is valid.
    pub fn expires_at(&self, lifetime: Duration) -> Timestamp {
        self.validated_at.map_or(self.created_at, |validated| validated.max(self.created_at)).plus(lifetime)
    }

    fn is_expired(&self, now: Timestamp, lifetime: Duration) -> bool {
        now > self.expires_at(lifetime)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::{ClientSecretDigest, SendAttempt, SendDecision, Sending, Session, SessionRules, Submission, Unusable};
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

    fn decide(session: &Session, attempt: i64, after: Duration) -> SendDecision {
        Session::send_decision(Some(session), SendAttempt(attempt), START.plus(after), &RULES)
    }

    #[test]
    fn a_message_is_sent_only_if_send_attempt_has_increased() {
        let mut session = session();
        assert_eq!(Session::send_decision(None, SendAttempt(0), START, &RULES), SendDecision::StartSession);
        assert_eq!(decide(&session, 0, Duration::ZERO), SendDecision::Send);
        session.send_attempt = Some(SendAttempt(3));
        assert_eq!(
            [2, 3, 4].map(|n| decide(&session, n, Duration::ZERO)),
            [SendDecision::Skip, SendDecision::Skip, SendDecision::Send]
        );
    }

    #[test]
    fn a_message_that_is_being_sent_is_not_sent_again_until_its_lease_expires() {
        let mut session = session();
        let lease = Duration::from_secs(60);
        session.sending = Some(Sending { attempt: SendAttempt(1), until: START.plus(lease) });
        assert_eq!(decide(&session, 1, Duration::ZERO), SendDecision::Skip);
        assert_eq!(decide(&session, 2, Duration::ZERO), SendDecision::Send);
        assert_eq!(decide(&session, 1, lease), SendDecision::Send);
        session.threepid = ThreePid::canonical(Medium::Msisdn, "447700900001").unwrap();
        assert_eq!([1, 2].map(|n| decide(&session, n, lease)), [SendDecision::Unclear, SendDecision::Send]);
        assert_eq!(decide(&session, 1, Duration::ZERO), SendDecision::Skip);
    }

    #[test]
    fn the_end_of_a_lease_does_not_affect_a_later_lease_of_the_same_attempt() {
        let mut session = session();
        let earlier = Sending { attempt: SendAttempt(1), until: START };
        let later = Sending { until: START.plus(DAY), ..earlier };
        session.sending = Some(later);
        session.end_sending(earlier);
        assert_eq!(session.sending, Some(later));
        session.end_sending(later);
        assert_eq!(session.sending, None);
    }

    #[test]
    fn a_request_after_expiry_or_too_many_wrong_tokens_starts_a_new_session() {
        let mut session = session();
        session.send_attempt = Some(SendAttempt(1));
        assert_eq!(decide(&session, 1, DAY), SendDecision::Skip);
        assert_eq!(decide(&session, 1, DAY + Duration::from_millis(1)), SendDecision::StartSession);
        session.wrong_tokens = 20;
        assert_eq!(decide(&session, 1, Duration::ZERO), SendDecision::StartSession);
    }

    #[test]
    fn validation_extends_the_session_by_one_lifetime_and_only_once() {
        let mut session = session();
        assert_eq!(session.submission(true, START.plus(DAY), &RULES), Submission::Validates);
        session.validated_at = Some(START.plus(DAY));
        assert_eq!(session.submission(true, START.plus(DAY * 2), &RULES), Submission::AlreadyValidated);
        assert_eq!(session.submission(true, START.plus(DAY * 3), &RULES), Submission::Closed);
    }

    #[test]
    fn after_the_last_allowed_wrong_token_the_correct_one_is_rejected() {
        let mut session = session();
        session.wrong_tokens = 19;
        assert_eq!(session.submission(false, START, &RULES), Submission::Wrong);
        assert_eq!(session.submission(true, START, &RULES), Submission::Validates);
        session.wrong_tokens = 20;
        assert_eq!(session.submission(true, START, &RULES), Submission::Closed);
        session.threepid = ThreePid::canonical(Medium::Msisdn, "447700900001").unwrap();
        session.wrong_tokens = 5;
        assert_eq!(session.submission(true, START, &RULES), Submission::Closed);
    }

    #[test]
    fn only_the_starting_account_can_use_the_result_and_errors_keep_their_order() {
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
    fn send_attempt_is_an_integer_or_its_decimal_digits() {
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
