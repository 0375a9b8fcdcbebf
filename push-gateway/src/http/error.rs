//! All API errors and their HTTP responses. Homeservers keep the event and retry after any status but 200.
//!
//! Invariant: every kind has its arm in one match without a fallback. A response names no detail of a failure; the log does.

use std::time::Duration;

use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use shared::http::body::BodyError;
use shared::http::error::MatrixError;

use crate::notification::parse::ParseError;
use crate::providers::outcome::{Cause, Failure};

/// The longest `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// `Retry-After` for a 429 or 503 without a known wait.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request is not answered with 200.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// A page in a browser sends `Origin`; no homeserver does.
    #[error("Requests from web pages are not served")]
    Browser,
    /// A query without one usable `app_id`.
    #[error("app_id: expected one of 1 to 64 bytes")]
    AppId,
    #[error("No app with this app_id has a VAPID key")]
    NoVapidKey,
    /// The body did not arrive.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// An event is undelivered.
    #[error("{}", message(&.0.cause))]
    Failed(Failure),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn message(cause: &Cause) -> &'static str {
    match cause {
        Cause::Upstream { .. } | Cause::Ours { .. } => "Push service unavailable, try again later",
        Cause::Overloaded => "Too busy, try again later",
        Cause::Caller => "Too many requests",
    }
}

impl Error {
    /// The status and body of the response.
    pub(crate) fn to_wire(&self) -> MatrixError {
        let refuse = |status, errcode| MatrixError::new(status, errcode, self.to_string());
        match self {
            Self::Parse(ParseError::NotJson(_)) | Self::Body(BodyError::Broken | BodyError::TooDeep) => {
                refuse(StatusCode::BAD_REQUEST, "M_NOT_JSON")
            }
            Self::Parse(ParseError::Shape { .. }) => refuse(StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::AppId => refuse(StatusCode::BAD_REQUEST, "M_INVALID_PARAM"),
            Self::NoVapidKey => refuse(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Self::Browser => refuse(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Self::Body(BodyError::TooLarge) => MatrixError::too_large(),
            Self::Body(BodyError::Overloaded) => {
                refuse(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN").retry_after(DEFAULT_RETRY_AFTER)
            }
            Self::Body(BodyError::TimedOut) => refuse(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN"),
            Self::Failed(Failure { cause, retry_after, .. }) => {
                let wait = retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
                match cause {
                    Cause::Upstream { .. } | Cause::Ours { .. } => {
                        let error = refuse(StatusCode::BAD_GATEWAY, "M_UNKNOWN");
                        wait.map_or(error.clone(), |wait| error.retry_after(wait))
                    }
                    Cause::Overloaded => refuse(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN")
                        .retry_after(wait.unwrap_or(DEFAULT_RETRY_AFTER)),
                    Cause::Caller => MatrixError::limit_exceeded(wait.unwrap_or(DEFAULT_RETRY_AFTER)),
                }
            }
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.to_wire().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.to_wire().error_response();
        if let Self::Body(BodyError::TooLarge) = self {
            // A client that sends that much once sends it again.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::ResponseError;
    use actix_web::body::MessageBody;
    use serde_json::{Value, json};

    use super::{Cause, Error, Failure};

    fn response(cause: Cause, seconds: Option<u64>) -> (u16, Option<String>, Value) {
        let failure = Failure { cause, ..Failure::upstream("x", seconds.map(Duration::from_secs)) };
        let response = Error::from(failure).error_response();
        let wait = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().try_into_bytes().unwrap();
        (status, wait, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn the_cause_of_a_failure_decides_the_status_and_retry_after() {
        let body = json!({ "errcode": "M_UNKNOWN", "error": "Push service unavailable, try again later" });
        let upstream = || Cause::Upstream { is_outage: true };
        assert_eq!(response(upstream(), None), (502, None, body.clone()));
        assert_eq!(response(Cause::Ours { detail: "check topic".into() }, None), (502, None, body.clone()));
        assert_eq!(response(upstream(), Some(99_999_999)), (502, Some("3600".to_owned()), body));
        let (status, wait, body) = response(Cause::Overloaded, None);
        assert_eq!((status, wait.as_deref(), &body["errcode"]), (503, Some("1"), &json!("M_UNKNOWN")));
        let (status, wait, body) = response(Cause::Caller, Some(7));
        assert_eq!((status, wait.as_deref(), &body["errcode"]), (429, Some("7"), &json!("M_LIMIT_EXCEEDED")));
        assert_eq!(body["retry_after_ms"], 7000);
    }
}
