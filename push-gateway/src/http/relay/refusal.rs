//! The responses of the relay other than 201. A homeserver deletes a pusher after 403, 404 and 410 (MSC4174), and some senders
//! after every 4xx but 408 and 429.
//!
//! Invariant: a 4xx says that this very request can never succeed. A fault of the gateway is 503.

use std::time::Duration;

use actix_web::http::header::{ACCEPT_ENCODING, HeaderValue, WWW_AUTHENTICATE};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use shared::http::body::BodyError;
use shared::http::error::MatrixError;

use crate::delivery::push_resource::NoUrl;
use crate::notification::relayed::{CODING, TOO_LARGE};
use crate::providers::outcome::{Cause, Certainty, Failure, Outcome, Rejection};
use crate::relay::headers::InvalidField;

/// The coding of a body that is not encoded.
pub(super) const IDENTITY: &str = "identity";
/// `Retry-After` after a mistake of the operator.
pub(super) const AFTER_MISTAKE: Duration = Duration::from_secs(300);
/// `Retry-After` without a known wait.
const DEFAULT: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Why a request is not answered with 201.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// A page in a browser sends `Origin`; neither homeservers nor apps do.
    #[error("Requests from web pages are not served")]
    Browser,
    #[error("{0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Gone(&'static str),
    #[error("{0}")]
    Field(InvalidField),
    #[error("The body is no encrypted message (RFC 8188, RFC 8291)")]
    NoMessage,
    #[error("The body is not valid JSON")]
    NotJson,
    /// A request for a URL whose body is not JSON as it is.
    #[error("Content-Encoding: expected none")]
    Compressed,
    #[error("{0}")]
    Subscription(NoUrl),
    #[error("{0}")]
    Unauthorized(&'static str),
    #[error("The application server's key is not the one of this URL: the app must ask for a new URL")]
    OtherKey,
    #[error("The body could not be read")]
    Broken,
    #[error("The body is too large")]
    TooLarge,
    #[error("The body did not come in time")]
    TimedOut,
    #[error("Too many requests")]
    Limited(Duration),
    #[error("{0}")]
    Unavailable(&'static str, Duration),
}

impl From<InvalidField> for Refusal {
    fn from(field: InvalidField) -> Self {
        Self::Field(field)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge | BodyError::TooDeep => Self::TooLarge,
            BodyError::TimedOut => Self::TimedOut,
            BodyError::Overloaded => Self::Unavailable("Too busy, try again later", SHORTEST),
            BodyError::Broken => Self::Broken,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let Failure { cause, retry_after, is_rate_refused, .. } = failure;
        let wait = retry_after.unwrap_or(DEFAULT).clamp(SHORTEST, LONGEST);
        match cause {
            Cause::Upstream { .. } if is_rate_refused => Self::Limited(wait),
            Cause::Upstream { .. } => Self::Unavailable("Push service unavailable, try again later", wait),
            Cause::Ours { .. } => Self::Unavailable("Push service unavailable, try again later", AFTER_MISTAKE),
            Cause::Overloaded => Self::Unavailable("Too busy, try again later", wait),
            Cause::Caller => Self::Limited(wait),
        }
    }
}

/// What the outcome of the delivery means for the homeserver.
///
/// # Errors
/// [`Refusal`] unless the push was delivered, or never can be although its URL is good.
pub(super) fn check(outcome: Outcome) -> Result<(), Refusal> {
    match outcome {
        Outcome::Dropped(TOO_LARGE) => Err(Refusal::TooLarge),
        Outcome::Delivered | Outcome::Dropped(_) => Ok(()),
        Outcome::Rejected(Rejection { certainty: Certainty::Certain, .. }) => {
            Err(Refusal::Gone("The push service does not know the device any more"))
        }
        Outcome::Rejected(Rejection { certainty: Certainty::Suspect, .. }) => {
            Err(Refusal::NotFound("The push service does not accept this device"))
        }
        Outcome::Failed(failure) => Err(failure.into()),
    }
}

impl Refusal {
    fn to_wire(&self) -> MatrixError {
        let refuse = |status, errcode| MatrixError::new(status, errcode, self.to_string());
        match self {
            Self::Browser | Self::OtherKey => refuse(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Self::NotFound(_) | Self::Subscription(NoUrl::UnknownApp) => refuse(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Self::Gone(_) => refuse(StatusCode::GONE, "M_NOT_FOUND"),
            Self::Field(InvalidField::ContentEncoding) | Self::Compressed => {
                refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "M_INVALID_PARAM")
            }
            Self::Field(
                InvalidField::Ttl
                | InvalidField::Urgency
                | InvalidField::Topic
                | InvalidField::Draft
                | InvalidField::Receipt,
            )
            | Self::NoMessage
            | Self::Broken
            | Self::Subscription(NoUrl::Token | NoUrl::Vapid | NoUrl::Chid) => {
                refuse(StatusCode::BAD_REQUEST, "M_INVALID_PARAM")
            }
            Self::NotJson => refuse(StatusCode::BAD_REQUEST, "M_NOT_JSON"),
            Self::Unauthorized(_) => refuse(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::TooLarge => MatrixError::too_large(),
            Self::TimedOut => refuse(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN"),
            Self::Limited(wait) => MatrixError::limit_exceeded(*wait),
            Self::Unavailable(_, wait) => refuse(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN").retry_after(*wait),
        }
    }

    /// The response.
    pub(super) fn response(&self) -> HttpResponse {
        let mut response = self.to_wire().error_response();
        match self {
            Self::Unauthorized(_) => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("vapid"));
            }
            Self::Field(InvalidField::ContentEncoding) => {
                response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(CODING));
            }
            Self::Compressed => {
                response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
            }
            // The rest of the body is not read.
            Self::TooLarge | Self::TimedOut => response.head_mut().set_connection_type(ConnectionType::Close),
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Certainty, Failure, Outcome, Refusal, TOO_LARGE, check};

    /// The status and `Retry-After` of the response to this outcome.
    fn response(outcome: impl Into<Outcome>) -> (u16, Option<String>) {
        match check(outcome.into()) {
            Ok(()) => (201, None),
            Err(refusal) => {
                let response = refusal.response();
                let wait = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
                (response.status().as_u16(), wait)
            }
        }
    }

    #[test]
    fn each_outcome_has_its_status() {
        let seconds = Duration::from_secs;
        let after = |wait: &str| Some(wait.to_owned());
        for (outcome, expected) in [
            (Outcome::Delivered, (201, None)),
            (Outcome::Dropped("too_large"), (201, None)),
            (Outcome::Dropped("bad_payload"), (201, None)),
            (Outcome::Dropped(TOO_LARGE), (413, None)),
            (Outcome::rejected("Unregistered", Certainty::Certain), (410, None)),
            (Outcome::rejected("BadDeviceToken", Certainty::Suspect), (404, None)),
            (Failure::pause("TooManyRequests", seconds(30)).into(), (429, after("30"))),
            (Failure { retry_after: None, ..Failure::pause("x", seconds(1)) }.into(), (429, after("30"))),
            (Failure::rate_limited(Duration::from_millis(1)).into(), (429, after("1"))),
            (Failure::overloaded().into(), (503, after("1"))),
            (Failure::outage("timeout", None).into(), (503, after("30"))),
            (Failure::outage("timeout", Some(seconds(99_999))).into(), (503, after("3600"))),
            (Failure::upstream("circuit_open", Some(seconds(5))).into(), (503, after("5"))),
            (Failure::upstream("mass_rejection", Some(seconds(900))).into(), (503, after("900"))),
            (Failure::ours("BadTopic", "check topic").into(), (503, after("300"))),
        ] {
            assert_eq!(response(outcome.clone()), expected, "{outcome:?}");
        }
    }

    #[test]
    fn the_wait_of_a_limit_is_in_the_body_too() {
        assert_eq!(Refusal::Limited(Duration::from_secs(7)).response().headers().get("retry-after").unwrap(), "7");
    }
}
